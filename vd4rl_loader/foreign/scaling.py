"""Actions of other projects in [-1, 1]; the way back is kept with the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

_ROUNDING = 1e-6  # by which actions may leave [-1, 1] and are not scaled


class Scaling(NamedTuple):
    """An affine map of actions: a' = 2 (a - low) / (high - low) - 1.

    Numbers that stay in [-1, 1] have low -1 and high 1, which leaves them as they are.

    Attributes:
      low, high: float64 [A].
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, actions: Iterable[np.ndarray]) -> Scaling:
        """From the least and the greatest of all actions, [N, A] each.

        Arrays of other kinds are left to whoever checks the episodes.
        """
        bounds: list[np.ndarray] = []  # the least and the greatest
        for array in actions:
            if not _are_floats(array) or not array.size:
                continue
            if bounds and bounds[0].shape != array.shape[1:]:
                continue
            known = np.where(np.isfinite(array), array.astype(np.float64), 0)
            bounds = [
                np.min([known.min(0), *bounds[:1]], axis=0),
                np.max([known.max(0), *bounds[1:]], axis=0),
            ]
        if not bounds:
            return cls(np.empty(0), np.empty(0))
        low, high = bounds
        inside = (low >= -1 - _ROUNDING) & (high <= 1 + _ROUNDING)
        half = np.where(high > low, (high - low) / 2, 1)  # of a number that is constant
        middle = (low + high) / 2
        return cls(
            np.where(inside, -1.0, middle - half), np.where(inside, 1.0, middle + half)
        )

    @property
    def changed(self) -> np.ndarray:
        """Which numbers of an action are changed, int [K]."""
        return np.flatnonzero((self.low != -1) | (self.high != 1))

    def scaled(self, action: np.ndarray) -> np.ndarray:
        """Actions [N, A] in [-1, 1]; what is no such array, as it is."""
        if not len(self.changed) or not _are_floats(action):
            return action
        if action.shape[1:] != self.low.shape:
            return action
        return 2 * (action.astype(np.float64) - self.low) / (self.high - self.low) - 1

    def record(self) -> dict[str, Any]:
        """What is kept with the data; nothing where no action was changed."""
        if not len(self.changed):
            return {}
        return {"action_low": self.low.tolist(), "action_high": self.high.tolist()}


def _are_floats(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.dtype.kind == "f"
