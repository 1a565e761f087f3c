"""Spearman's rank correlation, and what so few pairs say of it."""

import numpy as np

PERMUTATIONS = 10_000
FEWEST = 3  # pairs that are given a correlation in words


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties with the mean of theirs: [N] -> [N]."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's ρ of N pairs, ties included: [N], [N] -> from -1 to 1; None where all
    values of x or of y are equal.
    """
    a, b = (ranks(np.asarray(v, np.float64)) for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / spread) if spread else None


def chance(x: np.ndarray, y: np.ndarray, seed: int = 0) -> float | None:
    """How often values that have nothing to do with each other are correlated at least
    as much, in either direction: a permutation test's p. None where `rank_correlation`
    is.
    """
    found = rank_correlation(x, y)
    if found is None:
        return None
    a, b = ranks(np.asarray(x)), ranks(np.asarray(y))
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(b, (PERMUTATIONS, 1)), axis=1)
    a, shuffled = a - a.mean(), shuffled - b.mean()
    others = shuffled @ a / np.sqrt((a**2).sum() * ((b - b.mean()) ** 2).sum())
    as_much = np.count_nonzero(np.abs(others) >= abs(found) - 1e-9)
    return (as_much + 1) / (PERMUTATIONS + 1)


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
