"""Datasets of any kind: their episodes, and numbers about them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError


class Episodes:
    """A dataset of N entries, E episodes one after the other.

    Attributes:
      action: float32 [N, A].
      reward: float32 [N].
      is_terminal: bool [N].
      offsets: int64 [E + 1]; episode e is the entries `offsets[e]:offsets[e + 1]`.
      source_bytes: size of the source files.
    """

    action: np.ndarray
    reward: np.ndarray
    is_terminal: np.ndarray
    offsets: np.ndarray
    source_bytes: int

    def episode(self, index: int) -> dict[str, np.ndarray]:
        """Arrays of one episode by their names, each [T, ...]; -1 is the last.

        Raises:
          DataError: there is no such episode.
        """
        count = len(self.offsets) - 1
        if not -count <= index < count:
            raise DataError(f"there is no episode {index}: the dataset has {count}")
        rows = slice(*self.offsets[index % count : index % count + 2])
        return {name: array[rows] for name, array in self._entries().items()}

    def returns(self) -> np.ndarray:
        """Undiscounted return of every episode, float64 [E]."""
        return np.add.reduceat(self.reward.astype(np.float64), self.offsets[:-1])

    def statistics(self) -> dict[str, Any]:
        """Numbers about the data, JSON-able. Reads no images.

        `steps` counts transitions, `terminals` terminal entries; lengths are in
        entries; `bytes` is the size of the entries' arrays, `source_bytes` that of the
        files.
        """
        returns, lengths = self.returns(), np.diff(self.offsets)
        return {
            "episodes": len(returns),
            "steps": int(len(self.reward) - len(returns)),
            "entries": len(self.reward),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_min": int(lengths.min()),
            "length_max": int(lengths.max()),
            "action_min": float(self.action.min()),
            "action_max": float(self.action.max()),
            "bytes": sum(array.nbytes for array in self._entries().values()),
            "source_bytes": self.source_bytes,
            "terminals": int(np.count_nonzero(self.is_terminal)),
        }

    def _entries(self) -> dict[str, np.ndarray]:
        """All arrays of N entries by their names."""
        return {
            name: array
            for name, array in vars(self).items()
            if isinstance(array, np.ndarray) and name != "offsets"
        }
