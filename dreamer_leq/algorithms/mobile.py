"""MOBILE: SAC on the dataset and on imagined rows, whose targets are lowered by how far
the members of the world model disagree about the next value (ICML 2023).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.algorithms.sac import SAC


@struct.dataclass
class MOBILE(Mixture, SAC):
    """The weight of the disagreement is data: `hyper["penalty"]`."""

    ddof: ClassVar[int] = 1  # of the standard deviation over members
    own_states: ClassVar[bool] = (
        True  # each sample has its own s', or a member's all one
    )

    @property
    def trained(self) -> tuple[str, ...]:
        return ("actor", "critic") if self.config.alpha else super().trained

    @property
    def soft(self) -> bool:
        return self.config.soft

    @property
    def first_alpha(self) -> float:
        return self.config.alpha or super().first_alpha

    def target(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Array, Metrics]:
        """SAC's target, with or without entropy, lowered by c u(s, a) where the row was
        imagined: [N].
        """
        reward, about = batch["reward"], {}
        if (real := self.real(len(reward))) < len(reward):
            row = self.world.starts(batch)[real:], batch["action"][real:]
            spread = self.inconsistency(state, *row, jax.random.fold_in(key, 1))
            reward = reward.at[real:].add(-state.hyper["penalty"] * spread)
            about = {"inconsistency": spread.mean()}
        target, _ = super().target(state, batch | {"reward": reward}, key)
        return jnp.maximum(target, 0.0) if self.config.positive else target, about

    def inconsistency(
        self, state: TrainState, start: Array, action: Array, key: Array
    ) -> Array:
        """u(s, a), the standard deviation over members of the mean of min_i Q_i(s', a')
        over `samples` pairs of s' ~ member and a' ~ policy: [N].
        """
        k = self.config.samples
        state_key, action_key = jax.random.split(key)
        mean, std = self.world.moments(start, action)  # [E, N, D + 1]
        shape = (k if self.own_states else 1, *mean.shape)
        noise = jax.random.normal(state_key, shape, mean.dtype)
        successor, _, _ = self.world.outcome(start, action, mean + std * noise)
        features = self.world.features(successor)
        shape = (k, *features.shape[1:])
        rows = jnp.broadcast_to(features, shape).reshape(-1, shape[-1])
        given = state.params["actor"], rows, action_key
        next_action, _ = self.nets.policy.sample(*given)
        q = self.value({"critic": self.judges(state)}, rows, next_action)
        return q.reshape(shape[:-1]).mean(0).std(0, ddof=self.ddof)
