"""Affine maps of rewards: the same one for the data and for predicted rewards."""

from __future__ import annotations

import dataclasses

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.states.dataset import StateDataset

_RETURN_RANGE = 1000.0


@dataclasses.dataclass(frozen=True)
class RewardTransform:
    """reward -> scale * reward + bias, of arrays of any kind and shape."""

    scale: float
    bias: float

    def __call__(self, reward):
        return reward * self.scale + self.bias

    def inverse(self, reward):
        """From what `__call__` gives back to the dataset's rewards."""
        return (reward - self.bias) / self.scale


IDENTITY = RewardTransform(1.0, 0.0)
MINUS_ONE = RewardTransform(1.0, -1.0)  # AntMaze: -1 per step, 0 at the goal


def return_range_transform(dataset: StateDataset) -> RewardTransform:
    """Scales rewards so that the episodes' returns span 1000.

    Raises:
      DataError: all episodes have the same return.
    """
    returns = dataset.returns()
    span = float(np.ptp(returns))
    if span == 0:
        raise DataError(
            f"rewards: every episode's return is {returns[0]:g}, which cannot be "
            f"scaled to a range of 1000: give --data.rewards raw"
        )
    return RewardTransform(_RETURN_RANGE / span, 0.0)
