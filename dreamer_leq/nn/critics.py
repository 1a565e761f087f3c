"""Critics of actor-critic algorithms: N of them as one leading axis, and V(s).

`config` is the `critic` group of configs.yaml; networks have its size.
"""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.actor_critic import ValueOutput, of_rows, value_output
from dreamer_leq.nn.layers import Head
from dreamer_leq.nn.policies import Params, Policy


@dataclass(frozen=True)
class ValueNet:
    """A value of its input: V(s), or Q(s, a) of features and action side by side."""

    config: Any
    dtype: jnp.dtype = jnp.float32

    @property
    def values(self) -> ValueOutput:
        """How a value is read from the network's output."""
        return value_output(self.config)

    def init(self, key: Array, inputs: int) -> Params:
        return self._net.init(key, jnp.zeros((1, inputs)))["params"]

    def out(self, params: Params, x: Array) -> Array:
        """What `values` reads the value from: [..., I] -> [..., outputs]."""
        return of_rows(lambda x: self._net.apply({"params": params}, x), x)

    def mean(self, params: Params, x: Array) -> Array:
        """[..., I] -> [...]."""
        return self.values.mean(self.out(params, x))

    @property
    def _net(self) -> Head:
        c = self.config
        sizes = (c.network, c.layers, c.units, c.layer_norm, self.values.outputs)
        return Head(*sizes, dtype=self.dtype)


@dataclass(frozen=True)
class Critics:
    """Q_i(s, a) of N independent networks; parameters have the leading axis N."""

    one: ValueNet
    count: int  # N

    @property
    def values(self) -> ValueOutput:
        return self.one.values

    def init(self, key: Array, inputs: int) -> Params:
        keys = jax.random.split(key, self.count)
        return jax.vmap(lambda key: self.one.init(key, inputs))(keys)

    def out(self, params: Params, features: Array, action: Array) -> Array:
        """What `values` reads Q_i(s, a) from: [..., F], [..., A] -> [N, ..., outputs].

        `action` is as the representation's `action_features` gives it.
        """
        x = jnp.concatenate([features, action], -1)
        return jax.vmap(lambda params: self.one.out(params, x))(params)

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
        one = ValueNet(config.critic, dtype)
        return cls(policy(config.actor, action_size, dtype), Critics(one, critics))

    @property
    def action_size(self) -> int:
        return self.policy.action_size

    @property
    def ema_decay(self) -> float:
        """Decay of moving averages per update."""
        return self.critics.one.config.ema_decay

    def init(self, key: Array, features: int) -> dict[str, Params]:
        """Parameters of policy and critics."""
        policy_key, critic_key = jax.random.split(key)
        return {
            "actor": self.policy.init(policy_key, features),
            "critic": self.critics.init(critic_key, features + self.action_size),
        }

    def mode(self, params: Params, features: Array) -> Array:
        """The action by which the policy is scored: [..., F] -> [..., A]."""
        return self.policy.mode(params, features)

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """min_i Q_i(s, a): [..., F], [..., A] -> [...]."""
        return self.critics.q(params, features, action).min(0)
