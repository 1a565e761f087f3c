"""Implicit Q-learning: an expectile of Q over the data's actions, and a policy that
clones the better ones of them (arXiv 2110.06169).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import NormalAroundTanh

LARGEST_WEIGHT = 100.0  # of an action


@struct.dataclass
class IQL(Learner):
    """No action is asked for that the data don't have. τ and β are data:
    `hyper["tau"]`, `hyper["beta"]`.
    """

    averaged = ("critic",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(NormalAroundTanh, config, action_size, dtype)

    def networks(self, key: Array) -> dict[str, Params]:
        nets_key, value_key = jax.random.split(key)
        value = self.nets.critics.one.init(value_key, self.world.feature_size)
        return super().networks(nets_key) | {"value": value}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """V to an expectile of Q̄, Q to r + γ (1 - termination) V(s'), π to the data's
        actions by their advantage Q̄ - V (Eq. 5 to 7).
        """
        net, values = self.nets.critics.one, self.nets.critics.values
        features = self.features(params, self.world.starts(batch))
        next_features = self.features(state.params, self.world.successors(batch))
        slow = self.value(state.target, features, batch["action"])
        advantage = slow - net.mean(state.params["value"], features)

        out = net.out(params["value"], features)
        fit, tau = values.loss(out, slow), state.hyper["tau"]
        value = losses.expectile_loss(fit, values.mean(out), slow, tau).mean()

        next_value = net.mean(state.params["value"], next_features)
        target = self.bellman_target(batch, next_value)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        critic = values.loss(out, target).mean(-1).sum()

        weight = jnp.exp(state.hyper["beta"] * advantage)
        weight = jnp.minimum(weight, LARGEST_WEIGHT)
        given = params["actor"], losses.stop(features), batch["action"]
        actor = -(losses.stop(weight) * self.nets.policy.log_prob(*given)).mean()
        distance = jnp.square(self.policy(params, features) - batch["action"])
        metrics = {
            "q_data": values.mean(out).mean(),
            "q_target": target.mean(),
            "advantage": advantage.mean(),
            "weight": weight.mean(),
            "bc_mse": distance.mean(),
        }
        return {"value": value, "critic": critic, "actor": actor}, metrics
