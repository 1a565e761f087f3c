"""The losses of LEQ, one function per equation. All weights and targets are
constants.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import two_hot_loss

stop = jax.lax.stop_gradient


def expectile_weight(target: Array, prediction: Array, tau: Array | float) -> Array:
    """|τ - 1(target ≤ prediction)|, the weight of Eq. 1: small τ mistrusts high
    targets.
    """
    return jnp.where(target > prediction, tau, 1 - tau)


def expectile_two_hot_loss(
    logits: Array, prediction: Array, target: Array, bins: Array, tau: Array | float
) -> Array:
    """Eq. 4 and 9 with DreamerV3's two-hot critic: weighted cross entropy, [...].

    `prediction` is the mean of `logits`. In the mean, the fixed point is the
    τ-expectile of the targets, as with the squared error.
    """
    weight = expectile_weight(stop(target), stop(prediction), tau)
    return weight * two_hot_loss(logits, target, bins)


def bellman_target(reward: Array, cont: Array, next_q: Array, gamma: float) -> Array:
    """r + γ (1 - termination) Q(s', π(s')) of a dataset transition (Eq. 5): [...]."""
    return stop(reward + gamma * cont * next_q)


def deterministic_policy_loss(
    action: Array, action_gradient: Array, weight: Array, scale: Array
) -> Array:
    """Surrogate of Eq. 11: its gradient is that of -Σ_t w_t y_t / scale, [..., A] ->
    [...].

    action [..., A]: π(s_t) with s_t constant; action_gradient [..., A]: dy_t/da_t.
    """
    return -stop(weight / scale) * (action * stop(action_gradient)).sum(-1)


def score_function_loss(
    log_prob: Array, advantage: Array, weight: Array, scale: Array
) -> Array:
    """REINFORCE with the expectile weight on the advantage, as the official
    pixel code.
    """
    return -stop(weight * advantage / scale) * log_prob


def behaviour_cloning_loss(action: Array, data_action: Array) -> Array:
    """Squared error of the policy's action to the data's, summed over [..., A] ->
    [...].
    """
    return jnp.square(action - data_action).sum(-1)
