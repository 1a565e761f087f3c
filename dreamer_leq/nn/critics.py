"""Critics of actor-critic algorithms: N of them as one leading axis, and V(s).

`config` is the `critic` group of configs.yaml; networks have its size.
"""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.actor_critic import ValueOutput, of_rows, value_output
from dreamer_leq.nn.layers import Head, side_by_side
from dreamer_leq.nn.policies import Params, Policy


@dataclass(frozen=True)
class ValueNet:
    """V(s), or Q(s, a) of features and action side by side.

    `projection`: numbers to which the features come down first; 0: all of them.
    """

    config: Any
    dtype: jnp.dtype = jnp.float32
    projection: int = 0

    @property
    def values(self) -> ValueOutput:
        """How a value is read from the network's output."""
        return value_output(self.config)

    def init(self, key: Array, features: int, actions: int = 0) -> Params:
        """Parameters for so many numbers of features, and of an action beside them."""
        inputs = [jnp.zeros((1, n)) for n in (features, actions) if n]
        return self._net.init(key, *inputs)["params"]

    def out(
        self, params: Params, features: Array, action: Array | None = None
    ) -> Array:
        """What `values` reads the value from: [..., F], [..., A] -> [..., outputs]."""

        def net(*inputs: Array) -> Array:
            return self._net.apply({"params": params}, *inputs)

        several = action is not None and action.ndim > features.ndim
        if self.projection or several:  # once for all actions in a state
            return net(features, action)
        x = features if action is None else side_by_side(features, action)
        return of_rows(net, x)

    def mean(
        self, params: Params, features: Array, action: Array | None = None
    ) -> Array:
        """[..., F], [..., A] -> [...]."""
        return self.values.mean(self.out(params, features, action))

    @property
    def _net(self) -> Head:
        c = self.config
        sizes = (c.network, c.layers, c.units, c.layer_norm, self.values.outputs)
        return Head(*sizes, projection=self.projection, dtype=self.dtype)


@dataclass(frozen=True)
class Critics:
    """Q_i(s, a) of N independent networks; parameters have the leading axis N."""

    one: ValueNet
    count: int  # N

    @property
    def values(self) -> ValueOutput:
        return self.one.values

    def init(self, key: Array, features: int, actions: int) -> Params:
        keys = jax.random.split(key, self.count)
        return jax.vmap(lambda key: self.one.init(key, features, actions))(keys)

    def out(self, params: Params, features: Array, action: Array) -> Array:
        """What `values` reads Q_i(s, a) from: [..., F], [..., A] -> [N, ..., outputs].

        `action` is as the representation's `action_features` gives it; it may have more
        leading axes than the features.
        """
        return jax.vmap(lambda params: self.one.out(params, features, action))(params)

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """[..., F], [..., A] -> [N, ...]."""
        return self.values.mean(self.out(params, features, action))


@dataclass(frozen=True)
class PolicyCritics:
    """The networks of an actor-critic algorithm: Q(s, a) is the least of N."""

    policy: Policy
    critics: Critics

    @classmethod
    def of(
        cls,
        policy: type[Policy],
        config: Any,
        action_size: int,
        dtype: jnp.dtype,
        critics: int = 2,
    ) -> Self:
        """Of the sizes that a run's configuration has."""
        learned = config.world_model == "frames"
        projection = config.frames.projection if learned else 0
        one = ValueNet(config.critic, dtype, projection)
        policy = policy(config.actor, action_size, dtype, projection)
        return cls(policy, Critics(one, critics))

    @property
    def action_size(self) -> int:
        return self.policy.action_size

    @property
    def values(self) -> ValueOutput:
        return self.critics.values

    @property
    def critic_config(self) -> Any:
        return self.critics.one.config

    @property
    def ema_decay(self) -> float:
        """Decay of moving averages per update."""
        return self.critic_config.ema_decay

    def init(self, key: Array, features: int) -> dict[str, Params]:
        """Parameters of policy and critics."""
        policy_key, critic_key = jax.random.split(key)
        return {
            "actor": self.policy.init(policy_key, features),
            "critic": self.critics.init(critic_key, features, self.policy.action_size),
        }

    def mode(self, params: Params, features: Array) -> Array:
        """The action by which the policy is scored: [..., F] -> [..., A]."""
        return self.policy.mode(params, features)

    def critic_out(self, params: Params, features: Array, action: Array) -> Array:
        """What `values` reads each Q_i(s, a) from: [N, ..., outputs]."""
        return self.critics.out(params, features, action)

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """min_i Q_i(s, a): [..., F], [..., A] -> [...]."""
        return self.critics.q(params, features, action).min(0)
