"""What episodes say about a policy: a mean, and how sure one may be of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from dreamer_leq.evaluation.statistics import bootstrap_interval, wilson_interval
from dreamer_leq.system.files import write_json

DM_CONTROL = (0.0, 1000.0)  # the range of its returns
SUCCESS = (0.0, 1.0)  # of tasks whose return is 1 or 0

Scores = dict[str, Any]


def summarize(
    returns: Sequence[float] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    reference: tuple[float, float] = DM_CONTROL,
    seed: int = 0,
    seconds: float | None = None,
) -> Scores:
    """Statistics of N episodes, ready for JSON.

    `std` is that of the episodes themselves (ddof 0), not of the mean.
    `ci_low` and `ci_high` bound the mean with 95 % confidence, or are None for a
    single episode, which says nothing about the spread: Wilson's interval where returns
    are successes, else the bootstrap's.

    Args:
        returns: [N] returns of the episodes.
        lengths: [N] actions in each.
        reference: the returns that are a score of 0 and of 100.
        seed: of the bootstrap.
        seconds: wall-clock time they took together, where it was measured.

    Raises:
        ValueError: there are no episodes.
    """
    returns = np.asarray(returns, np.float64)
    if not len(returns):
        raise ValueError("no episodes to summarize")
    low, high = None, None
    if len(returns) > 1 and reference == SUCCESS:
        low, high = wilson_interval(int(returns.sum()), len(returns))
    elif len(returns) > 1:
        low, high = bootstrap_interval(returns, seed=seed)
    return {
        "episodes": len(returns),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "ci_low": low,
        "ci_high": high,
        "normalized": normalized_score(float(returns.mean()), reference),
        "length": float(np.mean(lengths)),
        "seconds": seconds,
        "returns": returns.tolist(),
        "lengths": np.asarray(lengths).tolist(),
    }


def normalized_score(mean_return: float, reference: tuple[float, float]) -> float:
    """The share of the way from one reference return to the other, in percent."""
    low, high = reference
    return 100 * (mean_return - low) / (high - low)


def score_table(
    scores: Mapping[str, Scores], title: str | None = None, referenced: bool = True
) -> Table:
    """A table with a row for each named result of `summarize`; `referenced`: whether
    the task has a reference, so that there is a score.
    """
    table = Table(title=title)
    table.add_column("policy")
    for name in ("mean", "std", "95 % interval", "score", "episodes", "length", "time"):
        table.add_column(name, justify="right")
    succeeds = any("success" in score for score in scores.values())
    if succeeds:
        table.add_column("success", justify="right")
    for name, score in scores.items():
        rate = [f"{score['success']:.0%}" if "success" in score else "–"]
        table.add_row(name, *_cells(score, referenced), *(rate if succeeds else []))
    return table


def _cells(score: Scores, referenced: bool) -> list[str]:
    span, seconds, failed = "–", "–", score.get("failed")
    digits = 1 if score["mean"] > 1 or score["std"] > 1 else 2
    if score["ci_low"] is not None:
        span = f"{score['ci_low']:.{digits}f} … {score['ci_high']:.{digits}f}"
    if score["seconds"] is not None:
        seconds = f"{score['seconds']:.1f} s"
    return [
        f"{score['mean']:.{digits}f}",
        f"{score['std']:.{digits}f}",
        span,
        f"{score['normalized']:.1f}" if referenced else "–",
        f"{score['episodes']}" + (f", {failed} failed" if failed else ""),
        f"{score['length']:.0f}",
        seconds,
    ]


def write_scores(path: str | Path, scores: Mapping[str, Any]) -> None:
    """Writes scores as JSON, atomically."""
    write_json(path, scores)
