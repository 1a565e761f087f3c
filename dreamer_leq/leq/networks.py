"""Actor, critic and value networks of the pixel agent."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import symexp_bins, two_hot_mean
from dreamer_leq.nn.layers import MLP, Linear

Params = Any


class Actor(nn.Module):
    """Features [..., F] -> mean and standard deviation [..., A] of the action before
    tanh.
    """

    layers: int
    units: int
    action_size: int
    min_std: float
    max_std: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> tuple[Array, Array]:
        x = MLP(self.layers, self.units, self.dtype, name="trunk")(features)
        mean = Linear(self.action_size, 0.01, dtype=self.dtype, name="mean")(x)
        raw = Linear(self.action_size, 0.01, dtype=self.dtype, name="std")(x)
        span = self.max_std - self.min_std
        std = span * jax.nn.sigmoid(raw.astype(jnp.float32) + 2) + self.min_std
        return mean.astype(jnp.float32), std


class TwoHotHead(nn.Module):
    """Inputs [..., I] -> logits over symexp bins [..., bins]; the first output is all
    0.
    """

    layers: int
    units: int
    bins: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = MLP(self.layers, self.units, self.dtype, name="trunk")(x)
        return Linear(self.bins, 0.0, dtype=self.dtype, name="out")(x).astype(
            jnp.float32
        )


@dataclass(frozen=True)
class ActorCritic:
    """π(s), Q(s, a) and V(s) over features; configs are the `actor` and `critic`
    groups.
    """

    actor_config: Any
    critic_config: Any
    action_size: int
    dtype: jnp.dtype = jnp.float32

    @cached_property
    def actor_net(self) -> Actor:
        c = self.actor_config
        return Actor(
            c.layers, c.units, self.action_size, c.min_std, c.max_std, self.dtype
        )

    @cached_property
    def critic_net(self) -> TwoHotHead:
        c = self.critic_config
        return TwoHotHead(c.layers, c.units, c.bins, self.dtype)

    @cached_property
    def bins(self) -> Array:
        with jax.ensure_compile_time_eval():
            return symexp_bins(self.critic_config.bins)

    def init(self, key: Array, features: int) -> dict[str, Params]:
        """Parameters of actor and critic; of the value network where REINFORCE needs
        it.
        """
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        x, a = jnp.zeros((1, features)), jnp.zeros((1, self.action_size))
        xa = jnp.concatenate([x, a], -1)
        params = {
            "actor": self.actor_net.init(actor_key, x)["params"],
            "critic": self.critic_net.init(critic_key, xa)["params"],
        }
        if self.actor_config.update == "reinforce":
            params["value"] = self.critic_net.init(value_key, x)["params"]
        return params

    def actor(self, params: Params, features: Array) -> tuple[Array, Array]:
        return self.actor_net.apply({"params": params}, features)

    def mode(self, params: Params, features: Array) -> Array:
        """The deterministic policy tanh(mean): [..., F] -> [..., A]."""
        return jnp.tanh(self.actor(params, features)[0])

    def critic_logits(self, params: Params, features: Array, action: Array) -> Array:
        x = jnp.concatenate([features, action], -1)
        return self.critic_net.apply({"params": params}, x)

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """Q(s, a): [..., F], [..., A] -> [...]."""
        return two_hot_mean(self.critic_logits(params, features, action), self.bins)

    def value_logits(self, params: Params, features: Array) -> Array:
        return self.critic_net.apply({"params": params}, features)
