"""A critic against the rewards of episodes in which others acted."""

import numpy as np
import pytest

from dreamer_leq.evaluation.td_errors import excess_values

GAMMA = 0.9


def ring(episodes, length):
    """Steps around 3 states with reward 1 after the first, minus the action squared;
    actions are random: state, action, reward [E, T].
    """
    rng = np.random.default_rng(0)
    state = (rng.integers(3, size=(episodes, 1)) + np.arange(length)) % 3
    action = rng.uniform(-1, 1, (episodes, length))
    return state, action, (state == 0) - action**2


def td_errors(state, action, reward, error=0.0):
    """Of the true Q of the policy that never acts, and of one too high by `error`."""
    value = GAMMA ** np.array([0, 2, 1]) / (1 - GAMMA**3) + error
    q = (state == 0) - action**2 + GAMMA * value[(state + 1) % 3]
    q += (1 - GAMMA) * error
    return reward + GAMMA * value[(state + 1) % 3] - q


def firsts(episodes, length):
    return np.tile(np.arange(length) == 0, episodes)


def test_the_true_values_have_no_excess_whoever_acted():
    steps = ring(50, 20)
    excess = excess_values(
        td_errors(*steps).ravel(), np.ones(1000), firsts(50, 20), GAMMA
    )
    assert excess == pytest.approx(np.zeros(50), abs=1e-12)


def test_values_that_are_too_high_by_a_constant():
    """What an episode is cut off from counts as they have it: the rest is found."""
    error, length = 2.0, 20
    steps = ring(50, length)
    td_error = td_errors(*steps, error).ravel()
    excess = excess_values(td_error, np.ones(1000), firsts(50, length), GAMMA)
    assert excess == pytest.approx(np.full(50, error * (1 - GAMMA**length)))


def test_nothing_counts_after_termination():
    """AntMaze's trajectories go on after their goal."""
    first = np.array([True, False, False, True, False])
    cont = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    excess = excess_values(np.ones(5), cont, first, GAMMA)
    assert excess == pytest.approx([-(1 + GAMMA), -(1 + GAMMA)])
