"""What a world model says, as NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Latents:
    """States of a world model. All arrays have the same leading axes, `shape`.

    Indexing chooses among those: `latents[3]` is one state, `latents[:, -1]` the last
    ones of all rows.

    Attributes:
      state: what the world model goes on from: deter float32 [..., D] and stoch, the
        classes of the categorical variables, [..., S]; of an ensemble of MLPs the
        vector itself, float32 [..., D].
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
    """H imagined steps. The leading axes [...] are those of the start states, after the
    members [M, ...] where each of them imagined.

    Entry h holds what action h led to, as a dataset's entries do: beside an episode,
    what is imagined from its entry t belongs to entries t + 1 to t + H.

    Attributes:
      latents: the states, shape [..., H].
      action: float32 [..., H, A], those given or the policy's.
      reward: float32 [..., H], in the units of the dataset and the environment.
      cont: float32 [..., H], the probability that the task does not end there.
    """

    latents: Latents
    action: np.ndarray
    reward: np.ndarray
    cont: np.ndarray
