"""Numbers about a dataset of any kind, from its rewards, actions and offsets."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Episodes(Protocol):
    """What every dataset has: N entries of E episodes, one after the other.

    Attributes:
      action: float32 [N, A].
      reward: float32 [N].
      offsets: int64 [E + 1].
      source_bytes: size of the source files.
    """

    action: np.ndarray
    reward: np.ndarray
    offsets: np.ndarray
    source_bytes: int


def episode_returns(dataset: Episodes) -> np.ndarray:
    """Undiscounted return of every episode, float64 [E]."""
    return np.add.reduceat(dataset.reward.astype(np.float64), dataset.offsets[:-1])


def summary(dataset: Episodes) -> dict[str, Any]:
    """Numbers about the data, JSON-able.

    `steps` counts transitions; lengths are in entries; `bytes` is the size of the
    arrays of entries, `source_bytes` that of the files.
    """
    returns, lengths = episode_returns(dataset), np.diff(dataset.offsets)
    arrays = [v for v in vars(dataset).values() if isinstance(v, np.ndarray)]
    return {
        "episodes": len(returns),
        "steps": int(len(dataset.reward) - len(returns)),
        "entries": len(dataset.reward),
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
        "length_min": int(lengths.min()),
        "length_max": int(lengths.max()),
        "action_min": float(dataset.action.min()),
        "action_max": float(dataset.action.max()),
        "bytes": sum(a.nbytes for a in arrays) - dataset.offsets.nbytes,
        "source_bytes": dataset.source_bytes,
    }
