"""Offline DreamerV2: a policy that follows the gradient of the λ-returns that it
imagines, where rewards fall with the disagreement of the world model's members
(arXiv 2206.04779, on arXiv 2010.02193).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.returns import discounted_return
from dreamer_leq.algorithms.state_value import StateValue
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import TanhNormal
from dreamer_leq.world_models.imagine import Trajectory, imagine


@struct.dataclass
class Dreamer(StateValue):
    """A policy and V(s), the critic. The weight of the penalty is data:
    `hyper["penalty"]`.
    """

    averaged = ("critic",)  # a copy from time to time

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(TanhNormal, config, action_size, dtype)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """V to the λ-returns, the policy up their gradient through the model, both by
        how likely a step is reached.
        """
        one, policy, c = self.nets.critics.one, self.nets.policy, self.config
        path_key, entropy_key = jax.random.split(key)
        path = self.imagine(params["actor"], batch, path_key)
        spread = jax.vmap(self.world.spread)(jax.tree.map(lambda x: x[1:], path.state))
        reward = path.reward - state.hyper["penalty"] * spread
        value = one.mean(state.target["critic"], path.features)
        returns = discounted_return(reward, path.cont, value, self.gamma, c.lam)
        discount = self.gamma ** jnp.arange(c.horizon)[:, None]
        reached = stop(discount * path.alive[:-1])
        seen = stop(path.features[:-1])
        _, log_prob = policy.sample(params["actor"], seen, entropy_key)
        actor = -(reached * (returns - c.entropy * log_prob)).mean()
        fit = one.values.loss(one.out(params["critic"], seen), returns)
        metrics = {
            "imagined_return": returns[0].mean(),
            "imagined_reward": path.reward.mean(),
            "spread": spread.mean(),
            "entropy": -log_prob.mean(),
        }
        return {"critic": (reached * fit).mean(), "actor": actor}, metrics

    def imagine(self, actor: Params, batch: Batch, key: Array) -> Trajectory:
        """The policy's rollouts from the batch's states, as functions of `actor`:
        each action by itself, what it sees being given.
        """

        def act(features: Array, key: Array) -> Array:
            return self.nets.policy.sample(actor, stop(features), key)[0]

        start = self.world.starts(batch)
        return imagine(self.world, act, start, key, self.config.horizon)

    def update(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """V is copied every `copy_every` updates for the returns."""
        new, metrics = super().update(state, batch, key)
        due = new.step % self.config.copy_every == 0
        newest = {"critic": new.params["critic"]}
        target = jax.tree.map(lambda x, y: jnp.where(due, x, y), newest, state.target)
        return new.replace(target=target), metrics
