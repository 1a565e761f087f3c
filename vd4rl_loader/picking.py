"""One episode out of a dataset of any kind."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vd4rl_loader.errors import DataError


class Episodes(Protocol):
    """What every dataset has: arrays of N entries, and where its E episodes begin.

    Attributes:
      offsets: int64 [E + 1]; episode e is the entries `offsets[e]:offsets[e + 1]`.
    """

    offsets: np.ndarray


def pick_episode(dataset: Episodes, index: int) -> dict[str, np.ndarray]:
    """The arrays of one episode by their names, each [T, ...], not copied.

    Raises:
      DataError: there is no such episode.
    """
    count = len(dataset.offsets) - 1
    if not -count <= index < count:
        raise DataError(f"there is no episode {index}: the dataset has {count}")
    index %= count
    rows = slice(dataset.offsets[index], dataset.offsets[index + 1])
    return {
        name: array[rows]
        for name, array in vars(dataset).items()
        if isinstance(array, np.ndarray) and name != "offsets"
    }
