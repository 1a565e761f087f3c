"""Statistics of a few runs: against what rliable 1.2.0, the library of Agarwal et al.
2021, says of the same scores (with NumPy 2.4.6, arch 7.2.0, pandas 2 and 20,000
resamples after np.random.seed(0)), and by hand.
"""

import numpy as np
import pytest

from dreamer_leq.evaluation.aggregates import (
    aggregate,
    interquartile_mean,
    optimality_gap,
    probability_of_improvement,
)

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
