"""The distributions against float64 arithmetic, enumeration and finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from dreamer_leq.nn.distributions import (
    categorical_kl,
    straight_through,
    symexp,
    symexp_bins,
    symlog,
    tanh_normal_log_prob,
    two_hot,
    two_hot_loss,
    two_hot_mean,
    unimix_log_probs,
)

BINS = 255
MIDDLE = 127


def numeric_gradient(function, x, step=1e-6):
    """Central differences of a scalar float64 function, one coordinate at a time."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def normal(seed, *shape, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


# --- symlog, symexp -------------------------------------------------------------------


def test_symlog_and_symexp_known_values():
    e = np.e
    x = np.array([-(e**3 - 1), 1 - e, 0.0, e - 1, e**3 - 1], np.float32)
    y = np.array([-3.0, -1.0, 0.0, 1.0, 3.0], np.float32)
    np.testing.assert_allclose(symlog(x), y, rtol=1e-6)
    np.testing.assert_allclose(symexp(y), x, rtol=1e-6)
    assert float(symlog(0.0)) == 0.0
    assert float(symexp(0.0)) == 0.0


def test_symlog_and_symexp_are_odd_and_inverse():
    x = np.concatenate([[1e-4, 0.02, 0.5], np.geomspace(1, 1e8, 20)]).astype(np.float32)
    np.testing.assert_array_equal(symlog(-x), -np.asarray(symlog(x)))
    np.testing.assert_array_equal(symexp(-symlog(x)), -np.asarray(symexp(symlog(x))))
    np.testing.assert_allclose(symexp(symlog(x)), x, rtol=2e-4)


@pytest.mark.parametrize("x", [-30.0, -1.0, 0.3, 30.0])
def test_symlog_and_symexp_slopes(x):
    np.testing.assert_allclose(jax.grad(symlog)(x), 1 / (1 + abs(x)), rtol=1e-5)
    small = x / 10
    np.testing.assert_allclose(jax.grad(symexp)(small), np.exp(abs(small)), rtol=1e-5)


def test_symlog_of_nan_is_nan():
    np.testing.assert_array_equal(symlog(jnp.array([jnp.nan, 0.0])), [np.nan, 0.0])


# --- two-hot: bins --------------------------------------------------------------------


def test_bins_are_symmetric_increasing_and_hold_an_exact_zero():
    bins = np.asarray(symexp_bins())
    assert bins.shape == (BINS,) and bins.dtype == np.float32
    assert np.all(np.diff(bins) > 0)
    np.testing.assert_array_equal(bins, -bins[::-1])
    assert bins[MIDDLE] == 0.0


def test_bins_are_the_symexp_of_an_even_grid():
    bins = np.asarray(symexp_bins())
    for i in range(BINS):
        u = -20.0 + 40.0 * i / (BINS - 1)
        expected = np.sign(u) * (np.exp(abs(u)) - 1)
        np.testing.assert_allclose(bins[i], expected, rtol=1e-5)
    np.testing.assert_allclose(bins[-1], 4.851652e8, rtol=1e-5)
    np.testing.assert_allclose(
        bins[MIDDLE + 1 : MIDDLE + 4], [0.170558, 0.370205, 0.603905], atol=2e-6
    )
    near_300 = bins[(bins > 200) & (bins < 400)]
    np.testing.assert_allclose(near_300, [210.5, 246.6, 288.8, 338.3, 396.1], atol=0.06)


def test_another_odd_number_of_bins():
    bins = np.asarray(symexp_bins(5))
    assert bins.shape == (5,)
    inner, outer = np.expm1(10.0), np.expm1(20.0)
    np.testing.assert_allclose(bins, [-outer, -inner, 0, inner, outer], rtol=1e-5)


# --- two-hot: weights -----------------------------------------------------------------


def values():
    """Numbers over the useful range, both signs, none of them on a bin."""
    magnitude = np.concatenate([[1e-3, 0.05, 0.2], np.geomspace(0.7, 1e4, 60)])
    return np.concatenate([-magnitude, magnitude]).astype(np.float32)


