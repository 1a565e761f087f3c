"""Regression with the expectile weight lands on expectiles computed with SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, optimize, stats

from dreamer_leq.algorithms.losses import expectile_weight
from dreamer_leq.nn.distributions import (
    symexp_bins,
    two_hot,
    two_hot_loss,
    two_hot_mean,
)

TAUS = [0.1, 0.5, 0.8]
# Each is an equal mixture of its parts.
DISTRIBUTIONS = {
    "exponential": [stats.expon(scale=3.0)],
    "lognormal": [stats.lognorm(0.7)],
    "two humps": [stats.norm(-3.0, 0.5), stats.norm(2.0, 1.0)],
}


def draw(name, size, rng):
    parts = [part.rvs(size, random_state=rng) for part in DISTRIBUTIONS[name]]
    return np.choose(rng.integers(len(parts), size=size), parts)


def true_expectile(name, tau):
    """Root of τ E[(X - m)+] = (1 - τ) E[(m - X)+]; the means by integrating the cdf."""
    parts = DISTRIBUTIONS[name]
    low = min(part.ppf(1e-9) for part in parts)
    high = max(part.ppf(1 - 1e-9) for part in parts)
    grid = np.linspace(low, high, 200_001)
    cdf = np.mean([part.cdf(grid) for part in parts], 0)

    def imbalance(m):
        above = integrate.trapezoid(np.where(grid >= m, 1 - cdf, 0), grid)
        below = integrate.trapezoid(np.where(grid < m, cdf, 0), grid)
        return tau * above - (1 - tau) * below

    return optimize.brentq(imbalance, low, high, xtol=1e-6)


# --- the weight -----------------------------------------------------------------------


def test_weight_is_tau_above_the_prediction_and_one_minus_tau_below():
    target = jnp.asarray([2.0, -1.0, 0.0, 5.0])
    prediction = jnp.asarray([1.0, 1.0, 0.0, 4.999])
    weight = expectile_weight(target, prediction, 0.1)
    np.testing.assert_allclose(weight, [0.1, 0.9, 0.9, 0.1], rtol=1e-6)


# --- squared error --------------------------------------------------------------------


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_reweighted_mean_of_a_sample_is_its_expectile(name, tau):
    """Iterate m <- Σ w x / Σ w on one sample; SciPy solves that sample directly."""
    sample = draw(name, 2000, np.random.default_rng(1)).astype(np.float32)
    m = np.float32(0.0)
    for _ in range(60):
        weight = np.asarray(expectile_weight(sample, jnp.full(2000, m), tau))
        m = np.float32(np.average(sample.astype(np.float64), weights=weight))
    expected = stats.expectile(sample.astype(np.float64), tau)
    np.testing.assert_allclose(m, expected, rtol=1e-4, atol=1e-4)


@jax.jit
def stochastic_regression(batches, taus):
    """Descend ½ E[w (x - m)²] on fresh batches [N, B]; average the last half."""

    def loss(m, batch):
        target = jnp.broadcast_to(batch[:, None], (batch.shape[0], m.shape[0]))
        prediction = jnp.broadcast_to(m, target.shape)
        weight = expectile_weight(target, prediction, taus)
        return jnp.sum(jnp.mean(0.5 * weight * (target - prediction) ** 2, 0))

    def step(m, batch):
        m = m - 0.2 * jax.grad(loss)(m, batch)
        return m, m

    _, path = jax.lax.scan(step, jnp.zeros_like(taus), batches)
    return path[path.shape[0] // 2 :].mean(0)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_stochastic_regression_reaches_the_expectile_of_the_distribution(name):
    rng = np.random.default_rng(2)
    batches = draw(name, (2000, 256), rng).astype(np.float32)
    found = stochastic_regression(batches, jnp.asarray(TAUS, jnp.float32))
    expected = [true_expectile(name, tau) for tau in TAUS]
    mean = np.mean([part.mean() for part in DISTRIBUTIONS[name]])
    assert expected[1] == pytest.approx(mean, abs=0.01)
    np.testing.assert_allclose(found, expected, atol=0.015 * batches.std())
    assert np.all(np.diff(found) > 0.05 * batches.std())


def test_coin_with_two_outcomes_by_hand():
    """0 or 10 with chance 0.3 of 10: m = 10 · 0.3 τ / (0.3 τ + 0.7 (1 - τ))."""
    batches = 10.0 * (np.random.default_rng(4).random((2000, 256)) < 0.3)
    taus = np.float32(TAUS)
    found = stochastic_regression(jnp.float32(batches), jnp.asarray(taus))
    expected = 10 * 0.3 * taus / (0.3 * taus + 0.7 * (1 - taus))
    np.testing.assert_allclose(found, expected, atol=0.06)


# --- two-hot cross-entropy ------------------------------------------------------------


@jax.jit
def weighted_loss(logits, sample, tau):
    """Expectile-weighted cross-entropy of one head [n] on a sample [N]."""
    bins = symexp_bins()
    rows = jnp.broadcast_to(logits, (sample.shape[0], *logits.shape))
    prediction = jax.lax.stop_gradient(two_hot_mean(rows, bins))
    weight = expectile_weight(sample, prediction, tau)
    return jnp.mean(weight * two_hot_loss(rows, sample, bins))


def targets(name, size, seed):
    """Returns of the size that tasks have: tens to hundreds, across many bins."""
    sample = draw(name, size, np.random.default_rng(seed))
    return (60 * sample + 100).astype(np.float32)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", ["exponential", "two humps"])
def test_stationary_head_of_the_weighted_cross_entropy_means_the_expectile(name, tau):
    """The weighted average of two-hot targets at the expectile has no gradient left."""
    sample = targets(name, 1000, 5)
    expectile = stats.expectile(sample.astype(np.float64), tau)
    weight = np.where(sample > expectile, tau, 1 - tau)
    rows = np.asarray(jax.jit(two_hot)(sample, symexp_bins()), np.float64)
    head = jnp.log(jnp.float32(np.average(rows, axis=0, weights=weight)) + 1e-20)
    np.testing.assert_allclose(two_hot_mean(head, symexp_bins()), expectile, rtol=1e-3)
    gradient = jax.grad(weighted_loss)(head, jnp.asarray(sample), tau)
    np.testing.assert_allclose(gradient, np.zeros(255), atol=1e-4)
    # The same head under the opposite weight is far from stationary.
    if tau != 0.5:
        opposite = jax.grad(weighted_loss)(head, jnp.asarray(sample), 1 - tau)
        assert np.abs(opposite).max() > 1e-2


def test_training_heads_from_zero_with_the_weighted_cross_entropy():
    """One head per τ, all on the same sample, by gradient descent."""
    sample, taus = targets("two humps", 200, 6), jnp.asarray(TAUS, jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 1000))
    gradient_of = jax.vmap(jax.grad(weighted_loss), (0, None, 0))

    def step(carry, _):
        heads, state = carry
        gradient = gradient_of(heads, jnp.asarray(sample), taus)
        update, state = optimizer.update(gradient, state)
        return (heads + update, state), None

    heads = jnp.zeros((len(TAUS), 255))
    carry = (heads, optimizer.init(heads))
    (heads, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, length=1000))(carry)
    expected = [stats.expectile(sample.astype(np.float64), tau) for tau in TAUS]
    found = two_hot_mean(heads, symexp_bins())
    np.testing.assert_allclose(found, expected, atol=0.02 * sample.std())
