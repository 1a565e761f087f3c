"""What both official agents need to be timed, under the Python that they run with."""

import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import jax
from flops import flops
from peak import matmul_peak


def stand_in(*modules: str) -> None:
    """Empty modules in place of those that are imported, and not used by an update."""
    for name in modules:
        sys.modules[name] = MagicMock(name=name)


class Compiled:
    """A jitted function compiled for these arguments, of which those by name are
    static. It is called without them. `facts` tells its operations and compilation.
    """

    def __init__(self, jitted: Callable, *arguments: Any, **static: Any) -> None:
        cpu = time.process_time()
        self._program = jitted.lower(*arguments, **static).compile()
        cpu = time.process_time() - cpu
        traced = jax.make_jaxpr(lambda *x: jitted(*x, **static))(*arguments)
        self.facts = {
            "jax": jax.__version__,
            "flop": flops(traced.jaxpr),
            "compile_cpu_seconds": cpu,
            "matmul_peak": matmul_peak("float32")[0],
        }

    def __call__(self, *arguments: Any) -> Any:
        return self._program(*arguments)


def one_by_one(update: Callable[[], Any]) -> Callable[[int], float]:
    """Gives `seconds(n)`, of n calls, each waited for."""

    def seconds(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            jax.block_until_ready(update())
        return time.perf_counter() - start

    seconds(1)
    return seconds
