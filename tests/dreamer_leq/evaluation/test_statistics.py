"""Statistics: against published values, against what rliable 1.2.0, the library of
Agarwal et al. 2021, says of the same scores (with NumPy 2.4.6, arch 7.2.0, pandas 2 and
20,000 resamples after np.random.seed(0)), and by hand.
"""

import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize, stats

from dreamer_leq.evaluation.statistics import (
    aggregate,
    bootstrap_interval,
    chance,
    describe_rank_correlation,
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    rank_correlation,
    wilson_interval,
)

# --- intervals of a mean

# 95 % intervals, without correction: 81 of 263, 15 of 148, 0 of 20 and 1 of 29 are
# those of Newcombe (1998), Table I, method 3.
WILSON = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("successes", "trials", "low", "high"), WILSON)
def test_wilson_interval_is_the_published_one(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 100), (1, 2), (37, 100), (99, 100), (100, 100)]
)
def test_wilson_interval_is_of_the_rates_that_a_z_test_accepts(successes, trials):
    """By its definition: |p̂ - p| = z √(p (1 - p) / n), solved for p."""
    rate, z = successes / trials, stats.norm.ppf(0.975)
    low, high = wilson_interval(successes, trials)

    def excess(p):
        return (rate - p) ** 2 - z**2 * p * (1 - p) / trials

    root = lambda a, b: optimize.brentq(excess, a, b)  # noqa: E731
    if successes:
        assert low == pytest.approx(root(1e-9, rate - 1e-9), abs=1e-6)
    if successes < trials:
        assert high == pytest.approx(root(rate + 1e-9, 1 - 1e-9), abs=1e-6)


def test_the_bootstraps_interval_covers_the_mean_about_as_often_as_it_says():
    """Offsets that differ between episodes, of mean 1: 95 % of many intervals."""
    rng = np.random.default_rng(1)
    episode = np.repeat(np.arange(20), 5)
    covered = 0
    for _ in range(100):
        error = 1.0 + rng.normal(size=20)[episode] + 0.1 * rng.normal(size=100)
        low, high = bootstrap_interval(error, episode)
        covered += low <= 1.0 <= high
    assert 85 <= covered <= 99


def test_values_of_one_group_are_no_new_evidence():
    values, group = np.array([0.0, 1.0, 2.0, 5.0]), np.arange(4)
    once = bootstrap_interval(values)
    again = bootstrap_interval(np.repeat(values, 50), np.repeat(group, 50))
    assert again == pytest.approx(once)
    assert bootstrap_interval(values, np.zeros(4)) == (2, 2)  # a single one


# --- aggregates over runs and tasks

# 5 runs of 4 tasks, as rliable has them: a row is a run
A = [
    [0.64, 0.27, 0.04, 0.02],
    [0.81, 0.91, 0.61, 0.73],
    [0.54, 0.94, 0.82, 0.0],
    [0.86, 0.03, 0.73, 0.18],
    [0.86, 0.54, 0.3, 0.42],
]
B = [
    [0.63, 0.41, -0.03, 0.06],
    [0.9, 0.92, 0.54, 0.64],
    [0.49, 0.96, 0.72, -0.02],
    [0.84, 0.08, 0.75, 0.22],
    [1.29, 0.57, 0.38, 1.57],
]
RESAMPLED = 0.012  # two bootstraps of so many resamples are as near as this


def tasks(rows):
    return list(np.array(rows).T)


def assert_estimate(found, value, low, high):
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=RESAMPLED)


def test_interquartile_mean():
    assert_estimate(aggregate(tasks(A), interquartile_mean), 0.559, 0.36, 0.716025)
    assert_estimate(aggregate(tasks(B), interquartile_mean), 0.597, 0.402, 0.759)


def test_optimality_gap_counts_nothing_above_the_reference():
    assert_estimate(aggregate(tasks(A), optimality_gap), 0.4875, 0.368, 0.6090125)
    assert_estimate(aggregate(tasks(B), optimality_gap), 0.447, 0.314, 0.579)