def test_weights_are_convex_on_two_neighbours_and_mean_the_value():
    bins, x = symexp_bins(), values()
    weights = np.asarray(jax.jit(two_hot)(x, bins), np.float64)
    assert weights.shape == (len(x), BINS)
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    for row in weights:
        used = np.flatnonzero(row)
        assert len(used) <= 2
        assert used[-1] - used[0] <= 1
    means = weights @ np.asarray(bins, np.float64)
    np.testing.assert_allclose(means, x, rtol=1e-5)


def test_weights_favour_the_nearer_bin():
    bins = np.asarray([-4.0, 0.0, 4.0, 8.0], np.float32)
    np.testing.assert_allclose(two_hot(jnp.float32(1.0), bins), [0, 0.75, 0.25, 0])
    np.testing.assert_allclose(two_hot(jnp.float32(7.0), bins), [0, 0, 0.25, 0.75])
    np.testing.assert_allclose(two_hot(jnp.float32(-2.0), bins), [0.5, 0.5, 0, 0])


def test_a_value_on_a_bin_takes_that_bin_alone():
    bins = symexp_bins()
    np.testing.assert_array_equal(two_hot(bins, bins), np.eye(BINS))
    np.testing.assert_array_equal(jax.jit(two_hot)(bins, bins), np.eye(BINS))


@pytest.mark.parametrize("x, index", [(1e9, -1), (3e38, -1), (-1e9, 0), (-3e38, 0)])
def test_values_out_of_range_saturate(x, index):
    expected = np.zeros(BINS)
    expected[index] = 1
    weights = jax.jit(two_hot)(jnp.float32(x), symexp_bins())
    np.testing.assert_array_equal(weights, expected)


def test_two_hot_keeps_the_leading_shape():
    x, bins = normal(0, 2, 3, scale=10), symexp_bins()
    weights = np.asarray(two_hot(x, bins))
    assert weights.shape == (2, 3, BINS)
    np.testing.assert_array_equal(weights.reshape(6, BINS), two_hot(x.ravel(), bins))
    np.testing.assert_array_equal(weights[1, 2], two_hot(x[1, 2], bins))


# --- two-hot: mean --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, lambda f: jax.jit(jax.vmap(f))])
def test_uniform_logits_mean_exactly_zero(dtype, wrap):
    bins, levels = symexp_bins(), np.asarray([[0.0], [3.7], [-12.0], [1e-3], [88.0]])
    logits = jnp.broadcast_to(jnp.asarray(levels, dtype), (5, BINS))
    mean = wrap(lambda logits: two_hot_mean(logits, bins))(logits)
    assert mean.dtype == jnp.float32
    np.testing.assert_array_equal(mean, np.zeros(5))


def test_zero_head_means_exactly_zero_inside_one_jit():
    """The kernel of zeros, the softmax and the mean may fuse; still exactly zero."""

    @jax.jit
    def head(features, kernel):
        return two_hot_mean(features @ kernel, symexp_bins())

    mean = head(normal(1, 9, 32), jnp.zeros((32, BINS)))
    np.testing.assert_array_equal(mean, np.zeros(9))


def test_mean_is_the_softmax_expectation():
    bins = np.asarray(symexp_bins(), np.float64)
    logits = normal(2, 4, 5, BINS, scale=3)
    p = special.softmax(logits.astype(np.float64), -1)
    mean = np.asarray(two_hot_mean(logits, symexp_bins()))
    assert mean.shape == (4, 5)
    # The terms are up to 1e8 and cancel: the error is relative to their absolute sum.
    assert np.all(np.abs(mean - p @ bins) <= 1e-5 * (p @ np.abs(bins)))


def test_mean_of_two_hot_probabilities_is_the_value():
    x, bins = values(), symexp_bins()
    logits = jnp.log(two_hot(x, bins) + 1e-30)
    np.testing.assert_allclose(two_hot_mean(logits, bins), x, rtol=1e-5)
    np.testing.assert_allclose(
        jax.jit(two_hot_mean)(logits, bins), x, rtol=1e-5, atol=0
    )


def test_mirrored_logits_mean_the_opposite():
    logits, bins = normal(3, 6, BINS), symexp_bins()
    mean = np.asarray(two_hot_mean(logits, bins))
    np.testing.assert_allclose(two_hot_mean(logits[:, ::-1], bins), -mean, rtol=1e-5)


