"""Fitted Q evaluation: the value of a given policy, from the dataset alone."""

from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class FQE(Learner):
    """Q(s, a) to r + γ (1 - termination) Q(s', π(s')) of the cloned policy (paper
    Algorithm 2), held near its moving average.
    """

    averaged = ("critic",)
    trained = ("critic",)
    encoder_learns = False

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        world, values = self.world, self.nets.values
        features = self.features(state.params, world.starts(batch))
        next_features = self.features(state.params, world.successors(batch))
        next_action = self.policy(state.params, next_features)
        next_q = self.value(state.params, next_features, next_action)
        target = self.bellman_target(batch, next_q)
        seen = features, world.action_features(batch["action"])
        out = self.nets.critic_out(params["critic"], *seen)
        slow = self.nets.q(state.target["critic"], *seen)
        fit = values.loss(out, target).mean()
        anchor = self.nets.critic_config.ema_weight * values.loss(out, slow).mean()
        found = {"critic": fit, "anchor": anchor}
        return found, {"q": values.mean(out).mean()}
