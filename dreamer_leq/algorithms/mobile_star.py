"""MOBILE*: MOBILE as LEQ's paper makes it from LEQ's parts (arXiv 2407.00699): one
critic, which makes its own targets and is held near its moving average.
"""

from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, TrainState
from dreamer_leq.algorithms.mobile import MOBILE
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class MOBILEStar(MOBILE):
    """β weighs imagined rows in the critic's loss, 1 - β the dataset's."""

    critics = 1
    ddof = 0
    largest_alpha = float("inf")
    own_states = False

    def judges(self, state: TrainState) -> Params:
        return state.params["critic"]

    def fit(self, out: Array, target: Array, state: TrainState, batch: Batch) -> Array:
        """½ (Q - y)² + ω (Q - Q̄)², in the mean over rows of each kind."""
        features = self.world.features(self.world.starts(batch))
        seen = features, self.world.action_features(batch["action"])
        slow = self.nets.critics.q(state.target["critic"], *seen)
        critic = self.nets.critics.one
        loss = 0.5 * critic.values.loss(out, target)
        loss = loss + critic.config.ema_weight * critic.values.loss(out, slow)
        real, beta = self.real(loss.shape[-1]), self.config.beta
        if real == loss.shape[-1]:
            return loss.mean()
        return (1 - beta) * loss[:, :real].mean() + beta * loss[:, real:].mean()