def test_gradient_of_the_mean_is_probability_times_deviation():
    bins = symexp_bins()
    logits = np.full(BINS, -27.0, np.float32)
    logits[MIDDLE + 20 : MIDDLE + 25] = 0.0
    logits = logits + normal(4, BINS, scale=0.1)
    p = special.softmax(logits.astype(np.float64))
    exact = np.asarray(bins, np.float64)
    expected = p * (exact - p @ exact)
    gradient_of = jax.jit(jax.grad(two_hot_mean))
    gradient = gradient_of(jnp.asarray(logits), bins)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
    at_zero = gradient_of(jnp.zeros(BINS), bins)
    # Up to 2e6 at the ends: a float32 sum of such numbers is good to a tenth.
    np.testing.assert_allclose(at_zero, exact / BINS, rtol=1e-5, atol=0.2)


# --- two-hot: cross-entropy -----------------------------------------------------------


def neighbours(x, bins):
    """Index and weight of the two bins around each x, by searching in float64."""
    low = np.clip(np.searchsorted(bins, x, side="right") - 1, 0, len(bins) - 2)
    high_weight = np.clip((x - bins[low]) / (bins[low + 1] - bins[low]), 0, 1)
    return low, high_weight


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_loss_is_the_cross_entropy(scale):
    bins = np.asarray(symexp_bins(), np.float64)
    logits, target = normal(5, 3, 7, BINS, scale=scale), normal(6, 3, 7, scale=40)
    loss = np.asarray(two_hot_loss(logits, target, symexp_bins()))
    assert loss.shape == (3, 7) and loss.dtype == np.float32
    log_p = special.log_softmax(logits.astype(np.float64), -1)
    for index in np.ndindex(3, 7):
        low, weight = neighbours(float(target[index]), bins)
        expected = -(1 - weight) * log_p[index][low] - weight * log_p[index][low + 1]
        np.testing.assert_allclose(loss[index], expected, rtol=2e-5)


def test_loss_of_uniform_logits_is_log_of_the_number_of_bins():
    loss = two_hot_loss(jnp.zeros((4, BINS)), normal(7, 4, scale=100), symexp_bins())
    np.testing.assert_allclose(loss, np.log(BINS), rtol=1e-6)


def test_loss_and_gradient_are_finite_at_extreme_logits_and_targets():
    logits = np.zeros((4, BINS), np.float32)
    logits[0, 0], logits[1, -1] = 1e4, -1e4
    logits[2] = np.linspace(-1e4, 1e4, BINS)
    target = np.asarray([3.0, 1e30, -1e30, 0.0], np.float32)

    def total(logits):
        return two_hot_loss(logits, target, symexp_bins()).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.asarray(logits))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_loss_gradient_is_softmax_minus_two_hot_and_none_to_the_target():
    bins = symexp_bins()  # once: compiled into a program they round otherwise
    logits, target = normal(8, 6, BINS), normal(9, 6, scale=30)

    def total(logits, target):
        return two_hot_loss(logits, target, bins).sum()

    to_logits, to_target = jax.jit(jax.grad(total, (0, 1)))(logits, target)
    expected = special.softmax(logits.astype(np.float64), -1)
    for row, x in enumerate(target):
        low, weight = neighbours(float(x), np.asarray(bins, np.float64))
        expected[row, low] -= 1 - weight
        expected[row, low + 1] -= weight
    np.testing.assert_allclose(to_logits, expected, atol=1e-6)
    np.testing.assert_array_equal(to_target, np.zeros(6))


def test_loss_of_bfloat16_logits_is_computed_in_float32():
    logits = jnp.asarray(normal(10, 8, BINS, scale=4), jnp.bfloat16)
    target = normal(11, 8, scale=20)
    loss = two_hot_loss(logits, target, symexp_bins())
    assert loss.dtype == jnp.float32
    exact = two_hot_loss(logits.astype(jnp.float32), target, symexp_bins())
    np.testing.assert_allclose(loss, exact, rtol=1e-6)
    mean = two_hot_mean(logits, symexp_bins())
    exact_mean = two_hot_mean(logits.astype(jnp.float32), symexp_bins())
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-6)