def test_probability_of_improvement():
    found = probability_of_improvement(tasks(A), tasks(B))
    assert found.value == pytest.approx(0.46)
    # a resample changes it in steps of 0.01
    assert (found.low, found.high) == pytest.approx((0.27, 0.65), abs=0.0201)


def test_probability_of_improvement_over_fewer_runs():
    found = probability_of_improvement(tasks(B), tasks(A[:3]))
    assert_estimate(found, 0.5333333333333333, 0.31666667, 0.75)


def test_a_tie_counts_half():
    same = [np.array([1.0, 1.0, 0.62])]
    assert probability_of_improvement(same, same).value == 0.5
    all_won = probability_of_improvement([np.ones(3)], same)
    assert all_won.value == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_interquartile_mean_by_hand():
    scores = np.array([100.0, 0, 3, 5, 4, -50, 2])  # 7: one goes from either end
    assert interquartile_mean(scores) == pytest.approx((0 + 2 + 3 + 4 + 5) / 5)


def test_runs_are_drawn_within_their_task():
    """Between tasks all differs, within them nothing: there is nothing to draw."""
    found = aggregate([np.zeros(3), np.ones(3)], interquartile_mean)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_tasks_may_have_different_numbers_of_runs():
    found = aggregate([np.array([0.0, 0.2]), np.array([1.0])], optimality_gap)
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.high) == pytest.approx((1.6 / 3, 2 / 3))


def test_single_runs_have_no_interval():
    found = aggregate([np.zeros(1), np.ones(1)], interquartile_mean)
    assert (found.low, found.high) == (None, None)
    assert found.value == 0.5
    pair = probability_of_improvement([np.ones(1)], [np.zeros(1)])
    assert (pair.value, pair.low) == (1.0, None)


# --- rank correlation

X = np.array([0.1, 0.4, 0.4, 0.2, 0.9, 0.9, 0.9, 0.3])
Y = np.array([3, 1, 4, 1, 5, 9, 2, 6])
RANKS = [1, 4.5, 4.5, 2, 7, 7, 7, 3], [4, 1.5, 5, 1.5, 6, 8, 3, 7]  # ties share theirs


def test_it_is_the_correlation_of_the_ranks():
    assert rank_correlation(X, Y) == pytest.approx(np.corrcoef(*RANKS)[0, 1])
    assert rank_correlation(Y, Y**3) == pytest.approx(1)
    assert rank_correlation(Y, -Y) == pytest.approx(-1)


def test_without_an_order_there_is_none():
    assert rank_correlation(X, np.ones(8)) is None
    assert chance(np.ones(8), X) is None


def test_three_in_order_are_chance_in_a_third_of_all_cases():
    """Of the 6 orders of 3, one is this and one its inverse."""
    assert chance(np.arange(3), np.arange(3)) == pytest.approx(1 / 3)


def test_many_in_order_are_not():
    assert chance(np.arange(10), np.arange(10)) < 0.001


def test_it_is_said_how_far_to_trust_it():
    two = describe_rank_correlation(X[:2], Y[:2], "methods")
    assert two == "fewer than 3 methods: no rank correlation, with two it is ±1"
    three = describe_rank_correlation(np.arange(3), np.arange(3), "methods")
    assert three.startswith("3 methods: rank correlation +1.00; unrelated numbers")
    equal = describe_rank_correlation(X, np.ones(8), "runs")
    assert equal == "8 runs: no rank correlation, since all are equal"


# --- weight


def test_importing_them_is_cheap():
    code = "import sys, dreamer_leq.evaluation.statistics; print(*sys.modules)"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not {"jax", "scipy"} & set(found.split())


def test_a_profile_is_the_share_of_runs_above():
    scores = [np.array([0.1, 0.5]), np.array([0.5, 0.9])]
    found = performance_profile(scores, np.array([0.0, 0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found.share, [1, 0.75, 0.25, 0])  # above, not at
    # each task is drawn for itself: no draw loses both of its runs
    np.testing.assert_allclose(found.low, [1, 0.5, 0, 0])
    np.testing.assert_allclose(found.high, [1, 1, 0.5, 0])
    assert performance_profile([scores[0][:1]], np.zeros(1)).low is None
