"""The losses of LEQ, one function per equation. All weights and targets are
constants.
"""

import jax
import jax.numpy as jnp
from jax import Array

stop = jax.lax.stop_gradient


def expectile_weight(target: Array, prediction: Array, tau: Array | float) -> Array:
    """|τ - 1(target ≤ prediction)|, the weight of Eq. 1: small τ mistrusts high
    targets.
    """
    return jnp.where(target > prediction, tau, 1 - tau)


def expectile_loss(
    loss: Array, prediction: Array, target: Array, tau: Array | float
) -> Array:
    """Eq. 4 and 9 over any loss of the same fixed point as the squared error: [...].

    `loss` is of a prediction whose mean is `prediction`, to `target`: the squared
    error, or the cross entropy of DreamerV3's two-hot critic. In the mean, the fixed
    point is the τ-expectile of the targets.
    """
    return expectile_weight(stop(target), stop(prediction), tau) * loss


def bellman_target(reward: Array, cont: Array, next_q: Array, gamma: float) -> Array:
    """r + γ (1 - termination) Q(s', π(s')) of a dataset transition (Eq. 5): [...]."""
    return stop(reward + gamma * cont * next_q)


def deterministic_policy_loss(gain: Array, weight: Array, scale: Array) -> Array:
    """Surrogate of Eq. 11: its gradient is that of -Σ_t w_t y_t / scale: [...].

    gain [...]: Σ_a π(s_t) dy_t/da_t, of which the policy's parameters alone vary.
    """
    return -stop(weight / scale) * gain


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


def mean_over_best(loss: Array, batch: dict[str, Array], best: float) -> Array:
    """The mean of a loss [N] over the rows of the best episodes: those in which `rank`
    of the batch, the share of episodes with a higher return, is below `best`. 0 where
    there are none; 1 is the plain mean.
    """
    if best == 1:
        return loss.mean()
    chosen = batch["rank"] < best
    return (chosen * loss).sum() / jnp.maximum(chosen.sum(), 1)


def share_of(doubt: Array) -> Array:
    """Weights [N] in proportion to what is not negative [N], 1 on average; 1 each where
    all of it is 0, as the disagreement of a single model is.
    """
    mean = doubt.mean()
    return jnp.where(mean > 0, doubt / jnp.where(mean > 0, mean, 1.0), 1.0)


def advantage_weighted_loss(
    action: Array, data_action: Array, advantage: Array, temperature: float
) -> Array:
    """Behaviour cloning weighted by exp(advantage · temperature), at most 100 (AWR, as
    IQL has it): [..., A], [...] -> [...].
    """
    weight = jnp.minimum(jnp.exp(temperature * stop(advantage)), 100.0)
    return weight * behaviour_cloning_loss(action, data_action)
