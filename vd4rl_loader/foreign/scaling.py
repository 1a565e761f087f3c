"""Actions of other projects in [-1, 1]; the way back is kept with the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.files.validation import BadFileError

BOUNDS = ("action_low", "action_high")  # names in a record
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

    @classmethod
    def kept(cls, record: Mapping[str, Any], size: int) -> Scaling:
        """The one that `record` has put down for actions of `size` numbers; where it
        has none, one that changes nothing.

        Raises:
          BadFileError: it is of other actions.
        """
        if not record.keys() >= set(BOUNDS):
            return cls(np.full(size, -1.0), np.ones(size))
        low, high = (_bounds(record[name]) for name in BOUNDS)
        if not (len(low) == len(high) == size and (low < high).all()):
            raise BadFileError(
                f"action_low, action_high: expected {size} numbers each, the low ones "
                "below the high ones"
            )
        return cls(low, high)

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

    def original(self, action: np.ndarray) -> np.ndarray:
        """Actions [N, A] in [-1, 1] as they were, float32."""
        found = np.array(action, np.float32)
        for number in self.changed:
            low, high = self.low[number], self.high[number]
            part = low + (action[:, number].astype(np.float64) + 1) / 2 * (high - low)
            found[:, number] = np.clip(part, low, high)
        return found

    def record(self) -> dict[str, Any]:
        """What is kept with the data; nothing where no action was changed."""
        if not len(self.changed):
            return {}
        return {"action_low": self.low.tolist(), "action_high": self.high.tolist()}


def _bounds(given: Any) -> np.ndarray:
    """[A], empty of what are no finite numbers."""
    try:
        array = np.asarray(given, np.float64)
    except (ValueError, TypeError):
        return np.empty(0)
    known = array.ndim == 1 and np.isfinite(array).all()
    return array if known else np.empty(0)


def _are_floats(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.dtype.kind == "f"
