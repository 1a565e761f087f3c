"""What algorithms share whose critic is V(s), whatever the action."""

import jax
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Learner
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class StateValue(Learner):
    """A policy and V(s), the critic; `nets` are a policy and critics of actions too."""

    def networks(self, key: Array) -> dict[str, Params]:
        policy_key, value_key = jax.random.split(key)
        size = self.world.feature_size
        return {
            "actor": self.nets.policy.init(policy_key, size),
            "critic": self.nets.critics.one.init(value_key, size),
        }

    def value(self, params: dict[str, Params], features: Array, action: Array) -> Array:
        """V(s), whatever the action."""
        return self.nets.critics.one.mean(params["critic"], features)
