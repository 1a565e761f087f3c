"""DrQ-v2+BC: a policy with noise that maximises the lesser Q and stays near the data's
actions (arXiv 2206.04779, on arXiv 2107.09645).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import td3
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class DrQBC(td3.DeterministicActorCritic):
    """Two critics; α is data: `hyper["alpha"]`."""

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """R + γⁿ (1 - termination) min_i Q̄_i(s', ã'), ã' being π(s') and noise: [N]."""
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.params, next_features)
        target_key, _ = jax.random.split(key)
        next_action = self.noisy(next_action, state.step, target_key)
        next_q = self.value(state.target, next_features, next_action)
        return self.bellman_target(batch, next_q)

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
        key: Array,
    ) -> tuple[Array, Metrics]:
        """-λ min_i Q_i(s, ã) with λ = α / mean |Q|, plus the mean squared distance of ã
        = π(s) and noise to the data's action.
        """
        _, policy_key = jax.random.split(key)
        action = self.noisy(self.policy(params, features), state.step, policy_key)
        q = self.value(state.params, features, action)
        scale = stop(state.hyper["alpha"] / td3.size(q))
        distance = jnp.square(action - data_action).mean()
        metrics = {"q_policy": q.mean(), "bc_mse": distance}
        return distance - scale * q.mean(), metrics

    def noisy(self, action: Array, step: Array, key: Array) -> Array:
        """The action [..., A] with normal noise, cut off, kept in [-1, 1]; its gradient
        is the action's, at the bounds too.
        """
        c = self.config
        noise = self.std(step) * jax.random.normal(key, action.shape, action.dtype)
        moved = action + jnp.clip(noise, -c.noise_clip, c.noise_clip)
        return action + stop(jnp.clip(moved, -1, 1) - action)

    def std(self, step: Array) -> Array:
        """The noise's standard deviation, which falls in the first share of updates."""
        c = self.config
        done = jnp.minimum(step / (c.noise_share * max(c.updates, 1)), 1.0)
        return c.noise + done * (c.last_noise - c.noise)
