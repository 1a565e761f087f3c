"""Distributions as functions of their parameters: all differentiable, all computed in
float32, or in float64 where the parameters are.

Sources: DreamerV3 (arXiv 2301.04104) for symlog, two-hot and unimix; Haarnoja et al.
2018 for the tanh normal.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


def precise(x: Array) -> Array:
    """`x` in float32 where it has fewer bits."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def symlog(x: Array) -> Array:
    """sign(x) log(1 + |x|), with its derivative 1 at 0; NaN of NaN."""
    positive = jnp.where(x < 0, 0.0, x)
    negative = jnp.where(x < 0, x, 0.0)
    return jnp.log1p(positive) - jnp.log1p(-negative)


def symexp(x: Array) -> Array:
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def symexp_bins(n: int = 255) -> Array:
    """`n` (odd) increasing, exactly mirror-symmetric bins, symexp-spaced on
    ±20: [n].
    """
    if n < 3 or n % 2 == 0:
        raise ValueError(f"two-hot needs an odd number of at least 3 bins, got {n}")
    negative = symexp(jnp.linspace(-20.0, 0.0, n // 2 + 1))
    return jnp.concatenate([negative, -negative[:-1][::-1]])


def two_hot(x: Array, bins: Array) -> Array:
    """Weights on the two bins around `x` whose mean is `x`: [...] -> [..., n].

    A value outside the bins puts all its weight on the nearest end.
    """
    x = precise(x)
    bins = bins.astype(x.dtype)
    x = jnp.clip(x, bins[0], bins[-1])
    above = jnp.clip(jnp.searchsorted(bins, x, side="right"), 1, len(bins) - 1)
    below = above - 1
    weight = (x - bins[below]) / (bins[above] - bins[below])
    one_hot = partial(jax.nn.one_hot, num_classes=len(bins), dtype=x.dtype)
    low, high = (1 - weight)[..., None], weight[..., None]
    return one_hot(below) * low + one_hot(above) * high


def two_hot_mean(logits: Array, bins: Array) -> Array:
    """Expected value of softmax(logits) over mirror-symmetric `bins`: [..., n] ->
    [...].

    The probabilities of mirror bins are subtracted before anything is multiplied: with
    bins up to 5e8 every other order leaves rounding errors of the size of real returns
    - adding products of opposite sign does too, since compilers fuse the multiply with
    the add - and zero logits would not give exactly 0.
    """
    probs = jax.nn.softmax(precise(logits))
    middle = len(bins) // 2
    surplus = probs[..., middle + 1 :] - probs[..., :middle][..., ::-1]
    return (surplus * bins[middle + 1 :].astype(probs.dtype)).sum(-1)


def two_hot_loss(logits: Array, target: Array, bins: Array) -> Array:
    """Cross entropy of softmax(logits) to the two-hot `target` (no gradient to it):
    [...].
    """
    weights = two_hot(jax.lax.stop_gradient(target), bins)
    return -(weights * jax.nn.log_softmax(precise(logits))).sum(-1)


def unimix_log_probs(logits: Array, unimix: float = 0.01) -> Array:
    """Log of (1 - unimix) softmax(logits) + unimix / C: [..., C]."""
    probs = jax.nn.softmax(precise(logits))
    return jnp.log((1 - unimix) * probs + unimix / logits.shape[-1])


def straight_through(log_probs: Array, noise: Array) -> Array:
    """A one-hot sample that carries the gradient of its probabilities: [..., C].

    `noise` is Gumbel's, [..., C].
    """
    index = jnp.argmax(log_probs + noise, -1)
    one_hot = jax.nn.one_hot(index, log_probs.shape[-1], dtype=log_probs.dtype)
    probs = jnp.exp(log_probs)
    return one_hot + (probs - jax.lax.stop_gradient(probs))


def categorical_kl(log_p: Array, log_q: Array) -> Array:
    """KL(p || q), summed over the S latents: [..., S, C] -> [...]."""
    return (jnp.exp(log_p) * (log_p - log_q)).sum((-2, -1))


def tanh_normal_log_prob(mean: Array, std: Array, pre_tanh: Array) -> Array:
    """Log-density of the action tanh(pre_tanh), pre_tanh ~ N(mean, std): [..., A] ->
    [...].

    log(1 - tanh(x)^2) is written with a softplus, which stays finite where tanh
    saturates.
    """
    z = (pre_tanh - mean) / std
    normal = -0.5 * z**2 - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)
    log_slope = 2 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2 * pre_tanh))
    return (normal - log_slope).sum(-1)
