"""LOMPO: a deterministic policy on the dataset's latents and on imagined ones, whose
rewards fall with how differently the world model's members expect them
(arXiv 2012.11547).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import td3
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.world_models.imagine import Trajectory


@struct.dataclass
class LOMPO(Mixture, td3.DeterministicActorCritic):
    """The weight of the penalty is data: `hyper["penalty"]`."""

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """r + γ (1 - termination) min_i Q̄_i(s', π(s')): [N]."""
        successors = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.params, successors)
        return self.bellman_target(
            batch, self.value(state.target, successors, next_action)
        )

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
        key: Array,
    ) -> tuple[Array, Metrics]:
        """-min_i Q_i(s, π(s)), and no more."""
        q = self.value(state.params, features, self.policy(params, features))
        return -q.mean(), {"q_policy": q.mean()}

    def explore(self, state: TrainState, features: Array, key: Array) -> Array:
        """The policy's actions with normal noise, in [-1, 1]."""
        action = self.policy(state.params, features)
        noise = self.config.noise * jax.random.normal(key, action.shape, action.dtype)
        return jnp.clip(action + noise, -1, 1)

    def rows(
        self, state: TrainState, path: Trajectory, key: Array
    ) -> tuple[Batch, Array]:
        """With rewards r - λ std_j log p_j(z'), z' being what was imagined."""
        after = jax.tree.map(lambda x: x[1:], path.state)
        apart = jax.vmap(self.world.log_probs)(after).std(1)
        reward = path.reward - state.hyper["penalty"] * apart
        return super().rows(state, path.replace(reward=reward), key)
