"""A dataset as a source of transitions: the interface, and that of state vectors, which
are states as they are. data/latents.py has that of latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from dreamer_leq.data.entries import entry_arrays, extra_arrays, transition_starts
from dreamer_leq.data.sampling import Source, Transitions, place
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.world_models.interface import Representation
from vd4rl_loader.states import StateDataset


class TransitionData(Protocol):
    """The transitions of a dataset, as states of a representation."""

    def phase(self, learner: Any) -> Any:
        """`learner` fit for what `source` gives: itself where a batch holds states."""
        ...

    def source(self, batch: int, reads: Sequence[str] = (), steps: int = 1) -> Source:
        """About `batch` transitions of so many steps per update, to be given to a
        `phase`, with the extra arrays that the learner reads.
        """
        ...

    def finish(self) -> None:
        """Remove what lies on disk for the phases alone: all of them are over."""
        ...


@dataclass
class VectorData:
    """State vectors as transitions: nothing has to be encoded."""

    world: Representation
    dataset: StateDataset
    reward: np.ndarray  # [N] as the algorithms see it
    gamma: float  # of returns
    placement: str
    log: Callable[[str], None]
    devices: Devices = ONE_DEVICE

    def phase(self, learner: Any) -> Any:
        return learner

    def source(self, batch: int, reads: Sequence[str] = (), steps: int = 1) -> Source:
        sampler = Transitions(0, batch, ("vector",), steps, self.gamma)
        return with_transitions(self._placed, self._entries, sampler, reads)

    def finish(self) -> None:
        pass

    @cached_property
    def _entries(self) -> dict[str, np.ndarray]:
        return entry_arrays(self.dataset, self.world.observations, self.reward)

    @cached_property
    def _placed(self) -> Source:
        arrays = {k: x for k, x in self._entries.items() if k != "is_first"}
        where = (self.placement, self.devices)
        source, note = place(arrays, Transitions(0, 0, ("vector",)), *where)
        self.log(f"transitions: {note}")
        return source


def with_transitions(
    placed: Source,
    entries: dict[str, np.ndarray],
    sampler: Transitions,
    reads: Sequence[str],
) -> Source:
    """The source of transitions between entries that lie somewhere already, as
    `sampler` gathers them, together with the extra arrays that a learner reads.
    """
    extra = extra_arrays(entries, reads, sampler.gamma)
    ends = entries["is_first"], entries["is_terminal"]
    starts = transition_starts(*ends, tuple(extra), sampler.steps)
    arrays = placed.also({"transition": starts} | extra)
    sampler = replace(sampler, transitions=len(starts))
    return replace(placed, arrays=arrays, sampler=sampler)
