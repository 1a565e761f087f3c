"""ROSMO: a policy that is regularised towards the data's better actions, and improved
by how good the world model says that a few of its own are, one step ahead
(arXiv 2210.05980).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.state_value import StateValue
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import NormalAroundTanh

LARGEST_ADVANTAGE = 5.0


@struct.dataclass
class ROSMO(StateValue):
    """A policy and V(s), the critic; all advantages are by their averages. The weight
    of the data's better actions is data: `hyper["behaviour"]`.
    """

    averaged = ("actor", "critic")

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(NormalAroundTanh, config, action_size, dtype)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """V to R + γⁿ (1 - termination) V̄(s'), and likelihoods of actions."""
        one, policy = self.nets.critics.one, self.nets.policy
        features = self.features(params, self.world.starts(batch))
        successors = self.features(state.params, self.world.successors(batch))
        slow = one.mean(state.target["critic"], features)
        ahead = one.mean(state.target["critic"], successors)
        target = self.bellman_target(batch, ahead)
        out = one.out(params["critic"], features)

        actions, advantage = self.look_ahead(state, batch, slow, key)
        weight = stop(relative_weights(advantage))
        own = policy.log_prob(params["actor"], features, actions)
        better = target > slow
        data = policy.log_prob(params["actor"], features, batch["action"])
        behaviour = state.hyper["behaviour"] * (better * data).mean()
        metrics = {
            "value": one.values.mean(out).mean(),
            "advantage": advantage.mean(),
            "better": better.mean(),
            "bc_mse": jnp.square(
                self.policy(params, features) - batch["action"]
            ).mean(),
        }
        actor = -(weight * own).mean() - behaviour
        return {"critic": one.values.loss(out, target).mean(), "actor": actor}, metrics

    def look_ahead(
        self, state: TrainState, batch: Batch, value: Array, key: Array
    ) -> tuple[Array, Array]:
        """Actions [K, N, A] of the policy's average in the batch's states, and their
        advantages r + γ (1 - termination) V̄(s') - V̄(s) after one imagined step each,
        [K, N]; value: V̄(s) [N].
        """
        action_key, model_key = jax.random.split(key)
        k, start = self.config.samples, self.world.starts(batch)
        given = state.target["actor"], self.world.features(start), action_key
        actions = self.nets.policy.sample(*given, count=k)
        repeated = jax.tree.map(lambda x: jnp.tile(x, (k, *[1] * (x.ndim - 1))), start)
        flat = actions.reshape(-1, actions.shape[-1])
        noise = self.world.noise(model_key, len(flat))
        after, reward, cont = self.world.step(repeated, flat, noise)
        ahead = self.nets.critics.one.mean(
            state.target["critic"], self.world.features(after)
        )
        total = (reward + self.gamma * cont * ahead).reshape(k, -1)
        return actions, total - value


def relative_weights(advantage: Array) -> Array:
    """w_i = e_i / ((1 + Σ_{j≠i} e_j) / K) with e = exp(advantage), which is kept within
    ±5: [K, ...]. It is 1 for actions that are all as good as the policy's mean.
    """
    e = jnp.exp(advantage.clip(-LARGEST_ADVANTAGE, LARGEST_ADVANTAGE))
    return e * len(e) / (1 + e.sum(0) - e)
