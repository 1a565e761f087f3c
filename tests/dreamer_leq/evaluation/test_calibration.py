"""Predictions with known faults, in environments whose returns are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from worlds import World

from dreamer_leq.evaluation import calibration as c
from dreamer_leq.evaluation.rollouts import Played

GAMMA = 0.9


def played(lengths, terminal, reward=None):
    """Episodes with a reward of 1 per step, or `reward` [T, N]."""
    t, n = max(lengths), len(lengths)
    step = np.arange(t)[:, None]
    reward = np.ones((t, n)) if reward is None else reward
    reward = np.where(step < np.array(lengths), reward, 0.0)
    state = np.broadcast_to(step[..., None] * 1.0, (t, n, 1))
    action = np.zeros((t, n, 1), np.float32)
    return Played(state, action, reward, np.array(lengths), np.array(terminal))


# --- bias


def test_a_constant_offset_is_the_bias():
    real = np.random.default_rng(0).normal(size=60)
    found = c.calibration(real + 3.0, real, np.repeat(np.arange(6), 10))
    assert found.bias == pytest.approx(3.0)
    assert found.low <= found.bias <= found.high + 1e-9
    assert found.high - found.low < 1e-9
    assert found.correlation == pytest.approx(1.0)
    assert found.predicted == pytest.approx(real + 3) and found.real == list(real)


def test_episodes_count_by_their_states():
    """One state of 10 and three of 0: the mean is 2.5."""
    values, episode = np.array([10.0, 0, 0, 0]), np.array([7, 9, 9, 9])
    found = c.calibration(values, np.zeros(4), episode)
    assert (found.low, found.bias, found.high) == (0.0, 2.5, 10.0)


def test_correlation_is_undefined_where_nothing_varies():
    found = c.calibration(np.ones(4), np.arange(4.0), np.arange(4))
    assert found.correlation is None


def test_a_prediction_that_overflows_stays_a_number():
    found = c.calibration(np.array([np.inf, 1.0]), np.zeros(2), np.arange(2))
    assert np.isfinite([found.bias, found.low, found.high, *found.predicted]).all()


# --- real returns


def test_returns_of_an_ended_episode_are_its_rewards():
    reward = np.array([[1.0, 2.0], [4.0, 8.0], [16.0, 0.0]])
    found = c.real_returns(played([3, 2], [True, True], reward), GAMMA)
    last = [16.0, 0.0]
    middle = [4 + GAMMA * 16, 8.0]
    first = [1 + GAMMA * middle[0], 2 + GAMMA * 8]
    np.testing.assert_allclose(found[:2], [first, middle])
    assert found[2, 0] == last[0]


def test_behind_the_clock_rewards_go_on_as_in_the_second_half():
    whole = c.real_returns(played([40, 20], [False, False]), GAMMA)
    np.testing.assert_allclose(whole[:20], 1 / (1 - GAMMA))  # for ever 1
    reward = np.ones((10, 1))
    reward[5:] = 3.0
    found = c.real_returns(played([10], [False], reward), GAMMA)
    expected = (GAMMA ** np.arange(10) * reward[:, 0]).sum() + GAMMA**10 * 3 / 0.1
    np.testing.assert_allclose(found[0, 0], expected)
    assert c.real_returns(played([10], [False]), 1.0)[0, 0] == 10


def test_sums_over_the_horizon_end_with_the_episode():
    found = c.real_sums(played([5, 3], [True, True]), GAMMA, 3)
    three, two = 1 + GAMMA + GAMMA**2, 1 + GAMMA
    np.testing.assert_allclose(found[:, 0], [three, three, three, two, 1])
    np.testing.assert_allclose(found[:3, 1], [three, two, 1])


def test_hidden_weight_is_what_the_clock_cuts_off():
    found = c.hidden(played([4, 3], [False, True]), GAMMA)
    np.testing.assert_allclose(found[:, 0], GAMMA ** np.array([4, 3, 2, 1]))
    assert (found[:, 1] == 0).all()


# --- which states


def steps_of(found, episode):
    step, which = found
    return step[which == episode]


def test_states_with_too_much_hidden_are_left_out():
    """0.9^28 is 5.2 %, 0.9^29 is 4.7 %: of 100 steps the first 72 have 29 to go."""
    found = c.chosen(played([100, 100], [False, True]), GAMMA, 5, 10_000)
    for episode in range(2):
        np.testing.assert_array_equal(steps_of(found, episode), np.arange(72))


def test_of_episodes_that_are_short_for_the_discount_the_first_half_stays():
    found = c.chosen(played([100], [False]), 0.999, 5, 10_000)
    np.testing.assert_array_equal(steps_of(found, 0), np.arange(50))


def test_the_horizon_has_to_be_known():
    found = c.chosen(played([10], [False]), 0.5, 8, 10_000)
    np.testing.assert_array_equal(steps_of(found, 0), [0, 1, 2])


def test_they_are_as_many_as_asked_for_of_the_same_steps_everywhere():
    step, episode = c.chosen(played([100, 50, 3], [True] * 3), GAMMA, 5, 31)
    every = np.unique(step)
    assert every[0] == 0 and every[-1] == 99 and len(step) == pytest.approx(31, abs=2)
    assert np.ptp(np.diff(every)) <= 1  # evenly spread
    for i, length in enumerate([100, 50, 3]):
        np.testing.assert_array_equal(step[episode == i], every[every < length])


@pytest.mark.parametrize("gamma", [0.99, 0.997])
def test_the_right_values_have_no_bias_where_any_step_may_be_the_last(gamma):
    """A reward of 1 a step, the end of 1 in 200, a clock of 1000: Q is everywhere the
    same, and states of episodes that end early are no others than those of long ones.
    """
    end = np.random.default_rng(4).geometric(1 / 200, 2000)
    episodes = played(np.minimum(end, 1000), end <= 1000)
    at = step, episode = c.chosen(episodes, gamma, 5, 20_000)
    real = c.real_returns(episodes, gamma)[at]
    found = c.calibration(
        np.full(len(real), 1 / (1 - gamma * 199 / 200)), real, episode
    )
    assert found.low < 0 < found.high and found.high - found.low < 12
    assert len(step) == pytest.approx(20_000, rel=0.05)


# --- λ-returns and sums


@pytest.mark.parametrize("lam", [0.0, 0.9, 50.0, math.inf])
def test_a_lambda_return_is_the_mean_of_all_returns(lam):
    """By recursion: G^(h) from step t on is r_t + γ c_t G^(h - 1) from t + 1 on."""
    rng = np.random.default_rng(3)
    reward, cont = rng.normal(size=(5, 7)), rng.uniform(size=(5, 7))
    q, alive = rng.normal(size=(6, 7)), np.cumprod(np.vstack([np.ones(7), cont]), 0)

    def later(t, h):
        return reward[t] + GAMMA * cont[t] * later(t + 1, h - 1) if h else q[t]

    each = [later(0, h) for h in range(6)]
    weights = [0] * 5 + [1] if math.isinf(lam) else lam ** np.arange(6)
    expected = np.average(each, 0, weights)
    found = c.lambda_return(*map(jnp.float32, (reward, alive, q)), GAMMA, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with jax.enable_x64(True):
        found = c.lambda_return(*map(jnp.asarray, (reward, alive, q)), GAMMA, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_nothing_counts_after_an_end():
    alive = jnp.array([[1.0], [0.0], [0.0]])
    reward, q = jnp.array([[2.0], [jnp.inf]]), jnp.array([[9.0], [1e30], [jnp.nan]])
    assert c.lambda_return(reward, alive, q, GAMMA, math.inf) == 2
    assert c.lambda_return(reward, alive, q, GAMMA, 1.0) == (9 + 2 + 2) / 3


# --- what is promised, and all of it together


@struct.dataclass
class Corridor(World):
    """States count steps; reward 1 + offset; the step into `end` is the last one."""

    end: float
    offset: float = 0.0

    def step(self, state, action, key):
        after = state + 1
        reward = jnp.full(len(state), 1.0 + self.offset)
        return after, reward, (after[:, 0] < self.end).astype(jnp.float32)


@struct.dataclass
class NoModel(World):
    """The same states, and no steps."""

    end: float
    members = 0


@struct.dataclass
class Walker:
    """An agent whose Q of a corridor is off by `critic`."""

    world_model: Corridor
    critic: jax.Array

    def policy(self, features, key=None):
        return jnp.zeros((*features.shape[:-1], 1))

    def value(self, features, action):
        left = jnp.maximum(self.world_model.end - features[..., 0], 0)
        return (1 - GAMMA**left) / (1 - GAMMA) + self.critic


def corridor(critic=0.0, model=0.0, length=30, horizon=3, lam=0.95):
    """Calibrations of three episodes with the given faults."""
    episodes = played([length] * 3, [True] * 3)
    at = c.chosen(episodes, GAMMA, horizon, 20)
    agent = Walker(Corridor(float(length), model), jnp.float32(critic))
    settings = dict(horizon=horizon, gamma=GAMMA, lam=lam)
    state = jnp.float32(episodes.state[at])
    promised = c.promised(agent, state, **settings)
    whole = c.real_returns(episodes, GAMMA)[at]
    ahead = c.real_sums(episodes, GAMMA, horizon)[at]
    real = {"q": whole, "lambda_return": whole, "imagined_return": ahead}
    return {n: c.calibration(x, real[n], at[1]) for n, x in promised.items()}


@pytest.fixture(scope="module")
def exact():
    return corridor()


def test_a_true_critic_in_a_true_model_has_no_bias(exact):
    for name in ("q", "lambda_return", "imagined_return"):
        assert exact[name].bias == pytest.approx(0.0, abs=1e-5)
        assert exact[name].correlation == pytest.approx(1.0)


def test_a_critic_that_is_off_by_a_constant_has_that_bias():
    found = corridor(critic=2.0)
    assert found["q"].bias == pytest.approx(2.0, rel=1e-5)
    assert found["q"].low - 1e-5 <= 2.0 <= found["q"].high + 1e-5
    assert 0 < found["lambda_return"].bias < 2.0
    assert found["imagined_return"].bias == pytest.approx(0.0, abs=1e-5)


def test_states_without_a_model_promise_q_alone():
    agent = Walker(NoModel(30.0), jnp.float32(0.0))
    settings = dict(horizon=3, gamma=GAMMA, lam=0.95)
    found = c.promised(agent, jnp.zeros((2, 1)), **settings)
    assert found.keys() == {"q"}
    assert found["q"] == pytest.approx((1 - GAMMA**30) / (1 - GAMMA), rel=1e-5)


def test_a_model_that_promises_more_is_told_from_the_critic():
    found = corridor(model=0.5)
    imagined = found["imagined_return"]
    inner = 0.5 * (1 + GAMMA + GAMMA**2)  # but in the last two steps
    assert found["q"].bias == pytest.approx(0.0, abs=1e-5)
    assert max(np.subtract(imagined.predicted, imagined.real)) == pytest.approx(inner)
    assert 0 < imagined.bias < inner
    assert found["lambda_return"].bias > 0
