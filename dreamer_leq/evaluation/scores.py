"""What episodes say about a policy: a mean, and how sure one may be of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from dreamer_leq.files import write_json

BOOTSTRAP_RESAMPLES = 10_000

Scores = dict[str, Any]


def summarize(
    returns: Sequence[float] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    seed: int = 0,
    seconds: float | None = None,
) -> Scores:
    """Statistics of N episodes, ready for JSON.

    `std` is that of the episodes themselves (ddof 0), not of the mean.
    `ci_low` and `ci_high` bound the mean with 95 % confidence, or are None for a
    single episode, which says nothing about the spread.

    Args:
        returns: [N] returns of the episodes.
        lengths: [N] actions in each.
        seed: of the bootstrap.
        seconds: wall-clock time they took together, where it was measured.

    Raises:
        ValueError: there are no episodes.
    """
    returns = np.asarray(returns, np.float64)
    if not len(returns):
        raise ValueError("no episodes to summarize")
    low, high = bootstrap_interval(returns, seed) if len(returns) > 1 else (None, None)
    return {
        "episodes": len(returns),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "ci_low": low,
        "ci_high": high,
        "normalized": normalized_score(float(returns.mean())),
        "length": float(np.mean(lengths)),
        "seconds": seconds,
        "returns": returns.tolist(),
        "lengths": np.asarray(lengths).tolist(),
    }


def bootstrap_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values` [N]."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(values), size=(BOOTSTRAP_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return float(low), float(high)


def normalized_score(mean_return: float) -> float:
    """dm_control's returns lie in [0, 1000]: the score in percent."""
    return mean_return / 10


def score_table(scores: Mapping[str, Scores], title: str | None = None) -> Table:
    """A table with a row for each named result of `summarize`."""
    table = Table(title=title)
    table.add_column("policy")
    for name in ("mean", "std", "95 % interval", "score", "episodes", "length", "time"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        table.add_row(name, *_cells(score))
    return table


def _cells(score: Scores) -> list[str]:
    interval, seconds = "–", "–"
    if score["ci_low"] is not None:
        interval = f"{score['ci_low']:.1f} … {score['ci_high']:.1f}"
    if score["seconds"] is not None:
        seconds = f"{score['seconds']:.1f} s"
    return [
        f"{score['mean']:.1f}",
        f"{score['std']:.1f}",
        interval,
        f"{score['normalized']:.1f}",
        f"{score['episodes']}",
        f"{score['length']:.0f}",
        seconds,
    ]


def write_scores(path: str | Path, scores: Mapping[str, Any]) -> None:
    """Writes scores as JSON, atomically."""
    write_json(path, scores)
