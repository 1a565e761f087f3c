"""Statistics of scores: intervals, aggregates over runs, rank correlation. No JAX.

SciPy does the work, and is imported where it is needed: it takes half a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000  # of bootstraps and of permutations
FEWEST = 3  # pairs that are given a rank correlation in words
_BATCH = 1000  # resamples at once: bounds the memory
_TRIMMED = 0.25  # of the scores, from either end

TaskScores = Sequence[np.ndarray]  # of each task [R], one score for each of its R runs
Statistic = Callable[[np.ndarray], np.ndarray]

# --- intervals of a mean


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a success rate; unlike the bootstrap's, it has a width
    where all or none succeed.
    """
    from scipy import stats

    found = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def bootstrap_interval(
    values: np.ndarray, group: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values` [N].

    Whole groups are drawn where `group` [N] says to which each value belongs: states of
    one episode are no independent evidence. A single value or group has no width.
    """
    values = np.asarray(values, np.float64)
    index = np.arange(len(values))
    if group is not None:
        _, index = np.unique(group, return_inverse=True)
    total, count = np.bincount(index, values), np.bincount(index)
    if len(total) == 1:
        return (float(values.mean()),) * 2

    def mean(total: np.ndarray, count: np.ndarray, axis: int) -> np.ndarray:
        return total.sum(axis) / count.sum(axis)

    return _bootstrap([total, count], mean, seed, paired=True)


def _bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    seed: int,
    paired: bool = False,
) -> tuple[float, float]:
    from scipy import stats

    how: dict[str, Any] = dict(n_resamples=RESAMPLES, batch=_BATCH, vectorized=True)
    found = stats.bootstrap(
        samples, statistic, method="percentile", paired=paired, rng=seed, **how
    ).confidence_interval
    return float(found.low), float(found.high)


# --- what a few runs of a method on several tasks say of it (Agarwal et al. 2021)


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
    from scipy import stats

    return stats.trim_mean(scores, _TRIMMED, axis=-1)


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """How far scores fall short of 1 in the mean, [..., N] -> [...]; what lies above 1
    doesn't make up for the rest.
    """
    return 1.0 - np.minimum(scores, 1.0).mean(-1)


def aggregate(scores: TaskScores, statistic: Statistic, seed: int = 0) -> Estimate:
    """`statistic` of all runs of all tasks together, with the interval of a stratified
    bootstrap: runs are drawn anew within each task.

    statistic: `interquartile_mean` or `optimality_gap`.
    """

    def of_all(*tasks: np.ndarray) -> np.ndarray:
        lead = np.broadcast_shapes(*(task.shape[:-1] for task in tasks))
        rows = [np.broadcast_to(task, (*lead, task.shape[-1])) for task in tasks]
        return statistic(np.concatenate(rows, -1))

    return _estimate(scores, of_all, seed)


@dataclass(frozen=True)
class Profile:
    """How many runs score more than each threshold [K]: their share [K], and its
    pointwise 95 % interval [K], None where no task has several runs.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def performance_profile(
    scores: TaskScores, thresholds: np.ndarray, seed: int = 0
) -> Profile:
    """The share of all runs of all tasks with a score above each of the thresholds; the
    interval is that of a stratified bootstrap.
    """

    def share(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        every = np.concatenate([np.asarray(task) for task in tasks], axis)
        return np.array([(every > x).mean(axis) for x in thresholds])

    value, rng = share(*scores), np.random.default_rng(seed)
    if max(map(len, scores)) == 1:
        return Profile(thresholds, value, None, None)
    drawn = [task[rng.integers(len(task), size=(_BATCH, len(task)))] for task in scores]
    low, high = np.percentile(share(*drawn), (2.5, 97.5), axis=-1)
    return Profile(thresholds, value, low, high)


def probability_of_improvement(x: TaskScores, y: TaskScores, seed: int = 0) -> Estimate:
    """How probably a run of `x` has a higher score than one of `y` on the same task, in
    the mean of the tasks; a tie counts half.

    The runs of both are drawn anew within each task, each for itself.

    Raises:
        ValueError: they have different numbers of tasks.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} tasks against {len(y)}")

    def wins(*tasks: np.ndarray) -> np.ndarray:
        pairs = zip(tasks[: len(x)], tasks[len(x) :], strict=True)
        return np.mean([_wins(a, b) for a, b in pairs], axis=0)

    return _estimate([*x, *y], wins, seed)


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of pairs in which x is higher: [..., R], [..., S] -> [...]."""
    return (np.sign(x[..., :, None] - y[..., None, :]).mean((-2, -1)) + 1) / 2


def _estimate(
    samples: TaskScores, statistic: Callable[..., np.ndarray], seed: int
) -> Estimate:
    """`statistic` of samples [..., R] each; a sample of one run is never drawn."""
    value = float(statistic(*samples))
    several = [len(sample) > 1 for sample in samples]

    def of_drawn(*drawn: np.ndarray, axis: int) -> np.ndarray:
        del axis  # the last one
        left = iter(drawn)
        mixed = zip(samples, several, strict=True)
        return statistic(*(next(left) if many else one for one, many in mixed))

    drawn = [sample for sample in samples if len(sample) > 1]
    if not drawn:
        return Estimate(value, None, None)
    return Estimate(value, *_bootstrap(drawn, of_drawn, seed))


# --- rank correlation


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's ρ of N pairs, ties included: [N], [N] -> from -1 to 1; None where all
    values of x or of y are equal.
    """
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(stats.spearmanr(x, y).statistic)


def chance(x: np.ndarray, y: np.ndarray, seed: int = 0) -> float | None:
    """How often values that have nothing to do with each other are correlated at least
    as much, in either direction: a permutation test's p, exact for up to 7 pairs. None
    where `rank_correlation` is.
    """
    from scipy import stats

    if rank_correlation(x, y) is None:
        return None
    a, b = (stats.rankdata(v) - (len(x) + 1) / 2 for v in (x, y))
    found = stats.permutation_test(
        [a],
        lambda a, axis: np.abs((a * b).sum(axis)),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=seed,
    )
    return float(found.pvalue)


def describe_rank_correlation(x: np.ndarray, y: np.ndarray, what: str) -> str:
    """The rank correlation over `what`, a plural, and how far to trust it: x, y [N]."""
    if len(x) < FEWEST:
        return f"fewer than {FEWEST} {what}: no rank correlation, with two it is ±1"
    found = rank_correlation(x, y)
    if found is None:
        return f"{len(x)} {what}: no rank correlation, since all are equal"
    p = chance(x, y)
    return (
        f"{len(x)} {what}: rank correlation {found:+.2f}; unrelated numbers reach as "
        f"much, in either direction, {100 * p:.0f} % of the time"
    )
