"""What a world model says, as NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Latents:
    """States of a world model, whose arrays all have the leading axes `shape`.

    Indexing and `len` are about those: `latents[3]` is one state, `latents[:, -1]` the
    last one of each row.

    Attributes:
      state: what the world model goes on from, a dict: `deter` float32 [..., D] and
        `stoch`, classes, [..., S] of an RSSM; `vector` float32 [..., D] of an ensemble
        of MLPs.
      features: what policy and critic see, float32 [..., F].
    """

    state: Mapping[str, np.ndarray]
    features: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading axes: (T,) of an encoded episode, () of one state."""
        return self.features.shape[:-1]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Any) -> "Latents":
        rows = np.arange(int(np.prod(self.shape))).reshape(self.shape)[index]
        return Latents(
            {name: self._flat(array)[rows] for name, array in self.state.items()},
            self._flat(self.features)[rows],
        )

    def _flat(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1, *array.shape[len(self.shape) :])


@dataclass(frozen=True)
class Imagined:
    """H imagined steps from states of shape [...], which is [M, ...] where all members
    imagined. Entry h holds what action h led to.

    Attributes:
      latents: the `Latents`, of shape [..., H].
      action: those given or the policy's, float32 [..., H, A].
      reward: in the units of dataset and environment, float32 [..., H].
      cont: the probability that the task does not end there, float32 [..., H].
    """

    latents: Latents
    action: np.ndarray
    reward: np.ndarray
    cont: np.ndarray
