"""EDAC by its formulas, at its limits and for gradients that are known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    A,
    D,
    assert_slope,
    gradient,
    is_zero,
    make_batch,
    make_learner,
    make_state,
    q_values,
    same,
)

from dreamer_leq.algorithms import sac

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def exact():
    """A state and a batch in float64, the target's action, and the gradient."""
    with jax.enable_x64(True):
        learner = make_learner("edac", jnp.float64)
        state = make_state(learner, np.float64, eta=0.7)
        batch = make_batch(np.float64)
        sample = jax.jit(learner.nets.policy.sample)
        drawn = sample(state.params["actor"], batch["next_vector"], sac.split(KEY)[0])
        slope = gradient(learner, state, batch, "critic", KEY)
        return jax.device_get((state, batch, drawn, slope))


def test_critics_learn_soft_values_and_to_differ(exact):
    """The second-order path: gradients by the action are taken by differences."""
    state, batch, (after, log_prob), (value, grads) = exact
    alpha = np.exp(state.params["temperature"]["log"])
    next_q = q_values(state.target["critic"], batch["next_vector"], after).min(0)
    soft = next_q - alpha * log_prob
    target = batch["reward"] + 0.99 * batch["cont"] * soft
    seen, action, h = batch["vector"], batch["action"], 1e-4

    def similarity(critic):
        each = [
            (
                q_values(critic, seen, action + h * way)
                - q_values(critic, seen, action - h * way)
            )
            / (2 * h)
            for way in np.eye(A)
        ]
        g = np.stack(each, -1)
        g = g / np.linalg.norm(g, axis=-1, keepdims=True)
        inner = np.einsum("ina,jna->ijn", g, g)
        return (inner.sum((0, 1)) - np.einsum("iin->n", inner)).mean() / (len(g) - 1)

    def loss(params):
        q = q_values(params["critic"], seen, action)
        fit = ((q - target) ** 2).mean(-1).sum()
        return fit + 0.7 * similarity(params["critic"])

    assert value == pytest.approx(loss(state.params), rel=1e-5)
    assert_slope(grads, loss, state.params, rtol=1e-4)
    assert is_zero(grads["actor"]) and is_zero(grads["temperature"])


def linear(ways):
    """EDAC's learner with critics Q_i = <way_i, a>."""
    one = SimpleNamespace(mean=lambda way, features, action: action @ way)
    nets = SimpleNamespace(critics=SimpleNamespace(one=one))
    learner = make_learner("edac").replace(nets=nets)
    ways, n = jnp.float32(ways), 4
    return float(learner.similarity(ways, jnp.zeros((n, D)), jnp.zeros((n, A))))


def test_similarities_that_are_known():
    """N where all gradients are the same, 0 where they are orthogonal."""
    assert linear([[3, 4]] * 5) == pytest.approx(5, rel=1e-5)
    assert linear([[2, 0], [0, 0.1]]) == pytest.approx(0, abs=1e-6)
    assert linear([[1, 1], [-3, -3]]) == pytest.approx(-2, rel=1e-5)
    assert linear([[0, 0], [0, 0]]) == 0


def test_without_diversity_it_is_sac():
    """η = 0 and two critics: both learn the smaller soft value alone."""
    learner, batch = make_learner("edac", edac__critics=2), make_batch()
    state = make_state(learner, eta=0.0)
    _, grads = gradient(learner, state, batch, "critic", KEY)

    def plain(params, state, batch):
        after, key = batch["next_vector"], sac.split(KEY)[0]
        next_q, log_prob = learner.next_value(state, after, key)
        soft = next_q - jnp.exp(state.params["temperature"]["log"]) * log_prob
        target = batch["reward"] + 0.99 * batch["cont"] * soft
        given = params["critic"], batch["vector"], batch["action"]
        return jnp.square(learner.nets.critics.q(*given) - target).mean(-1).sum()

    expected = jax.jit(jax.grad(plain))(state.params, state, batch)
    same(grads, jax.device_get(expected), 1e-5)
