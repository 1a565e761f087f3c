"""TD3+BC: a deterministic policy that maximises Q and stays near the data's actions
(arXiv 2106.06860).
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
class TD3BC(Learner):
    """Two critics; α is data: `hyper["alpha"]`."""

    averaged = ("actor", "critic")

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
        """R + γⁿ (1 - termination) min_i Q̄_i(s', ã'), ã' being π̄(s') and noise: [N]."""
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.target, next_features)
        noise = self.config.noise, self.config.noise_clip
        next_action = td3.smoothed(next_action, key, *noise)
        next_q = self.value(state.target, next_features, next_action)
        reward, cont = batch["reward"], batch["cont"]
        return losses.bellman_target(reward, cont, next_q, self.gamma**self.steps)

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
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

    def update(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """The policy and all averages learn at every `delay`-th update."""
        new, metrics = super().update(state, batch, key)
        return td3.delayed(state, new, self.config.delay), metrics
