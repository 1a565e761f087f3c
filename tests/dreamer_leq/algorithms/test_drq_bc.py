"""DrQ+BC by its formulas, at its limits, and its noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    assert_slope,
    gradient,
    is_zero,
    make_batch,
    make_learner,
    make_state,
    net,
    q_values,
)

STILL = {"drq_bc__noise": 0.0, "drq_bc__last_noise": 0.0}


@pytest.fixture(scope="module")
def exact():
    """A state and a batch in float64, with the gradients of a learner without noise."""
    with jax.enable_x64(True):
        learner = make_learner("drq_bc", jnp.float64, preset="td3_bc", **STILL)
        state = make_state(learner, np.float64, alpha=2.5)
        batch = make_batch(np.float64)
        slopes = {n: gradient(learner, state, batch, n) for n in ("critic", "actor")}
        without = state.replace(hyper={"alpha": jnp.zeros(())})
        slopes["cloning"] = gradient(learner, without, batch, "actor")
        return jax.device_get((state, batch, slopes))


def test_the_critics_learn_from_three_steps_and_the_policy_that_acts(exact):
    """y = R + γ³ cont min Q̄(s', π(s')), the policy without an average."""
    state, batch, slopes = exact
    after = batch["next_vector"]
    next_action = np.tanh(net(state.params["actor"], after))
    next_q = q_values(state.target["critic"], after, next_action).min(0)
    target = batch["reward"] + 0.99**3 * batch["cont"] * next_q

    def loss(params):
        q = q_values(params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    value, grads = slopes["critic"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"]) and set(state.target) == {"critic"}


def test_the_policy_learns_from_the_lesser_critic(exact):
    state, batch, slopes = exact
    seen, critic = batch["vector"], state.params["critic"]
    own = np.tanh(net(state.params["actor"], seen))
    scale = 2.5 / np.abs(q_values(critic, seen, own).min(0)).mean()

    def loss(params, scale=scale):
        action = np.tanh(net(params["actor"], seen))
        q = q_values(critic, seen, action).min(0)
        return ((action - batch["action"]) ** 2).mean() - scale * q.mean()

    value, grads = slopes["actor"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["critic"])
    value, grads = slopes["cloning"]  # α = 0 is behaviour cloning
    assert value == pytest.approx(loss(state.params, 0.0))
    assert_slope(grads, lambda params: loss(params, 0.0), state.params)


def test_noise_falls_is_cut_off_and_leaves_gradients_alone():
    """1 → 0.1 in 23 % of the updates; at most 0.3; at the bounds the slope is 1."""
    learner = make_learner("drq_bc", preset="td3_bc", drq_bc__updates=1000)
    found = [learner.std(step) for step in (0, 115, 230, 999)]
    np.testing.assert_allclose(found, [1, 0.55, 0.1, 0.1], rtol=1e-6)
    key, action = jax.random.key(1), jnp.linspace(-1, 1, 500)[:, None]
    moved, slope = jax.jvp(
        lambda a: learner.noisy(a, 0, key), (action,), (jnp.ones_like(action),)
    )
    assert np.abs(moved).max() <= 1 and (np.abs(moved) == 1).any()
    assert np.abs(moved - action).max() == pytest.approx(0.3, abs=1e-6)
    np.testing.assert_array_equal(slope, 1)
