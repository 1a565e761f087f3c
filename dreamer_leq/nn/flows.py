"""Flow matching: actions of any distribution as what a velocity field makes of normal
noise (arXiv 2210.02747), and a network that makes them in one step.

Shapes: features [..., F], actions and noise [..., A], times [..., 1], 0 that of noise.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.policies import Params, Policy


@dataclass(frozen=True)
class VelocityField(Policy):
    """v(s, x, t), by which noise moves to become an action: dx/dt = v."""

    def init(self, key: Array, features: int) -> Params:
        beside = jnp.zeros((1, self.action_size + 1))
        return self._net.init(key, jnp.zeros((1, features)), beside)["params"]

    def velocity(self, params: Params, features: Array, x: Array, t: Array) -> Array:
        """[..., F], [..., A], [..., 1] -> [..., A]."""
        beside = jnp.concatenate([x, t], -1)
        return self._net.apply({"params": params}, features, beside)

    def loss(self, params: Params, features: Array, action: Array, key: Array) -> Array:
        """|v(s, x, t) - (a - z)|² at x = (1 - t) z + t a with random t, between noise z
        and the data's action a; a mean over numbers of the action: [...].
        """
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, action.shape, action.dtype)
        t = jax.random.uniform(time_key, (*action.shape[:-1], 1), action.dtype)
        x = (1 - t) * noise + t * action
        error = self.velocity(params, features, x, t) - (action - noise)
        return jnp.square(error).mean(-1)

    def action(
        self, params: Params, features: Array, noise: Array, steps: int
    ) -> Array:
        """What noise becomes in so many steps of Euler's, in [-1, 1]: [..., A]."""
        x = noise
        for i in range(steps):
            t = jnp.full_like(x[..., :1], i / steps)
            x = x + self.velocity(params, features, x, t) / steps
        return jnp.clip(x, -1, 1)


@dataclass(frozen=True)
class NoisePolicy(Policy):
    """π(s, z), an action for each noise z in a single step."""

    @property
    def flow(self) -> VelocityField:
        """A velocity field of the same size."""
        return VelocityField(self.config, self.action_size, self.dtype, self.projection)

    def init(self, key: Array, features: int) -> Params:
        beside = jnp.zeros((1, self.action_size))
        return self._net.init(key, jnp.zeros((1, features)), beside)["params"]

    def out(self, params: Params, features: Array, noise: Array) -> Array:
        """The action before it is cut off at ±1: [..., F], [..., A] -> [..., A]."""
        return self._net.apply({"params": params}, features, noise)

    def distilled(
        self, params: Params, flow: Params, features: Array, noise: Array, steps: int
    ) -> tuple[Array, Array]:
        """π(s, z) as `out` has it, [..., A], and the mean square of its distance from
        what the flow makes of the same noise, which is constant.
        """
        action = self.out(params, features, noise)
        cloned = jax.lax.stop_gradient(self.flow.action(flow, features, noise, steps))
        return action, jnp.square(action - cloned).mean()

    def mode(self, params: Params, features: Array) -> Array:
        """The action for no noise."""
        noise = jnp.zeros((*features.shape[:-1], self.action_size), features.dtype)
        return jnp.clip(self.out(params, features, noise), -1, 1)

    def sample(
        self, params: Params, features: Array, key: Array, count: int | None = None
    ) -> Array:
        """An action in [-1, 1], [..., A]; `count` of them, [count, ..., A]."""
        noise = self.noise(features, key, count)
        return jnp.clip(self.out(params, features, noise), -1, 1)

    def noise(self, features: Array, key: Array, count: int | None = None) -> Array:
        """Of so many actions in each state, as `sample` has them."""
        lead = () if count is None else (count,)
        shape = (*lead, *features.shape[:-1], self.action_size)
        return jax.random.normal(key, shape, features.dtype)
