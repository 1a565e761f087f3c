"""MOBILE: SAC on the dataset and on imagined rows, whose targets are lowered by how far
the members of the world model disagree about the next value (ICML 2023).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses, sac
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.algorithms.sac import SAC
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class MOBILE(Mixture, SAC):
    """The weight of the disagreement is data: `hyper["penalty"]`."""

    @property
    def trained(self) -> tuple[str, ...]:
        return ("actor", "critic") if self.config.alpha else super().trained

    @property
    def first_alpha(self) -> float:
        return self.config.alpha or super().first_alpha

    def target(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Array, Metrics]:
        """SAC's target, with or without entropy, lowered by c u(s, a) where the row was
        imagined: [N].
        """
        next_features = self.world.features(self.world.successors(batch))
        next_q, log_prob = sac.next_value(self, state, next_features, key)
        if self.config.soft:
            next_q = next_q - sac.alpha_of(state) * log_prob
        reward, about = batch["reward"], {}
        if (real := self.real(len(reward))) < len(reward):
            start = self.world.starts(batch)[real:]
            given = state, state.target["critic"], start, batch["action"][real:]
            spread = inconsistency(self, *given, jax.random.fold_in(key, 1), ddof=1)
            reward = reward.at[real:].add(-state.hyper["penalty"] * spread)
            about = {"inconsistency": spread.mean()}
        target = losses.bellman_target(reward, batch["cont"], next_q, self.gamma)
        return jnp.maximum(target, 0.0) if self.config.positive else target, about


def inconsistency(
    learner: Mixture,
    state: TrainState,
    critics: Params,
    start: Array,
    action: Array,
    key: Array,
    ddof: int,
    each: bool = True,
) -> Array:
    """u(s, a), the standard deviation over members of the mean of min_i Q_i(s', a')
    over `samples` pairs of s' ~ member and a' ~ policy: [N].

    Args:
      critics: parameters of Q_i.
      ddof: 1 for the unbiased variance, 0 for that of the members themselves.
      each: whether every pair has a sample of s' of its own, or a member's share one.
    """
    world, k = learner.world, learner.config.samples
    state_key, action_key = jax.random.split(key)
    mean, std = world.moments(start, action)  # [E, N, D + 1]
    noise = jax.random.normal(state_key, (k if each else 1, *mean.shape), mean.dtype)
    successor, _, _ = world.outcome(start, mean + std * noise)
    features = world.features(successor)  # [K or 1, E, N, F]
    shape = (k, *features.shape[1:-1])
    features = jnp.broadcast_to(features, (*shape, features.shape[-1]))
    rows = features.reshape(-1, features.shape[-1])
    next_action, _ = learner.nets.policy.sample(state.params["actor"], rows, action_key)
    q = learner.value({"critic": critics}, rows, next_action)
    return q.reshape(shape).mean(0).std(0, ddof=ddof)
