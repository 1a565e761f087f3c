"""Fitted Q evaluation of a frozen policy, where its value is known.

A ring of 3 states: reward 1 after the first, minus the action squared. The policy never
acts, the data's act at random and get less.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from dreamer_leq import config as configs
from dreamer_leq.commands import estimate as offline_estimate
from dreamer_leq.data.entries import monte_carlo_returns, transition_starts
from dreamer_leq.data.sampling import Source, Transitions
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.system.errors import UserError

GAMMA, EPISODES, LENGTH = 0.8, 60, 31
SMALL = {"leq.gamma": GAMMA, "bc.critic": "none", "critic.output": "scalar"}
NETS = {"network": "mlp", "layers": 2, "units": 32}


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


@pytest.fixture(scope="module")
def config():
    sizes = {f"{net}.{k}": n for net in ("actor", "critic") for k, n in NETS.items()}
    return configs.from_presets("debug", **SMALL, **sizes)


@pytest.fixture(scope="module")
def data():
    """All episodes: arrays as training has them, in arrival order."""
    rng = np.random.default_rng(0)
    state = (rng.integers(3, size=(EPISODES, 1)) + np.arange(LENGTH)) % 3
    action = rng.uniform(-1, 1, (EPISODES, LENGTH, 1))
    reward = np.roll(state == 0, 1, axis=1) - action[..., 0] ** 2
    first = np.tile(np.arange(LENGTH) == 0, EPISODES)
    arrays = {
        "vector": np.eye(3, dtype=np.float32)[state.ravel()],
        "action": np.where(first[:, None], 0, action.reshape(-1, 1)).astype(np.float32),
        "reward": np.where(first, 0, reward.ravel()).astype(np.float32),
        "is_terminal": np.zeros(len(first), bool),
        "transition": transition_starts(first, np.zeros_like(first)),
    }
    arrays["return"] = monte_carlo_returns(
        arrays["reward"], first, arrays["is_terminal"], GAMMA
    )
    sampler = Transitions(len(arrays["transition"]), 128, ("vector",))
    arrays = {name: jnp.asarray(x) for name, x in arrays.items()}
    held = offline_estimate.held_out_episodes(EPISODES)
    source = Source(arrays, sampler, on_device=True)
    return offline_estimate.divide(Ring(), source, first, held)


@pytest.fixture(scope="module")
def nets(config):
    return ActorCritic(config.actor, config.critic, action_size=1)


@pytest.fixture(scope="module")
def params(nets):
    """The policy that never acts, and a critic that says 2 of everything."""
    zeros = jax.tree.map(jnp.zeros_like, nets.init(jax.random.key(0), 3))
    zeros["critic"]["trunk"]["out"]["bias"] += 2.0
    return zeros


@pytest.fixture(scope="module")
def estimate(data, nets, params, config, quick_compilation):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline_estimate, "RETURN_UPDATES", 200)
        patch.setattr(offline_estimate, "UPDATES", 1200)
        return offline_estimate.offline_estimate(data, nets, params, config)


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


def test_a_critic_is_held_against_the_rewards(data, estimate):
    """What it says at first, without what it says at the end and what came between."""
    steps = LENGTH - 1
    rewards = data.held_out["reward"].reshape(-1, steps)
    discounted = (rewards * GAMMA ** np.arange(steps)).sum(1).mean()
    bias = 2 * (1 - GAMMA**steps) - discounted
    assert estimate["calibration"]["bias"] == pytest.approx(bias, abs=1e-4)
    assert estimate["critic"] == 2


def test_one_episode_cannot_be_held_out():
    with pytest.raises(UserError, match="one episode"):
        offline_estimate.held_out_episodes(1)
