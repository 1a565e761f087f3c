"""λ-returns against the explicit sum of n-step returns, term by term in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.algorithms.returns import lambda_return, lambda_weights

GAMMA = 1 - 1 / 333


def n_step_return(t, n, reward, cont, q, gamma):
    """G_t^(n): n rewards after step t, then the critic, each while still alive."""
    total, alive = 0.0, 1.0
    for i in range(n):
        total += gamma**i * alive * reward[t + i]
        alive = alive * cont[t + i]
    return total + gamma**n * alive * q[t + n]


def explicit_lambda_return(reward, cont, q, gamma, lam):
    """Sum of λ^n G_t^(n) over n = 0 … H - t, divided by the sum of the λ^n; with an
    infinite λ the longest alone.
    """
    horizon = len(reward)
    result = np.zeros(q.shape)
    for t in range(horizon + 1):
        steps = range(horizon - t + 1)
        if math.isinf(lam):
            steps = steps[-1:]
        returns = [n_step_return(t, n, reward, cont, q, gamma) for n in steps]
        weights = [1.0 if math.isinf(lam) else float(lam) ** n for n in steps]
        weighted = [w * g for w, g in zip(weights, returns, strict=True)]
        result[t] = sum(weighted) / sum(weights)
    return result


def rollout(seed, horizon, *batch, termination="soft"):
    """Random reward [H, …], cont [H, …], q [H+1, …], float64 of float32 numbers."""
    rng = np.random.default_rng(seed)
    reward, q = (
        rng.normal(size=(horizon, *batch)),
        rng.normal(size=(horizon + 1, *batch)),
    )
    cont = {
        "none": np.ones((horizon, *batch)),
        "binary": (rng.random((horizon, *batch)) < 0.7).astype(float),
        "soft": rng.random((horizon, *batch)),
    }[termination]
    return tuple(np.float64(np.float32(x)) for x in (reward, cont, 10 * q))


def returns(reward, cont, q, gamma, lam):
    """The function under test, on float32 arrays."""
    arrays = (jnp.asarray(x, jnp.float32) for x in (reward, cont, q))
    return np.asarray(lambda_return(*arrays, gamma, lam))


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0, math.inf])
@pytest.mark.parametrize(
    ("horizon", "termination"), [(1, "soft"), (5, "binary"), (5, "soft"), (15, "none")]
)
def test_equals_the_explicit_sum_of_n_step_returns(horizon, lam, termination):
    data = rollout(horizon, horizon, 2, 3, termination=termination)
    y = returns(*data, 0.9, lam)
    assert y.shape == (horizon + 1, 2, 3) and y.dtype == np.float32
    expected = explicit_lambda_return(*data, 0.9, lam)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_horizon_of_two_by_hand():
    y = returns([1.0, 2.0], [1.0, 0.5], [4.0, 8.0, 16.0], 0.5, 0.5)
    g0, g1, g2 = 4.0, 1 + 0.5 * 8, 1 + 0.5 * 2 + 0.25 * 0.5 * 16
    first = (g0 + 0.5 * g1 + 0.25 * g2) / 1.75
    second = (8.0 + 0.5 * (2 + 0.5 * 0.5 * 16)) / 1.5
    np.testing.assert_allclose(y, [first, second, 16.0], rtol=1e-6)


def test_weights_of_the_paper_at_horizon_five():
    """With γ = 1 and no rewards, dy_0/dq_n is the weight of the n-step return."""
    zeros, ones, q = jnp.zeros(5), jnp.ones(5), jnp.zeros(6)
    weights = jax.grad(lambda q: lambda_return(zeros, ones, q, 1.0, 0.95)[0])(q)
    expected = [0.1887, 0.1793, 0.1703, 0.1618, 0.1537, 0.1460]
    np.testing.assert_allclose(weights, expected, atol=5e-5)
    np.testing.assert_allclose(np.dot(weights, np.arange(6)), 2.35, atol=5e-3)


def test_constant_reward_and_its_value_are_a_fixed_point():
    """Discounting twice would give 330.01, 329.31, … here instead of 333."""
    shape = (5, 3)
    y = returns(np.ones(shape), np.ones(shape), np.full((6, 3), 333.0), GAMMA, 0.95)
    np.testing.assert_allclose(y, 333.0, rtol=1e-5)


@pytest.mark.parametrize("end", [1, 5])
def test_termination_removes_everything_later(end):
    """cont_end = 0: steps before it keep r_end and see nothing of s_end or later."""
    reward, cont, q = rollout(5, 5, 4)
    cont[end - 1] = 0.0
    later = rollout(6, 5, 4)
    for x, other in zip((reward, cont, q), later, strict=True):
        other[:end] = x[:end]
    y, changed = (returns(*data, 0.9, 0.95) for data in ((reward, cont, q), later))
    np.testing.assert_array_equal(changed[:end], y[:end])
    assert np.all(changed[end:] != y[end:])
    reward[end - 1] += 1.0
    assert np.all(returns(reward, cont, q, 0.9, 0.95)[:end] > y[:end])


def test_gradients_equal_the_exact_coefficients_of_the_explicit_sum():
    """The return is affine in reward and q: unit vectors give its exact Jacobian."""
    horizon, gamma, lam = 5, 0.9, 0.8
    reward, cont, q = rollout(7, horizon)
    jacobians = jax.jacobian(lambda r, c, q: lambda_return(r, c, q, gamma, lam), (0, 2))
    to_reward, to_q = jacobians(*(jnp.float32(x) for x in (reward, cont, q)))
    zero_reward, zero_q = np.zeros(horizon), np.zeros(horizon + 1)
    for i, unit in enumerate(np.eye(horizon)):
        column = explicit_lambda_return(unit, cont, zero_q, gamma, lam)
        np.testing.assert_allclose(to_reward[:, i], column, rtol=1e-5, atol=1e-7)
    for i, unit in enumerate(np.eye(horizon + 1)):
        column = explicit_lambda_return(zero_reward, cont, unit, gamma, lam)
        np.testing.assert_allclose(to_q[:, i], column, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_nested_weight_is_what_the_zero_step_return_leaves(lam):
    """1 - e_t is the weight of G_t^(0) = q_t in the explicit sum."""
    e = np.asarray(lambda_weights(5, lam))
    shares = [1 / sum(float(lam) ** n for n in range(6 - t)) for t in range(5)]
    np.testing.assert_allclose(e, 1 - np.array(shares), rtol=1e-6, atol=1e-7)
