"""A case of the benchmark as one side of turns; see turns.py."""

from collections.abc import Callable

import cases_pixel
import jax
from cases import CASES
from measuring import Program
from peak import matmul_peak
from turns import LENGTH, Facts


def build(name: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of a case of a CPU's size, and the seconds of n of its updates."""
    case = CASES[name]
    flags = ()
    if name in cases_pixel.CASES:
        starts = sequences * LENGTH
        flags = ("--latent.batch", str(sequences), "--leq.batch", str(starts))
    config = case.config("", small=True, flags=flags)
    setup = case.setup(config, case.entries_for(small=True))
    program = Program(setup, config.data.placement)
    program.seconds(1)
    facts = {
        "size": setup.size,
        "library": f"JAX {jax.__version__}",
        "flop": program.flops(),
        "compile_cpu_seconds": program.compile_cpu_seconds,
        "matmul_peak": matmul_peak(setup.dtype)[0],
    }
    return facts, program.seconds
