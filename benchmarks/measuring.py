"""What the benchmarks of a phase's speed share."""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_leq.training.loop import _advance
from dreamer_leq.training.sources import Resident


class Advance:
    """A phase in the real loop's program, some updates at a time."""

    def __init__(self, phase: Any, state: Any, feed: Resident) -> None:
        self.state = state
        self._phase, self._feed, self._done = phase, feed, 0
        self._key, (self.data, _) = jax.random.key(1), feed.data(0, 1)
        shapes = jax.eval_shape(self.update, self.data, state)[1]
        self._totals = {metric: jnp.zeros(()) for metric in shapes}

    def seconds(self, n: int) -> float:
        """Time of the next n updates."""
        start = time.perf_counter()
        self.state, self._totals = _advance(
            self._feed.read,
            self._phase,
            self.data,
            self.state,
            self._totals,
            self._key,
            self._done,
            n,
        )
        jax.block_until_ready((self.state, self._totals))
        self._done += n
        return time.perf_counter() - start

    def update(self, data: Any, state: Any) -> Any:
        """One update, to be looked at."""
        batch = self._feed.read(data, self._key, 0)
        return self._phase.update(state, batch, self._key)


def in_processes(script: str, phases: list[str]) -> dict[str, dict] | int:
    """What the script prints with `--phase NAME`, each in a process of its own; the
    exit code of the first that fails, which has said why.
    """
    results = {}
    for name in phases:
        command = [sys.executable, script, *sys.argv[1:], "--phase", name]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if child.returncode:
            return child.returncode
        results[name] = json.loads(child.stdout)
    return results


def peak_memory() -> tuple[int, str]:
    """The most that was in use, in bytes: on the device; on CPUs by this process."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"], f"memory of the {device.device_kind}"
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, f"memory of the process, on {device.device_kind}"
