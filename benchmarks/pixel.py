"""Updates per second and peak memory of both pixel phases, at a preset and batch size.

    python benchmarks/pixel.py                          # the paper's: 12M, 16 x 65
    python benchmarks/pixel.py --configs demo --batch 8 --length 32

Each phase runs in a process of its own, so that its peak memory is its own. What they
learn is random numbers of the right shapes, which lie on the device, as datasets that
fit do. LEQ starts one imagined rollout for every entry that the world model sees in an
update: batch x length.
"""

import argparse
import dataclasses
import json
import sys
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from measuring import Advance, in_processes, peak_memory
from rich.console import Console
from rich.table import Table

from dreamer_leq import build
from dreamer_leq.config import Config, from_presets
from dreamer_leq.errors import UserError
from dreamer_leq.leq.learner import LEQ
from dreamer_leq.training.phases import WorldModelTraining
from dreamer_leq.training.sources import Resident, Transitions, Windows
from dreamer_leq.world_models.latent import LatentWorldModel, ObservationSpec

ENTRIES, ACTIONS = 2000, 6  # of the made-up dataset; 6 as walker and cheetah
REPEATS, SECONDS = 5, 2.0  # a repeat is about as long as a dispatch of the real loop
PHASES = {"world_model": "world model", "leq": "LEQ"}


@dataclasses.dataclass
class Result:
    """What a phase took."""

    rate: float  # updates per second, the median of the repeats
    slowest: float
    fastest: float
    compilation: float  # seconds
    memory: int  # peak, bytes
    where: str  # the memory that was measured, and the device


def main() -> int:
    args = parse()
    try:
        config = configuration(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.phase:
        print(json.dumps(dataclasses.asdict(measure(args.phase, config, args.updates))))
        return 0
    found = in_processes(__file__, list(PHASES))
    if isinstance(found, int):
        return found
    results = {name: Result(**values) for name, values in found.items()}
    show(" ".join(args.configs) or "defaults", config, results)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=[], help="presets, in order")
    parser.add_argument("--batch", type=int, help="sequences per update")
    parser.add_argument("--length", type=int, help="steps per sequence")
    parser.add_argument(
        "--updates", type=int, help="per repeat; 2 seconds if not given"
    )
    parser.add_argument(
        "--phase", choices=PHASES, help="measure this one here, as JSON"
    )
    return parser.parse_args()


def configuration(args: argparse.Namespace) -> Config:
    """The presets at the size asked for."""
    latent = from_presets(*args.configs).latent
    batch = latent.batch if args.batch is None else args.batch
    length = latent.length if args.length is None else args.length
    if length > ENTRIES:
        raise UserError(f"--length: at most {ENTRIES}, got {length}")
    if args.updates is not None and args.updates < 1:
        raise UserError(f"--updates: has to be at least 1, got {args.updates}")
    sizes = {
        "latent.batch": batch,
        "latent.length": length,
        "leq.batch": batch * length,
    }
    return from_presets(*args.configs, **sizes)


def measure(name: str, config: Config, updates: int | None) -> Result:
    """One phase in the real loop's program, in this process."""
    build_phase = {"world_model": world_model_phase, "leq": leq_phase}[name]
    advance = Advance(*build_phase(config))
    first, second = advance.seconds(1), advance.seconds(1)
    n = updates or max(1, round(SECONDS / second))
    rates = [n / advance.seconds(n) for _ in range(REPEATS)]
    spread = median(rates), min(rates), max(rates)
    return Result(*spread, first - second, *peak_memory())


def world_model_phase(config: Config) -> tuple[WorldModelTraining, object, Resident]:
    """The phase, its first state, and made-up sequences."""
    latent, size = config.latent, config.data.image_size
    net = build.latent_net(config, ObservationSpec(size, 0, ACTIONS))
    phase = WorldModelTraining(net, build.optimizer(latent.optimizer, latent.updates))
    images = np.random.default_rng(0).integers(
        0, 256, (ENTRIES, size, size, 3), np.uint8
    )
    arrays = transitions() | {"image": jnp.asarray(images)}
    feed = Resident(arrays, Windows(ENTRIES, latent.batch, latent.length))
    return phase, jax.jit(phase.init)(jax.random.key(0)), feed


def leq_phase(config: Config) -> tuple[LEQ, object, Resident]:
    """The phase, its first state, and made-up latents."""
    spec = ObservationSpec(config.data.image_size, 0, ACTIONS)
    net, nets = build.latent_net(config, spec), build.actor_critic(config, spec)
    model = LatentWorldModel(jax.jit(net.init)(jax.random.key(0)), net)
    learner = LEQ(model, nets, build.leq_optimizer(config), config)
    rng = np.random.default_rng(0)
    deter = np.tanh(rng.normal(size=(ENTRIES, config.latent.deter)))
    stoch = rng.integers(config.latent.classes, size=(ENTRIES, config.latent.stoch))
    arrays = transitions() | {
        "deter": jnp.float32(deter),
        "stoch": jnp.uint8(stoch),
        "transition": jnp.arange(ENTRIES - 1),
    }
    params = jax.jit(nets.init, static_argnums=1)(jax.random.key(1), net.features)
    sampler = Transitions(ENTRIES - 1, config.leq.batch, ("deter", "stoch"))
    feed = Resident(arrays, sampler)
    return learner, learner.init(params), feed


def transitions() -> dict[str, jax.Array]:
    """What both phases read, of one long episode."""
    rng = np.random.default_rng(1)
    return {
        "action": jnp.float32(rng.uniform(-1, 1, (ENTRIES, ACTIONS))),
        "reward": jnp.float32(rng.uniform(0, 2, ENTRIES)),
        "is_first": jnp.arange(ENTRIES) == 0,
        "is_terminal": jnp.zeros(ENTRIES, bool),
    }


def show(preset: str, config: Config, results: dict[str, Result]) -> None:
    latent = config.latent
    table = Table(
        title=f"{preset}: {latent.batch} x {latent.length} entries per update"
    )
    table.add_column("phase")
    for column in (
        "updates/s",
        "slowest - fastest",
        "entries/s",
        "compilation",
        "peak",
    ):
        table.add_column(column, justify="right")
    for name, result in results.items():
        table.add_row(
            PHASES[name],
            f"{result.rate:.3g}",
            f"{result.slowest:.3g} - {result.fastest:.3g}",
            f"{result.rate * config.leq.batch:,.0f}",
            f"{result.compilation:.1f} s",
            f"{result.memory / 2**20:,.0f} MiB",
        )
    where = {result.where for result in results.values()}
    table.caption = (
        f"peak: {', '.join(where)}; matmuls in {build.compute_dtype(config)}"
    )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
