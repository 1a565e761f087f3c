"""TD3+BC: a deterministic policy that maximises Q and stays near the data's actions
(arXiv 2106.06860).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import td3
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class TD3BC(td3.TD3):
    """Two critics; α is data: `hyper["alpha"]`."""

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """R + γⁿ (1 - termination) min_i Q̄_i(s', ã'), ã' being π̄(s') and noise: [N]."""
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.next_action(state, next_features, key)
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
        """-λ Q_1(s, π(s)) with λ = α / mean |Q_1|, plus the mean squared distance to
        the data's actions (Eq. 3 and 4; a mean over numbers of the action, too).
        """
        action = self.policy(params, features)
        seen = self.world.action_features(action)
        q = self.nets.critics.q(state.params["critic"], features, seen)[0]
        scale = stop(state.hyper["alpha"] / td3.size(q))
        distance = jnp.square(action - data_action).mean()
        metrics = {"q_policy": q.mean(), "bc_mse": distance}
        return distance - scale * q.mean(), metrics
