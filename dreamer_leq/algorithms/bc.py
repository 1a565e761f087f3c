"""Behaviour cloning: the policy learns the dataset's actions."""

from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class BC(Learner):
    """π(s) to the data's action, or that of its best episodes; Q(s, a) to the return
    that followed, where asked.

    return [N] is the discounted return that follows the transition's first state, rank
    [N] the share of episodes with a higher return than its episode's.
    """

    @property
    def trained(self) -> tuple[str, ...]:
        return ("actor", "critic") if self.config.critic != "none" else ("actor",)

    @property
    def reads(self) -> tuple[str, ...]:
        asked = {"return": self.config.critic != "none", "rank": self.config.best < 1}
        return tuple(name for name in asked if asked[name])

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        features = self.features(params, self.world.starts(batch))
        action = self.nets.mode(params["actor"], features)
        cloning = losses.behaviour_cloning_loss(action, batch["action"])
        found = {"bc": losses.mean_over_best(cloning, batch, self.config.best)}
        if self.config.critic == "none":
            return found, {}
        seen = self.world.action_features(batch["action"])
        out = self.nets.critic_out(params["critic"], stop(features), seen)
        found["critic"] = self.nets.values.loss(out, batch["return"]).mean()
        return found, {"return": batch["return"].mean()}
