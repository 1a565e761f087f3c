"""Fitted Q evaluation of a frozen policy, where its value is known.

A ring of 3 states: reward 1 after the first, minus the action squared. The policy never
acts, the data's act at random and get less.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from dreamer_leq import config as configs
from dreamer_leq.data.entries import monte_carlo_returns, transition_starts
from dreamer_leq.data.sampling import Source, Transitions
from dreamer_leq.evaluation import offline
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.system.errors import UserError

GAMMA, LONG = 0.8, 0.997  # discounts
EPISODES, LENGTH = 60, 31


@struct.dataclass
class Ring:
    """What FQE reads of a world model."""

    feature_size = 3

    def features(self, state):
        return state

    def action_features(self, action):
        return action

    def starts(self, batch):
        return batch["vector"]

    def successors(self, batch):
        return batch["next_vector"]


def ring(episodes, length):
    """Steps around 3 states with reward 1 after the first, minus the action squared;
    actions are random: state, action, reward [E, T].
    """
    rng = np.random.default_rng(0)
    state = (rng.integers(3, size=(episodes, 1)) + np.arange(length)) % 3
    action = rng.uniform(-1, 1, (episodes, length))
    return state, action, (state == 0) - action**2


@pytest.fixture(scope="module")
def data():
    state, action, reward = ring(EPISODES, LENGTH)
    return split(state, action, reward, GAMMA)


def split(state, action, reward, gamma):
    """All episodes [E, T], steps after one another, by fitted and held-out ones. Arrays
    are in arrival order, as training has them.
    """
    first = np.tile(np.arange(LENGTH) == 0, EPISODES)
    late = lambda x: np.where(first, 0, np.roll(x.ravel(), 1)).astype(np.float32)  # noqa: E731
    arrays = {
        "vector": np.eye(3, dtype=np.float32)[state.ravel()],
        "action": late(action)[:, None],
        "reward": late(reward),
        "is_terminal": np.zeros(len(first), bool),
        "transition": transition_starts(first, np.zeros_like(first)),
    }
    ends = first, arrays["is_terminal"]
    arrays["return"] = monte_carlo_returns(arrays["reward"], *ends, gamma)
    sampler = Transitions(len(arrays["transition"]), 128, ("vector",))
    arrays = {name: jnp.asarray(x) for name, x in arrays.items()}
    held = offline.held_out_episodes(EPISODES)
    source = Source(arrays, sampler, on_device=True)
    return offline.divide(source, first, held)


@pytest.fixture(scope="module")
def make_nets():
    def make(units):
        sizes = {"network": "mlp", "layers": 2, "units": units}
        keys = {
            f"{net}.{k}": n for net in ("actor", "critic") for k, n in sizes.items()
        }
        config = configs.from_presets("debug", **{"critic.output": "scalar"}, **keys)
        return ActorCritic(config.actor, config.critic, action_size=1)

    return make


@pytest.fixture(scope="module")
def nets(make_nets):
    return make_nets(32)


@struct.dataclass
class Idle:
    """The policy that never acts, and a critic that says 2 of everything."""

    world_model: Ring

    def policy(self, features, key):
        return jnp.zeros((len(features), 1))

    def value(self, features, action):
        return jnp.where(jnp.isnan(features[:, 0]), jnp.nan, 2.0)


IDLE = Idle(Ring())


@pytest.fixture(scope="module")
def estimate(data, nets):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "RETURN_UPDATES", 200)
        patch.setattr(offline, "UPDATES", 1200)
        return offline.offline_estimate(data, IDLE, nets, GAMMA)


def true_values():
    return GAMMA ** np.array([0, 2, 1]) / (1 - GAMMA**3)


def test_held_out_episodes_are_no_part_of_the_fit(data):
    rows = np.asarray(data.fit.arrays["transition"])
    fitted = set(rows // LENGTH)
    assert len(fitted) == EPISODES * 0.8 and data.first.sum() == EPISODES * 0.2
    assert data.fit.sampler.transitions == len(rows) == 48 * (LENGTH - 1)
    held = set(range(EPISODES)) - fitted
    starts = np.asarray(data.fit.arrays["vector"])[[e * LENGTH for e in sorted(held)]]
    np.testing.assert_array_equal(data.held_out["vector"][data.first], starts)


def test_the_policy_gets_its_own_value_and_not_that_of_the_data(data, estimate):
    true = (data.held_out["vector"][data.first] @ true_values()).mean()
    assert estimate["fqe"]["value"] == pytest.approx(true, abs=0.08)
    assert estimate["fqe"]["low"] <= estimate["fqe"]["value"] <= estimate["fqe"]["high"]
    # by acting the data's policies lose a third at each step
    lost = 1 / 3 / (1 - GAMMA)
    assert estimate["data_return"] == pytest.approx(true - lost, abs=0.3)
    assert estimate["episodes"] == 12


def test_the_fit_agrees_with_the_rewards(estimate):
    assert abs(estimate["fqe"]["residual"]) < 0.08
    assert estimate["fqe"]["converged"] and abs(estimate["fqe"]["drift"]) < 0.08


def test_what_was_received_is_told_from_what_is_assumed(data, estimate):
    steps = LENGTH - 1
    rewards = data.held_out["reward"].reshape(-1, steps)
    received = (rewards * GAMMA ** np.arange(steps)).sum(1).mean()
    assumed = GAMMA**steps * rewards.mean() / (1 - GAMMA)
    assert estimate["data_received"] == pytest.approx(received, abs=1e-5)
    whole = estimate["data_received"] + assumed
    assert estimate["data_return"] == pytest.approx(whole, abs=1e-5)


# --- a long horizon: 0.8 a step for a policy that never acts, 0.075 for the data's


@pytest.fixture(scope="module")
def long():
    state, action, _ = ring(EPISODES, LENGTH)
    return split(state, action, 0.8 - 2.175 * action**2, LONG)


def test_values_ten_times_those_of_the_data_are_reached(long, make_nets):
    nets = make_nets(64)
    found = offline.offline_estimate(long, IDLE, nets, LONG)
    true = 0.8 / (1 - LONG)
    assert found["data_return"] < 50 and 266 < true < 267
    assert found["fqe"]["value"] == pytest.approx(true, rel=0.01)
    assert found["fqe"]["converged"] and found["fqe"]["low"] <= found["fqe"]["high"]


def test_a_fit_that_is_cut_short_has_no_interval(long, nets, monkeypatch):
    monkeypatch.setattr(offline, "RETURN_UPDATES", 200)
    monkeypatch.setattr(offline, "UPDATES", 600)
    fqe = offline.offline_estimate(long, IDLE, nets, LONG)["fqe"]
    assert not fqe["converged"] and fqe["low"] is fqe["high"] is None
    assert fqe["value"] < 200 and fqe["drift"] > 20


def test_a_fit_that_hardly_moves_has_no_interval(long, nets, monkeypatch):
    """From one update to the next it stays where it is: its errors tell."""
    monkeypatch.setattr(offline, "LEARNING_RATE", 1e-7)
    monkeypatch.setattr(offline, "RETURN_UPDATES", 3)
    monkeypatch.setattr(offline, "UPDATES", 90)
    offline._optimizer.cache_clear()
    fqe = offline.offline_estimate(long, IDLE, nets, LONG)["fqe"]
    offline._optimizer.cache_clear()
    assert not fqe["converged"] and fqe["drift"] > 20


def test_a_critic_is_held_against_the_rewards(data, estimate):
    """What it says at first, without what it says at the end and what came between."""
    steps = LENGTH - 1
    rewards = data.held_out["reward"].reshape(-1, steps)
    discounted = (rewards * GAMMA ** np.arange(steps)).sum(1).mean()
    bias = 2 * (1 - GAMMA**steps) - discounted
    assert estimate["calibration"]["bias"] == pytest.approx(bias, abs=1e-4)
    assert estimate["critic"] == 2


def test_what_comes_after_an_end_is_inert():
    batch = {
        "vector": jnp.eye(3)[:2],
        "next_vector": jnp.array([[jnp.nan] * 3, [0.0, 1.0, 0.0]]),
        "action": jnp.zeros((2, 1)),
        "reward": jnp.array([5.0, 5.0]),
        "cont": jnp.array([0.0, 1.0]),
    }
    found = offline.critic_values(IDLE, batch, GAMMA)
    np.testing.assert_allclose(found.td_error, [5 - 2, 5 + GAMMA * 2 - 2], rtol=1e-6)


def test_one_episode_cannot_be_held_out():
    with pytest.raises(UserError, match="one episode"):
        offline.held_out_episodes(1)


# --- a critic against the rewards of episodes in which others acted


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
    excess = offline.excess_values(
        td_errors(*steps).ravel(), np.ones(1000), firsts(50, 20), GAMMA
    )
    assert excess == pytest.approx(np.zeros(50), abs=1e-12)


def test_values_that_are_too_high_by_a_constant():
    """What an episode is cut off from counts as they have it: the rest is found."""
    error, length = 2.0, 20
    steps = ring(50, length)
    td_error = td_errors(*steps, error).ravel()
    excess = offline.excess_values(td_error, np.ones(1000), firsts(50, length), GAMMA)
    assert excess == pytest.approx(np.full(50, error * (1 - GAMMA**length)))


def test_nothing_counts_after_termination():
    """AntMaze's trajectories go on after their goal."""
    first = np.array([True, False, False, True, False])
    cont = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    excess = offline.excess_values(np.ones(5), cont, first, GAMMA)
    assert excess == pytest.approx([-(1 + GAMMA), -(1 + GAMMA)])