# --- unimix ---------------------------------------------------------------------------

CLASSES = 16
CASES = {
    "moderate": normal(12, 5, 4, CLASSES, scale=2),
    "sharp": 1e4 * np.eye(CLASSES, dtype=np.float32)[:5],
    "flat": np.full((3, CLASSES), -7.0, np.float32),
}


def mixed(logits, unimix=0.01):
    """Probabilities of the mixture, in float64."""
    softmax = special.softmax(np.asarray(logits, np.float64), -1)
    return (1 - unimix) * softmax + unimix / logits.shape[-1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("unimix", [0.01, 0.2, 1.0])
def test_unimix_is_the_log_of_the_mixture(case, unimix):
    logits = CASES[case]
    log_p = np.asarray(unimix_log_probs(logits, unimix))
    assert log_p.shape == logits.shape and log_p.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_p), mixed(logits, unimix), rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, atol=1e-5)


def test_unimix_default_floor_is_one_percent_over_the_classes():
    p = np.exp(np.asarray(unimix_log_probs(CASES["sharp"])))
    np.testing.assert_allclose(p.min(), 6.25e-4, rtol=1e-5)
    np.testing.assert_allclose(p.max(), 0.99 + 6.25e-4, rtol=1e-5)


def test_unimix_ignores_a_constant_and_computes_in_float32():
    logits = CASES["moderate"]
    log_p = unimix_log_probs(logits)
    np.testing.assert_allclose(unimix_log_probs(logits + 5), log_p, atol=1e-5)
    half = jnp.asarray(logits, jnp.bfloat16)
    of_half = unimix_log_probs(half)
    assert of_half.dtype == jnp.float32
    rounded = np.asarray(half.astype(jnp.float32))
    np.testing.assert_allclose(of_half, np.log(mixed(rounded)), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_unimix_gradient(case):
    logits = CASES[case].reshape(-1, CLASSES)[:3]
    g = normal(13, *logits.shape)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(g * unimix_log_probs(x))))(logits)
    expected = numeric_gradient(lambda x: np.sum(g * np.log(mixed(x))), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


# --- straight-through samples ---------------------------------------------------------


def sample(key, log_probs):
    return straight_through(log_probs, jax.random.gumbel(key, log_probs.shape))


def test_samples_are_exactly_one_hot():
    """Under jit too, where the compiler may reorder one_hot + p - p."""
    log_p = unimix_log_probs(normal(14, 50, 32, CLASSES, scale=2))
    for function in (sample, jax.jit(sample)):
        drawn = np.asarray(function(jax.random.key(0), log_p))
        assert drawn.shape == log_p.shape
        assert np.all((drawn == 0) | (drawn == 1))
        np.testing.assert_array_equal(drawn.sum(-1), np.ones((50, 32)))


def test_samples_follow_the_probabilities():
    draws = 20_000
    p = np.asarray([0.5, 0.3, 0.15, 0.04, 0.01])
    log_p = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (draws, 2, 5))
    drawn = np.asarray(sample(jax.random.key(1), log_p))
    for latent in range(2):
        counts = drawn[:, latent].sum(0)
        assert stats.chisquare(counts, draws * p).pvalue > 1e-4
    # Two latents of one call are independent: the joint is the product.
    joint = np.einsum("nc,nd->cd", drawn[:, 0], drawn[:, 1])
    assert stats.chisquare(joint.ravel(), draws * np.outer(p, p).ravel()).pvalue > 1e-4


def test_samples_are_decided_by_the_key():
    log_p = unimix_log_probs(np.zeros((40, CLASSES), np.float32))
    one, again, other = (
        np.asarray(sample(jax.random.key(seed), log_p)) for seed in (2, 2, 3)
    )
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


def test_gradient_passes_through_as_if_the_sample_were_the_probabilities():
    """Whatever was sampled: the same gradient for every key."""
    logits, g = normal(15, 3, 4, CLASSES), normal(16, 3, 4, CLASSES)

    @jax.jit
    @jax.grad
    def gradient(logits, key):
        return jnp.sum(g * sample(key, unimix_log_probs(logits)))

    expected = numeric_gradient(lambda x: np.sum(g * mixed(x)), logits)
    for seed in range(3):
        found = gradient(logits, jax.random.key(seed))
        np.testing.assert_allclose(found, expected, atol=1e-5)


