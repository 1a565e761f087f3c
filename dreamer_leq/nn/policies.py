"""Policies of actor-critic algorithms: features [..., F] to actions [..., A] in
[-1, 1].

`config` is the `actor` group of configs.yaml; networks have its size.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import tanh_normal_log_prob
from dreamer_leq.nn.layers import Head

Params = Any
LOG_STD_RANGE = (-5.0, 2.0)
LARGEST_ACTION = 1 - 1e-5  # of which tanh(u) is asked for u


@dataclass(frozen=True)
class Policy:
    """The deterministic policy tanh(net(s)), and what the others share with it.

    `projection`: numbers to which the features come down first; 0: all of them.
    """

    config: Any
    action_size: int
    dtype: jnp.dtype = jnp.float32
    projection: int = 0

    @property
    def outputs(self) -> int:
        """Size of the network's output."""
        return self.action_size

    def init(self, key: Array, features: int) -> Params:
        return self._net.init(key, jnp.zeros((1, features)))["params"]

    def mode(self, params: Params, features: Array) -> Array:
        """The action by which the policy is scored."""
        return jnp.tanh(self._out(params, features))

    @property
    def _net(self) -> Head:
        c = self.config
        sizes = (c.network, c.layers, c.units, c.layer_norm, self.outputs)
        return Head(*sizes, 0.01, self.projection, self.dtype)

    def _out(self, params: Params, features: Array) -> Array:
        return self._net.apply({"params": params}, features)


@dataclass(frozen=True)
class TanhNormal(Policy):
    """SAC's: tanh(u) with u ~ N(mean(s), std(s)) (Haarnoja et al. 2018)."""

    @property
    def outputs(self) -> int:
        return 2 * self.action_size

    def mode(self, params: Params, features: Array) -> Array:
        return jnp.tanh(self._heads(params, features)[0])

    def sample(
        self, params: Params, features: Array, key: Array, count: int | None = None
    ) -> tuple[Array, Array]:
        """An action and the logarithm of its density, [..., A], [...]; of `count` of
        them [count, ..., A], [count, ...].
        """
        mean, std = self._heads(params, features)
        shape = mean.shape if count is None else (count, *mean.shape)
        pre_tanh = mean + std * jax.random.normal(key, shape, mean.dtype)
        return jnp.tanh(pre_tanh), tanh_normal_log_prob(mean, std, pre_tanh)

    def log_prob(self, params: Params, features: Array, action: Array) -> Array:
        """Logarithm of the density of `action`, which is kept off ±1, where there is
        none: [..., F], [..., A] -> [...].
        """
        mean, std = self._heads(params, features)
        inside = jnp.clip(action, -LARGEST_ACTION, LARGEST_ACTION)
        return tanh_normal_log_prob(mean, std, jnp.arctanh(inside))

    def _heads(self, params: Params, features: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(self._out(params, features), 2, -1)
        return mean, jnp.exp(jnp.clip(log_std, *LOG_STD_RANGE))


@dataclass(frozen=True)
class NormalAroundTanh(Policy):
    """IQL's: N(tanh(net(s)), std) with one std for all states, not squashed."""

    def init(self, key: Array, features: int) -> Params:
        log_std = jnp.zeros(self.action_size)
        return {"mean": super().init(key, features), "log_std": log_std}

    def mode(self, params: Params, features: Array) -> Array:
        return super().mode(params["mean"], features)

    def log_prob(self, params: Params, features: Array, action: Array) -> Array:
        """Logarithm of the density of `action`: [..., F], [..., A] -> [...]."""
        log_std = self._log_std(params)
        z = (action - self.mode(params, features)) / jnp.exp(log_std)
        return (-0.5 * z**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)

    def sample(self, params: Params, features: Array, key: Array, count: int) -> Array:
        """`count` actions, kept in [-1, 1]: [..., F] -> [count, ..., A]."""
        mean = self.mode(params, features)
        noise = jax.random.normal(key, (count, *mean.shape), mean.dtype)
        return jnp.clip(mean + jnp.exp(self._log_std(params)) * noise, -1, 1)

    @staticmethod
    def _log_std(params: Params) -> Array:
        return jnp.clip(params["log_std"], *LOG_STD_RANGE)
