"""The checkpoints of a run on a mesh: whole arrays that fit any number of devices."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.processes import by_first, shared
from dreamer_leq.training.checkpoints import Checkpoints


class SharedCheckpoints:
    """Checkpoints that the first process writes and reads, and all processes get.

    As `Checkpoints`; every method has to be called in all processes.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._own = checkpoints

    def save(
        self, phase: str, step: int, state: Any, extra: Mapping[str, Any] | None = None
    ) -> None:
        state = jax.device_get(state)
        by_first(lambda: self._own.save(phase, step, state, extra))

    def latest(self, phase: str) -> int | None:
        return by_first(lambda: self._own.latest(phase))

    def restore(self, phase: str, state: Any) -> tuple[Any, dict[str, Any]]:
        """The last checkpoint, as arrays like those of `state`."""
        found = [jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)]

        def read() -> dict[str, Any]:
            found[0], extra = self._own.restore(phase, found[0])
            return extra

        extra = by_first(read)
        return shared(found[0]), extra

    def wait(self) -> None:
        by_first(self._own.wait)
