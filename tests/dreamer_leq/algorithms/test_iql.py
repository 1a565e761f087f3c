"""IQL by its formulas, and on a bandit whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
    same,
)

NAMES = ("value", "critic", "actor")


@pytest.fixture(scope="module")
def exact():
    """A state and a batch in float64, with the learner's gradients there."""
    with jax.enable_x64(True):
        learner = make_learner("iql", jnp.float64)
        state = make_state(learner, np.float64, tau=0.8, beta=20.0)
        batch = make_batch(np.float64)
        slopes = {name: gradient(learner, state, batch, name) for name in NAMES}
        return jax.device_get((state, batch, slopes))


def advantages(state, batch):
    slow = q_values(state.target["critic"], batch["vector"], batch["action"]).min(0)
    return slow, slow - net(state.params["value"], batch["vector"])[:, 0]


def check(exact, name, loss):
    """The loss is as given, by its own network alone."""
    state, _, slopes = exact
    value, grads = slopes[name]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert all(is_zero(grads[other]) for other in set(NAMES) - {name})


def test_the_value_is_an_expectile_of_the_slow_critics(exact):
    state, batch, _ = exact
    slow, advantage = advantages(state, batch)
    weight = np.where(advantage > 0, 0.8, 0.2)
    assert 0 < (advantage > 0).sum() < len(slow)

    def loss(params):
        v = net(params["value"], batch["vector"])[:, 0]
        return (weight * (slow - v) ** 2).mean()

    check(exact, "value", loss)


def test_the_critics_learn_from_the_next_value(exact):
    state, batch, _ = exact
    next_value = net(state.params["value"], batch["next_vector"])[:, 0]
    target = batch["reward"] + 0.99 * batch["cont"] * next_value

    def loss(params):
        q = q_values(params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    check(exact, "critic", loss)


def test_the_policy_clones_by_advantage(exact):
    """-min(exp(β A), 100) log N(a; tanh(net(s)), std), the std one for all states."""
    state, batch, _ = exact
    weight = np.minimum(np.exp(20 * advantages(state, batch)[1]), 100)
    assert 0 < (weight == 100).sum() < len(weight)

    def loss(params):
        actor = params["actor"]
        mean = np.tanh(net(actor["mean"], batch["vector"]))
        z = (batch["action"] - mean) / np.exp(actor["log_std"])
        log_prob = -0.5 * z**2 - actor["log_std"] - 0.5 * np.log(2 * np.pi)
        return -(weight * log_prob.sum(-1)).mean()

    check(exact, "actor", loss)


def test_no_temperature_is_behaviour_cloning():
    """β = 0: every action has the weight 1."""
    learner, batch = make_learner("iql"), make_batch()
    state = make_state(learner, tau=0.7, beta=0.0)
    _, grads = gradient(learner, state, batch, "actor")

    def cloning(actor, batch):
        given = actor, batch["vector"], batch["action"]
        return -learner.nets.policy.log_prob(*given).mean()

    expected = jax.jit(jax.grad(cloning))(state.params["actor"], batch)
    same(grads["actor"], expected, 1e-6)


def test_a_bandit_that_goes_on_for_ever():
    """Actions ±1 with reward 1 and 0, γ = 0.9: V is an expectile of Q = r + γ V."""
    learner = make_learner("iql", iql__gamma=0.9, critic__ema_decay=0.8)
    rates = optax.cosine_decay_schedule(2e-2, 3000)
    learner = learner.replace(optimizer=optax.adam(rates))
    action = jnp.float32([[1, 1], [-1, -1]])
    here = jnp.full((2, 3), 0.5)
    batch = {"vector": here, "next_vector": here, "action": action}
    batch |= {"reward": jnp.float32([1, 0]), "cont": jnp.ones(2)}

    def train(tau):
        hyper = {"tau": tau, "beta": jnp.float32(3.0)}
        state = learner.init(jax.random.key(0), hyper, {})
        body = lambda i, state: learner.update(state, batch, None)[0]  # noqa: E731
        params = jax.lax.fori_loop(0, 3000, body, state).params
        value = learner.nets.critics.one.mean(params["value"], here)[0]
        q = learner.value(params, here, action)
        return value, q, learner.policy(params, here)[0]

    value, q, policy = jax.jit(jax.vmap(train))(jnp.float32([0.7, 0.5]))
    np.testing.assert_allclose(value, [7, 5], atol=0.02)
    np.testing.assert_allclose(q[0], [7.3, 6.3], atol=0.02)
    np.testing.assert_allclose(policy[0], 0.9051, atol=0.005)
