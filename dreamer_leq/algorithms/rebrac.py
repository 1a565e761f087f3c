"""ReBRAC: TD3+BC with a deeper normed critic, and a penalty for actions far from the
data's in the target as well (arXiv 2305.09836).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses, td3
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import Policy


@struct.dataclass
class ReBRAC(Learner):
    """β_1 and β_2 are data: `hyper["actor_weight"]`, `hyper["critic_weight"]`."""

    averaged = ("actor", "critic")
    reads = ("next_action",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(Policy, config, action_size, dtype)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        features = self.features(params, self.world.starts(batch))
        target = self.target(state, batch, key)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        critic = self.nets.critics.values.loss(out, target).mean(-1).sum()
        actor, metrics = self.actor_loss(params, state, stop(features), batch["action"])
        q_data = self.nets.critics.values.mean(out).mean()
        metrics |= {"q_data": q_data, "q_target": target.mean()}
        return {"critic": critic, "actor": actor}, metrics

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """R + γⁿ (1 - termination) (min_i Q̄_i(s', ã') - β_2 |ã' - a'|²), a' being the
        action that the data have next in the episode: [N].
        """
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.target, next_features)
        noise = self.config.noise, self.config.noise_clip
        next_action = td3.smoothed(next_action, key, *noise)
        next_q = self.value(state.target, next_features, next_action)
        distance = losses.behaviour_cloning_loss(next_action, batch["next_action"])
        next_q = next_q - state.hyper["critic_weight"] * distance
        reward, cont = batch["reward"], batch["cont"]
        return losses.bellman_target(reward, cont, next_q, self.gamma**self.steps)

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
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

    def update(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """The policy and all averages learn at every `delay`-th update."""
        new, metrics = super().update(state, batch, key)
        return td3.delayed(state, new, self.config.delay), metrics
