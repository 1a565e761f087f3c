"""ReBRAC: TD3+BC with a deeper normed critic, and a penalty for actions far from the
data's in the target as well (arXiv 2305.09836).
"""

from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses, td3
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class ReBRAC(td3.TD3):
    """β_1 and β_2 are data: `hyper["actor_weight"]`, `hyper["critic_weight"]`."""

    reads = ("next_action",)

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """R + γⁿ (1 - termination) (min_i Q̄_i(s', ã') - β_2 |ã' - a'|²), a' being the
        action that the data have next in the episode: [N].
        """
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.next_action(state, next_features, key)
        next_q = self.value(state.target, next_features, next_action)
        distance = losses.behaviour_cloning_loss(next_action, batch["next_action"])
        next_q = next_q - state.hyper["critic_weight"] * distance
        return self.bellman_target(batch, next_q)

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
        key: Array,
    ) -> tuple[Array, Metrics]:
        """β_1 |π(s) - a|² - λ min_i Q_i(s, π(s)) with λ = 1 / mean |Q|; the distance is
        a sum over numbers of the action.
        """
        action = self.policy(params, features)
        q = self.value(state.params, features, action)
        distance = losses.behaviour_cloning_loss(action, data_action).mean()
        loss = state.hyper["actor_weight"] * distance - q.mean() * stop(1 / td3.size(q))
        metrics = {"q_policy": q.mean(), "bc_mse": distance / action.shape[-1]}
        return loss, metrics
