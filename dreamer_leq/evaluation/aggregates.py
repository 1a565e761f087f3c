"""What a few runs of a method on several tasks say of it (Agarwal et al. 2021).

The scores of a method are a list with an array [R] for each task, one score for each of
its R runs, 1 being the reference; the number of runs may differ from task to task.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_RESAMPLES = 10_000
_TRIMMED = 0.25  # of the scores, from either end

Scores = Sequence[np.ndarray]
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % interval; low and high are None where no task has
    several runs.
    """

    value: float
    low: float | None
    high: float | None


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean without the lowest and the highest quarter: [..., N] -> [...]."""
    n = scores.shape[-1]
    cut = int(_TRIMMED * n)
    return np.sort(scores, axis=-1)[..., cut : n - cut].mean(-1)


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """How far scores fall short of 1 in the mean, [..., N] -> [...]; what lies above 1
    doesn't make up for the rest.
    """
    return 1.0 - np.minimum(scores, 1.0).mean(-1)


def aggregate(scores: Scores, statistic: Statistic, seed: int = 0) -> Estimate:
    """`statistic` of all runs of all tasks together, with the interval of a stratified
    bootstrap: runs are drawn anew within each task.

    statistic: `interquartile_mean` or `optimality_gap`.
    """
    rng = np.random.default_rng(seed)
    drawn = [task[_resamples(rng, len(task))] for task in scores]
    value = float(statistic(np.concatenate(scores)))
    return _estimate(value, statistic(np.concatenate(drawn, -1)), scores)


def probability_of_improvement(x: Scores, y: Scores, seed: int = 0) -> Estimate:
    """How probably a run of `x` has a higher score than one of `y` on the same task, in
    the mean of the tasks; a tie counts half.

    The runs of both are drawn anew within each task, each for itself.

    Raises:
        ValueError: they have different numbers of tasks.
    """
    rng = np.random.default_rng(seed)
    wins = [_wins(a, b) for a, b in zip(x, y, strict=True)]
    drawn = [_resampled_mean(rng, w) for w in wins]
    value = float(np.mean([w.mean() for w in wins]))
    return _estimate(value, np.mean(drawn, axis=0), [*x, *y])


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[R], [S] -> [R, S]: 1 where x is higher, ½ where they are equal, 0 elsewhere."""
    return (np.sign(x[:, None] - y[None]) + 1) / 2


def _resampled_mean(rng: np.random.Generator, wins: np.ndarray) -> np.ndarray:
    """Means of `wins` [R, S] with rows and columns drawn anew: [resamples]."""
    rows, columns = (_counts(rng, n) for n in wins.shape)
    return np.einsum("br,rs,bs->b", rows, wins, columns) / wins.size


def _resamples(rng: np.random.Generator, n: int) -> np.ndarray:
    """Indices of `n` runs, drawn with replacement: [resamples, n]."""
    return rng.integers(n, size=(BOOTSTRAP_RESAMPLES, n))


def _counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each of `n` runs is drawn: [resamples, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAP_RESAMPLES)


def _estimate(value: float, drawn: np.ndarray, scores: Scores) -> Estimate:
    if all(len(task) == 1 for task in scores):
        return Estimate(value, None, None)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
