"""A dataset of state vectors as a source of transitions: nothing has to be encoded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dreamer_leq.data.entries import entry_arrays
from dreamer_leq.data.sampling import (
    Source,
    Transitions,
    place,
    transition_starts,
)
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble
from vd4rl_loader.states import StateDataset


@dataclass
class VectorData:
    """As training.latents.LatentData, for world models whose state is the vector."""

    world_model: MLPEnsemble
    dataset: StateDataset
    reward: np.ndarray  # [N] as LEQ sees it
    returns_gamma: float | None
    placement: str
    log: Callable[[str], None]
    devices: Devices = ONE_DEVICE

    _placed: Source | None = field(default=None, init=False)

    def phase(self, learner: Any) -> Any:
        """`learner` fit for what `source` gives."""
        return learner

    def source(self, batch: int) -> Source:
        """`batch` transitions per update."""
        if self._placed is None:
            arrays = self._arrays()
            sampler = Transitions(len(arrays["transition"]), batch, ("vector",))
            where = (self.placement, self.devices)
            self._placed, note = place(arrays, sampler, *where)
            self.log(f"transitions: {note}")
        return replace(self._placed, sampler=replace(self._placed.sampler, batch=batch))

    def _arrays(self) -> dict[str, np.ndarray]:
        names, gamma = self.world_model.observations, self.returns_gamma
        arrays = entry_arrays(self.dataset, names, self.reward, gamma)
        first = np.asarray(arrays.pop("is_first"))
        return arrays | {"transition": transition_starts(first)}
