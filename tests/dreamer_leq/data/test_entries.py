"""Returns of a dataset's entries, against sums and numbers known beforehand."""

import itertools

import numpy as np
import pytest

from dreamer_leq.data.entries import extra_arrays, monte_carlo_returns


def test_monte_carlo_returns_are_explicit_sums():
    rng = np.random.default_rng(10)
    lengths, gamma = [5, 1, 4, 2], 0.8
    is_first = np.concatenate([np.arange(n) == 0 for n in lengths])
    reward = rng.normal(size=len(is_first)).astype(np.float32)
    is_terminal = np.zeros(len(is_first), bool)
    is_terminal[4] = True  # the first episode ends, the others are cut off
    actual = monte_carlo_returns(reward, is_first, is_terminal, gamma)
    assert actual.dtype == np.float32
    starts = np.cumsum([0, *lengths])
    for e, (start, end) in enumerate(itertools.pairwise(starts)):
        inside = reward[start + 1 : end].astype(np.float64)
        tail = inside.mean() / (1 - gamma) if e and len(inside) else 0.0
        for t in range(start, end):
            later = reward[t + 1 : end].astype(np.float64)
            expected = (gamma ** np.arange(len(later)) * later).sum()
            expected += gamma ** len(later) * tail
            assert actual[t] == pytest.approx(expected, abs=1e-5)


def test_what_comes_after_a_terminal_inside_an_episode_is_not_its_own():
    """A walk that gets -1 a step, reaches its goal at entry 91, and goes on to 300."""
    reward = np.where(np.arange(301) == 91, 0.0, -1.0)
    is_first, is_terminal = np.arange(301) == 0, np.arange(301) == 91
    found = monte_carlo_returns(reward, is_first, is_terminal, 0.99)
    assert found[0] == pytest.approx(-(1 - 0.99**90) / 0.01)  # -59.5
    assert found[90] == 0
    assert found[91] == pytest.approx(-100, abs=0.1)  # whatever comes is cut off


def test_ranks_are_shares_of_episodes_with_higher_returns():
    """Returns of 3, -1, 3 and 5; what stands at is_first is no reward."""
    is_first = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0], bool)
    reward = np.array([9, 1, 2, 9, -1, 9, 1, 1, 1, -9, 5], np.float32)
    entries = {"is_first": is_first, "reward": reward}
    rank = extra_arrays(entries, ("rank",), 0.5)["rank"]
    expected = [0.25] * 3 + [0.75] * 2 + [0.25] * 4 + [0.0] * 2
    assert rank.dtype == np.float32 and rank.tolist() == expected
