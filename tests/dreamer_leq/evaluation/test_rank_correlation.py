"""Spearman's rank correlation, against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from dreamer_leq.evaluation.rank_correlation import (
    chance,
    describe_rank_correlation,
    rank_correlation,
    ranks,
)

X = np.array([0.1, 0.4, 0.4, 0.2, 0.9, 0.9, 0.9, 0.3])
Y = np.array([3, 1, 4, 1, 5, 9, 2, 6])


def test_ties_share_their_ranks():
    assert ranks(X).tolist() == [1, 4.5, 4.5, 2, 7, 7, 7, 3]


def test_it_is_scipys():
    assert rank_correlation(X, Y) == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert rank_correlation(Y, Y**3) == pytest.approx(1)
    assert rank_correlation(Y, -Y) == pytest.approx(-1)


def test_without_an_order_there_is_none():
    assert rank_correlation(X, np.ones(8)) is None
    assert chance(np.ones(8), X) is None


def test_three_in_order_are_chance_in_a_third_of_all_cases():
    """Of the 6 orders of 3, one is this and one its inverse."""
    assert chance(np.arange(3), np.arange(3)) == pytest.approx(1 / 3, abs=0.02)


def test_many_in_order_are_not():
    assert chance(np.arange(10), np.arange(10)) < 0.001


def test_it_is_said_how_far_to_trust_it():
    two = describe_rank_correlation(X[:2], Y[:2], "methods")
    assert two == "fewer than 3 methods: no rank correlation, with two it is ±1"
    three = describe_rank_correlation(np.arange(3), np.arange(3), "methods")
    assert three.startswith("3 methods: rank correlation +1.00; unrelated numbers")
    equal = describe_rank_correlation(X, np.ones(8), "runs")
    assert equal == "8 runs: no rank correlation, since all are equal"
