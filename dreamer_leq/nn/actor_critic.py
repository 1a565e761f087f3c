"""Actor, critic and value networks over the features of any world model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import (
    precise,
    symexp_bins,
    two_hot_loss,
    two_hot_mean,
)
from dreamer_leq.nn.fast.scan import rows, steps
from dreamer_leq.nn.layers import MLP, Head, Linear, PlainMLP

Params = Any


class Actor(nn.Module):
    """Features [..., F] -> mean and standard deviation [..., A] of the action before
    tanh.

    `network`: dreamer (RMS norm, SiLU) or mlp (the paper's for states: ReLU).
    """

    network: str
    layers: int
    units: int
    layer_norm: bool
    action_size: int
    min_std: float
    max_std: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> tuple[Array, Array]:
        mean, raw = self._heads(features)
        span = self.max_std - self.min_std
        std = span * jax.nn.sigmoid(precise(raw) + 2) + self.min_std
        return precise(mean), std

    def _heads(self, features: Array) -> tuple[Array, Array]:
        if self.network == "mlp":
            x = PlainMLP(
                self.layers,
                self.units,
                2 * self.action_size,
                self.layer_norm,
                self.dtype,
                name="trunk",
            )(features)
            return x[..., : self.action_size], x[..., self.action_size :]
        x = MLP(self.layers, self.units, self.dtype, name="trunk")(features)
        mean = Linear(self.action_size, 0.01, dtype=self.dtype, name="mean")(x)
        return mean, Linear(self.action_size, 0.01, dtype=self.dtype, name="std")(x)


class ValueOutput(Protocol):
    """How a value is read from a head's output, and what it costs to be wrong."""

    @property
    def outputs(self) -> int: ...

    def mean(self, out: Array) -> Array:
        """[..., outputs] -> [...]."""
        ...

    def loss(self, out: Array, target: Array) -> Array:
        """[..., outputs] and [...] -> [...]; no gradient to the target."""
        ...


@dataclass(frozen=True)
class TwoHotValue:
    """DreamerV3's: a categorical over symexp-spaced bins, with cross entropy."""

    outputs: int

    @cached_property
    def bins(self) -> Array:
        with jax.ensure_compile_time_eval():
            return symexp_bins(self.outputs)

    def mean(self, out: Array) -> Array:
        return two_hot_mean(out, self.bins)

    def loss(self, out: Array, target: Array) -> Array:
        return two_hot_loss(out, target, self.bins)


@dataclass(frozen=True)
class ScalarValue:
    """The state experiments': a number, with the squared error."""

    outputs = 1

    def mean(self, out: Array) -> Array:
        return out[..., 0]

    def loss(self, out: Array, target: Array) -> Array:
        return jnp.square(out[..., 0] - jax.lax.stop_gradient(target))


def value_output(config: Any) -> ValueOutput:
    """That of the `critic` group of configs.yaml."""
    return ScalarValue() if config.output == "scalar" else TwoHotValue(config.bins)


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
        sizes = (c.network, c.layers, c.units, c.layer_norm, self.action_size)
        return Actor(*sizes, c.min_std, c.max_std, self.dtype)

    @cached_property
    def critic_net(self) -> Head:
        c = self.critic_config
        sizes = (c.network, c.layers, c.units, c.layer_norm, self.values.outputs)
        return Head(*sizes, dtype=self.dtype)

    @cached_property
    def values(self) -> ValueOutput:
        return value_output(self.critic_config)

    @property
    def ema_decay(self) -> float:
        """Decay of moving averages per update."""
        return self.critic_config.ema_decay

    @property
    def stochastic(self) -> bool:
        return self.actor_config.stochastic or self.actor_config.update == "reinforce"

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
        """Mean and standard deviation before tanh: [..., F] -> [..., A] both."""
        return self.actor_net.apply({"params": params}, features)

    def mode(self, params: Params, features: Array) -> Array:
        """The deterministic policy tanh(mean): [..., F] -> [..., A]."""
        return jnp.tanh(self.actor(params, features)[0])

    def critic_out(self, params: Params, features: Array, action: Array) -> Array:
        """What `values` reads Q(s, a) from: [..., outputs]. `action` is as the world
        model's `action_features` gives it.
        """
        net = lambda x: self.critic_net.apply({"params": params}, x)  # noqa: E731
        return of_rows(net, jnp.concatenate([features, action], -1))

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """Q(s, a): [..., F], [..., A] -> [...]."""
        return self.values.mean(self.critic_out(params, features, action))

    def value_out(self, params: Params, features: Array) -> Array:
        """What `values` reads V(s) from: [..., F] -> [..., outputs]."""
        net = lambda x: self.critic_net.apply({"params": params}, x)  # noqa: E731
        return of_rows(net, features)


def of_rows(net: Callable[[Array], Array], x: Array) -> Array:
    """net(x), that of [T, N, ...] with all rows in one axis.

    Several critics side by side have theirs before it then, and not between the two,
    where every product of many rows would have to bring them together.
    """
    return steps(net(rows(x)), len(x)) if x.ndim == 3 else net(x)
