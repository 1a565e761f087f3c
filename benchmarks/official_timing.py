"""What official code in JAX needs to be timed, under the Python that it runs with."""

import time
from collections.abc import Callable
from typing import Any

import jax
from flops import flops
from peak import matmul_peak


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
            "library": f"JAX {jax.__version__}",
            "flop": flops(traced.jaxpr),
            "compile_cpu_seconds": cpu,
            "matmul_peak": matmul_peak("float32")[0],
        }

    def __call__(self, *arguments: Any) -> Any:
        return self._program(*arguments)


def waiting(update: Callable[[], Any]) -> Callable[[], Any]:
    """The update, until its results are there."""
    return lambda: jax.block_until_ready(update())
