"""LOMPO: a deterministic policy on the dataset's latents and on imagined ones, whose
rewards fall with how differently the world model's members expect them
(arXiv 2012.11547).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import Policy
from dreamer_leq.world_models.imagine import Trajectory


@struct.dataclass
class DeterministicActorCritic(Learner):
    """The gradient of the lesser of two Q by the policy's action, and no more."""

    averaged = ("critic",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(Policy, config, action_size, dtype)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """Q_i to r + γ (1 - termination) min_i Q̄_i(s', π(s')), π to where min_i Q_i is
        largest.
        """
        values = self.nets.critics.values
        features = self.features(params, self.world.starts(batch))
        successors = self.features(state.params, self.world.successors(batch))
        next_action = self.policy(state.params, successors)
        next_q = self.value(state.target, successors, next_action)
        reward, cont = batch["reward"], batch["cont"]
        target = losses.bellman_target(reward, cont, next_q, self.gamma)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        action = self.policy(params, stop(features))
        q = self.value(state.params, stop(features), action)
        found = {"critic": values.loss(out, target).mean(-1).sum(), "actor": -q.mean()}
        return found, {"q_policy": q.mean(), "q_data": values.mean(out).mean()}


@struct.dataclass
class LOMPO(Mixture, DeterministicActorCritic):
    """The weight of the penalty is data: `hyper["penalty"]`."""

    def explore(self, state: TrainState, features: Array, key: Array) -> Array:
        """The policy's actions with normal noise, in [-1, 1]."""
        action = self.policy(state.params, features)
        noise = self.config.noise * jax.random.normal(key, action.shape, action.dtype)
        return jnp.clip(action + noise, -1, 1)

    def rows(
        self, state: TrainState, path: Trajectory, key: Array
    ) -> tuple[Batch, Array]:
        """With rewards r - λ std_j log p_j(z'), z' being what was imagined."""
        after = jax.tree.map(lambda x: x[1:], path.state)
        apart = jax.vmap(self.world.log_probs)(after).std(1)
        reward = path.reward - state.hyper["penalty"] * apart
        return super().rows(state, path.replace(reward=reward), key)