# --- KL -------------------------------------------------------------------------------


def test_kl_of_a_product_equals_the_kl_of_the_enumerated_joint():
    """S = 3 latents of C = 4 classes: sum over all 64 joint outcomes."""
    p, q = mixed(normal(17, 2, 3, 4, scale=2)), mixed(normal(18, 2, 3, 4, scale=2))
    log_p, log_q = jnp.log(jnp.float32(p)), jnp.log(jnp.float32(q))
    kl = np.asarray(categorical_kl(log_p, log_q))
    assert kl.shape == (2,)
    for b in range(2):
        expected = 0.0
        for outcome in itertools.product(range(4), repeat=3):
            joint_p = np.prod([p[b, s, c] for s, c in enumerate(outcome)])
            joint_q = np.prod([q[b, s, c] for s, c in enumerate(outcome)])
            expected += joint_p * np.log(joint_p / joint_q)
        np.testing.assert_allclose(kl[b], expected, rtol=1e-5)


def test_kl_has_the_direction_p_to_q_and_sums_the_latents():
    p, q = mixed(normal(19, 5, 6, 32, 16)), mixed(normal(20, 5, 6, 32, 16))
    kl = categorical_kl(jnp.log(jnp.float32(p)), jnp.log(jnp.float32(q)))
    expected = special.rel_entr(p, q).sum((-1, -2))
    assert kl.shape == (5, 6)
    np.testing.assert_allclose(kl, expected, rtol=1e-4)
    reverse = special.rel_entr(q, p).sum((-1, -2))
    assert not np.any(np.isclose(expected, reverse, rtol=1e-3))


def test_kl_is_zero_for_equal_distributions_and_never_negative():
    log_p = unimix_log_probs(normal(21, 20, 32, 16, scale=5))
    np.testing.assert_array_equal(categorical_kl(log_p, log_p), np.zeros(20))
    log_q = log_p + 0.01 * normal(22, 20, 32, 16)
    log_q = log_q - special.logsumexp(log_q, -1, keepdims=True)
    assert np.all(np.asarray(categorical_kl(log_p, log_q)) > 0)


def test_kl_of_the_sharpest_unimixed_pair_is_finite():
    post = unimix_log_probs(1e4 * np.eye(16, dtype=np.float32)[None, :1])
    prior = unimix_log_probs(1e4 * np.eye(16, dtype=np.float32)[None, 1:2])
    top, floor = 0.99 + 0.01 / 16, 0.01 / 16
    expected = (top - floor) * np.log(top / floor)
    np.testing.assert_allclose(categorical_kl(post, prior), [expected], rtol=1e-5)


def test_kl_gradients_reach_both_sides_as_finite_differences_say():
    post, prior = normal(23, 3, 2, 5), normal(24, 3, 2, 5)

    def kl(post, prior):
        return categorical_kl(unimix_log_probs(post), unimix_log_probs(prior)).sum()

    def exact(post, prior):
        return special.rel_entr(mixed(post), mixed(prior)).sum()

    to_post, to_prior = jax.jit(jax.grad(kl, (0, 1)))(post, prior)
    expected = numeric_gradient(lambda x: exact(x, prior), post)
    np.testing.assert_allclose(to_post, expected, atol=1e-5)
    expected = numeric_gradient(lambda x: exact(post, x), prior)
    np.testing.assert_allclose(to_prior, expected, atol=1e-5)


# --- tanh-normal ----------------------------------------------------------------------


def change_of_variables(mean, std, pre_tanh):
    """Density of tanh(Normal) as the slope of its distribution function, in float64."""
    action = np.tanh(np.float64(pre_tanh))
    step = 1e-5 * (1 - action**2)
    upper, lower = (
        stats.norm.cdf(np.arctanh(action + sign * step), mean, std) for sign in (1, -1)
    )
    return (upper - lower) / (2 * step)


