"""Flow Q-learning: a flow clones the data's actions, however many kinds there are in a
state, and a policy of one step maximises Q near it (arXiv 2502.02538).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.flows import NoisePolicy


@struct.dataclass
class FQL(Learner):
    """Its policy π(s, z) draws noise z, in evaluations too. α is data:
    `hyper["alpha"]`.
    """

    averaged = ("critic",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(NoisePolicy, config, action_size, dtype)

    @property
    def trained(self) -> tuple[str, ...]:
        return ("flow", "actor", "critic")

    def networks(self, key: Array) -> dict[str, Params]:
        nets_key, flow_key = jax.random.split(key)
        flow = self.nets.policy.flow.init(flow_key, self.world.feature_size)
        return super().networks(nets_key) | {"flow": flow}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """The flow to the data's actions, Q to r + γ (1 - termination) Q̄(s', π(s', z)),
        and π to both of them.
        """
        next_key, flow_key, noise_key = jax.random.split(key, 3)
        features = self.features(params, self.world.starts(batch))
        target = self.target(state, batch, next_key)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        critic = self.nets.critics.values.loss(out, target).mean(-1).sum()

        given = stop(features), batch["action"]
        flow = self.nets.policy.flow.loss(params["flow"], *given, flow_key).mean()
        actor, metrics = self.actor_loss(params, state, given[0], noise_key)
        q_data = self.nets.critics.values.mean(out).mean()
        metrics |= {"q_data": q_data, "q_target": target.mean()}
        return {"critic": critic, "flow": flow, "actor": actor}, metrics

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """R + γ (1 - termination) Q̄(s', π(s', z)): [N]."""
        next_features = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.params, next_features, key)
        seen = self.world.action_features(next_action)
        q = self.nets.critics.q(state.target["critic"], next_features, seen)
        return self.bellman_target(
            batch, q.min(0) if self.config.next_q == "min" else q.mean(0)
        )

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        key: Array,
    ) -> tuple[Array, Metrics]:
        """α |π(s, z) - flow(s, z)|² - Q(s, π(s, z)), the noise z being the same; the
        distance is a mean over numbers of the action, and Q that over critics.
        """
        policy, steps = self.nets.policy, self.config.flow_steps
        given = features, policy.noise(features, key), steps
        action, distance = policy.distilled(
            params["actor"], state.params["flow"], *given
        )
        q = self.value(state.params, features, jnp.clip(action, -1, 1)).mean()
        metrics = {"q_policy": q, "distillation": distance}
        return state.hyper["alpha"] * distance - q, metrics

    def policy(
        self, params: dict[str, Params], features: Array, key: Array | None = None
    ) -> Array:
        """π(s, z) with noise drawn by the key, without one that for z = 0."""
        if key is None:
            return self.nets.mode(params["actor"], features)
        return self.nets.policy.sample(params["actor"], features, key)

    def value(self, params: dict[str, Params], features: Array, action: Array) -> Array:
        """The mean of the critics, which the policy maximises."""
        seen = self.world.action_features(action)
        return self.nets.critics.q(params["critic"], features, seen).mean(0)
