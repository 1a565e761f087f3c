"""CBOP's posterior where it is known, its returns by hand, and without imagination."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from learners import (
    D,
    gradient,
    make_batch,
    make_learner,
    make_state,
    q_values,
)

from dreamer_leq.algorithms import sac
from dreamer_leq.algorithms.cbop import posterior

KEY = jax.random.key(5)


def test_posteriors_that_are_known():
    """Of horizons with two returns each, by their means and variances, row by row."""
    mean = np.array([[10, 12], [1, 5], [2, np.inf], [5, 5]])
    variance = np.array([[1, 4], [2, 2], [1, 1], [0, 0]])
    apart = np.sqrt(variance / 2)
    returns = np.stack([mean - apart, mean + apart], 1)[:, :, None].T  # [2, 1, 2, rows]
    valid = np.array([[1, 1], [1, 1], [1, 0], [1, 1]], bool).T
    found, std = jax.jit(posterior)(np.swapaxes(returns, 1, 2), valid)
    np.testing.assert_allclose(found, [10.4, 3, 2, 5], rtol=1e-5)
    np.testing.assert_allclose(std**2, [0.8, 1, 1, 1e-5 / 2], rtol=1e-4)
    assert found[0] - 3 * std[0] == pytest.approx(7.717, abs=1e-3)


@struct.dataclass
class Counting:
    """Member k adds k to a state's first number; the reward is what it becomes. An
    episode ends where it reaches the second.
    """

    members: int = struct.field(pytree_node=False, default=2)
    feature_size = D

    def starts(self, batch):
        return batch["vector"]

    def successors(self, batch):
        return batch["next_vector"]

    def features(self, state):
        return state

    def action_features(self, action):
        return action

    def noise(self, key, n):
        return jnp.zeros(n)

    def member_step(self, state, action, noise, member):
        after = state.at[:, 0].add(member)
        return after, after[:, 0], jnp.float32(after[:, 0] < state[:, 1])


@pytest.fixture(scope="module")
def rolled():
    learner = make_learner("cbop", cbop__horizon=2).replace(world=Counting())
    state = make_state(learner, psi=2.0, eta=0.0)
    start = jnp.array([[3.0, 99, 0], [3, 4, 0], [3, 5, 0]])
    return learner, state, start, jax.jit(learner.returns)(state, start, KEY)


def test_returns_are_rewards_and_a_value_behind_them(rolled):
    """Critics that only see the state's first number are 0 where it is known."""
    learner, state, start, _ = rolled
    nothing = jax.tree.map(jnp.zeros_like, state.target["critic"])
    state = state.replace(target={"critic": nothing})
    returns, valid, _ = jax.jit(learner.returns)(state, start, KEY)
    g = learner.gamma
    assert returns.shape == (3, 3, 2, 3)  # horizons, critics, members, rows
    np.testing.assert_allclose(returns[0], 0)
    expected = np.array([[3, 3 + 3 * g], [4, 4 + 5 * g]])  # members, h = 1 and 2
    for row in range(3):
        for critic in range(3):
            np.testing.assert_allclose(returns[1:, critic, :, row].T, expected, 1e-6)
    np.testing.assert_array_equal(valid, [[1, 1, 1], [1, 0, 1], [1, 0, 0]])


def test_values_are_those_of_the_members_own_states(rolled):
    """At h = 0 all members say the same, and later their own."""
    learner, state, start, (returns, _, _) = rolled
    first_key = jax.random.split(KEY)[0]
    sample = jax.jit(learner.nets.policy.sample)
    action, _ = sample(state.params["actor"], start, first_key)
    expected = q_values(jax.device_get(state.target["critic"]), start, action)
    for member in range(2):
        np.testing.assert_allclose(returns[0][:, member], expected, 1e-4)
    assert np.abs(np.diff(returns[1:], axis=2)).min() > 1e-3


def test_without_imagination_it_is_sac_n_with_a_lower_bound():
    """H = 0: mean less ψ deviations of the critics, of one member."""
    learner = make_learner("cbop", cbop__horizon=0).replace(world=Counting(members=1))
    state, batch = make_state(learner, psi=2.0, eta=0.0), make_batch()
    value, _ = gradient(learner, state, batch, "critic", KEY)
    target_key = sac.split(KEY)[0]
    given = state.params["actor"], batch["next_vector"], jax.random.split(target_key)[0]
    after, log_prob = map(np.asarray, jax.jit(learner.nets.policy.sample)(*given))
    slow, params = jax.device_get((state.target["critic"], state.params))
    batch = jax.device_get(batch)
    q = q_values(slow, batch["next_vector"], after)
    alpha = np.exp(params["temperature"]["log"])
    bound = q.mean(0) - 2 * q.std(0, ddof=1) - alpha * log_prob
    target = batch["reward"] + 0.99 * batch["cont"] * bound
    error = q_values(params["critic"], batch["vector"], batch["action"]) - target
    assert value == pytest.approx((error**2).mean(-1).sum(), rel=1e-4)