def test_tanh_normal_matches_a_numeric_change_of_variables():
    rng = np.random.default_rng(25)
    mean, std = rng.normal(size=(20, 3)), rng.uniform(0.3, 1.0, (20, 3))
    x = mean + std * rng.normal(size=(20, 3))
    log_prob = tanh_normal_log_prob(*(jnp.float32(v) for v in (mean, std, x)))
    assert log_prob.shape == (20,)
    expected = np.log(change_of_variables(mean, std, x)).sum(-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.4, 0.3), (-1.0, 0.7)])
def test_tanh_normal_integrates_to_one_over_actions(mean, std):
    x = np.linspace(mean - 9 * std, mean + 9 * std, 20_001)
    column = jnp.asarray(x[:, None], jnp.float32)
    log_prob = tanh_normal_log_prob(jnp.float32([mean]), jnp.float32([std]), column)
    density = np.exp(np.asarray(log_prob, np.float64))
    actions = np.tanh(x)
    np.testing.assert_allclose(np.trapezoid(density, actions), 1.0, atol=1e-3)


VALUE_AND_GRADIENTS = jax.jit(jax.value_and_grad(tanh_normal_log_prob, (0, 1, 2)))


def exact_log_prob(mean, std, x):
    """Normal log-density minus log(1 - tanh^2) = log 4 - 2 log(e^x + e^-x), float64."""
    log_slope = np.log(4) - 2 * np.logaddexp(x, -x)
    return np.sum(stats.norm.logpdf(x, mean, std) - log_slope, -1)


@pytest.mark.parametrize("x", [-100.0, -20.0, -8.0, 0.0, 8.0, 20.0, 100.0])
def test_tanh_normal_is_exact_and_finite_far_out(x):
    mean, std = np.float64([0.9 * x]), np.float64([0.8])
    inputs = [jnp.float32(v) for v in (mean, std, [x])]
    value, gradients = VALUE_AND_GRADIENTS(*inputs)
    rounded = [np.float64(v) for v in inputs]
    np.testing.assert_allclose(value, exact_log_prob(*rounded), rtol=1e-4, atol=1e-5)
    for position, gradient in enumerate(gradients):

        def moved(v, position=position):
            return exact_log_prob(*rounded[:position], v, *rounded[position + 1 :])

        expected = numeric_gradient(moved, rounded[position], step=1e-5)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_tanh_normal_sums_the_action_dimensions():
    mean, std = normal(26, 4, 6), 0.1 + np.abs(normal(27, 4, 6))
    x = normal(28, 4, 6, scale=2)
    together = tanh_normal_log_prob(mean, std, x)
    apart = [
        tanh_normal_log_prob(mean[:, [d]], std[:, [d]], x[:, [d]]) for d in range(6)
    ]
    np.testing.assert_allclose(together, np.sum(apart, 0), rtol=1e-4, atol=1e-4)


# --- float64 --------------------------------------------------------------------------


def test_all_of_it_is_computed_in_float64_where_the_parameters_are():
    """To the last digits; and a float32 is still a float32 there."""
    rng = np.random.default_rng(29)
    logits, x = rng.normal(size=(6, BINS)), 30 * rng.normal(size=6)
    with jax.enable_x64(True):
        grid = np.linspace(-20, 20, BINS)
        bins = np.asarray(symexp_bins())
        np.testing.assert_allclose(bins, np.sign(grid) * np.expm1(abs(grid)), 1e-12)
        log_p = special.log_softmax(logits, -1)
        low, weight = neighbours(x, bins)
        rows = np.arange(6)
        expected = -(1 - weight) * log_p[rows, low] - weight * log_p[rows, low + 1]
        loss = jax.jit(two_hot_loss)(logits, x, bins)
        np.testing.assert_allclose(loss, expected, 1e-12)
        mean = jax.jit(two_hot_mean)(logits, bins)
        np.testing.assert_allclose(mean, special.softmax(logits, -1) @ bins, 1e-9)
        np.testing.assert_allclose(unimix_log_probs(logits), np.log(mixed(logits)))
        assert sample(jax.random.key(0), jnp.asarray(log_p)).dtype == np.float64
        single = jnp.float32(logits), jnp.float32(x)
        assert two_hot_mean(single[0], bins).dtype == jnp.float32
        assert two_hot_loss(*single, bins).dtype == jnp.float32
        assert sample(jax.random.key(0), single[0]).dtype == jnp.float32
