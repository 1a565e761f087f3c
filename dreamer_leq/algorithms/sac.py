"""What SAC's descendants share: soft values, and an entropy that is held near a target
(arXiv 1812.05905). `learner.nets.policy` samples, and params["temperature"] is log α.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.algorithms.learner import Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import TanhNormal


def networks_of(
    config: Config, action_size: int, dtype: jnp.dtype, critics: int
) -> PolicyCritics:
    """SAC's policy and N critics."""
    return PolicyCritics.of(TanhNormal, config, action_size, dtype, critics)


def temperature() -> dict[str, Array]:
    """α = 1 at first."""
    return {"log": jnp.zeros(())}


def next_value(
    learner: Learner, state: TrainState, features: Array, key: Array
) -> tuple[Array, Array]:
    """min_i Q̄_i(s, a) of a sampled action, and log π(a|s): [N], [N]."""
    action, log_prob = learner.nets.policy.sample(state.params["actor"], features, key)
    return learner.value(state.target, features, action), log_prob


def policy_losses(
    learner: Learner,
    params: dict[str, Params],
    state: TrainState,
    features: Array,
    key: Array,
) -> tuple[Losses, Metrics]:
    """α log π - min_i Q_i(s, a) for the policy; and for log α what holds the entropy at
    -A, A being the numbers of an action.
    """
    alpha = jnp.exp(state.params["temperature"]["log"])
    action, log_prob = learner.nets.policy.sample(params["actor"], features, key)
    q = learner.value(state.params, features, action)
    surplus = stop(log_prob).mean() - action.shape[-1]
    found = {
        "actor": (alpha * log_prob - q).mean(),
        "temperature": -params["temperature"]["log"] * surplus,
    }
    metrics = {"q_policy": q.mean(), "entropy": -log_prob.mean(), "alpha": alpha}
    return found, metrics


def split(key: Array) -> tuple[Array, Array, Array]:
    """Keys of the target's actions, of the policy's, and of what an algorithm adds."""
    return tuple(jax.random.split(key, 3))
