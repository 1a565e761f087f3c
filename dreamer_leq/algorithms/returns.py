"""λ-returns over imagined rollouts (Eq. 8)."""

import math

import jax
import jax.numpy as jnp
from jax import Array


def lambda_weights(horizon: int, lam: float) -> Array:
    """Share e_t of the one-step-ahead return in y_t, for t < H: [H].

    With w = Σ_{h=0}^{H-t-1} λ^h, the step t puts λw of its 1 + λw on what comes later.
    λ = ∞ leaves the longest return alone: the H-step returns of the paper's ablation.
    """
    if math.isinf(lam):
        return jnp.ones(horizon)
    powers = lam ** jnp.arange(horizon)
    w = jnp.cumsum(powers)[::-1]
    return lam * w / (1 + lam * w)


def lambda_return(
    reward: Array, cont: Array, q: Array, gamma: float, lam: float
) -> Array:
    """y_t = Σ_h λ^h G_t^(h) / Σ_h λ^h over h = 0 … H-t (Eq. 8): [H+1, ...].

    reward, cont [H, ...]: entry t holds r_{t+1} and 1 - termination of that step
    (without the discount); q [H+1, ...]: Q(s_t, a_t). G_t^(h) is the h-step return that
    ends in Q; G_t^(0) = Q(s_t, a_t). Computed as y_t = (1 - e_t) Q_t + e_t (r_{t+1} + γ
    c_{t+1} y_{t+1}) from y_H = Q_H backwards.
    """
    share = lambda_weights(len(reward), lam)

    def step(later, xs):
        share, reward, cont, q = xs
        y = (1 - share) * q + share * (reward + gamma * cont * later)
        return y, y

    _, y = jax.lax.scan(step, q[-1], (share, reward, cont, q[:-1]), reverse=True)
    return jnp.concatenate([y, q[-1:]])


def discounted_return(
    reward: Array, cont: Array, value: Array, gamma: float, lam: float
) -> Array:
    """λ-returns R_t = r_{t+1} + γ c_{t+1} ((1 - λ) V_{t+1} + λ R_{t+1}), R_H = V_H:
    [H, ...] of t < H, from reward, cont [H, ...] and V(s_t) [H+1, ...] (DreamerV2).
    """

    def step(later, xs):
        reward, cont, value = xs
        later = reward + gamma * cont * ((1 - lam) * value + lam * later)
        return later, later

    xs = reward, cont, value[1:]
    return jax.lax.scan(step, value[-1], xs, reverse=True)[1]
