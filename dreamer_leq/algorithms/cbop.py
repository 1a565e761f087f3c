"""CBOP: EDAC whose targets expand the value by the world model, step for step as far as
its members and the critics agree, and are lowered by what they leave open
(arXiv 2210.03802).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.edac import EDAC
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.world_models.interface import State

SMALLEST_VARIANCE = 1e-5  # of the returns of one horizon


@struct.dataclass
class CBOP(EDAC):
    """The weight ψ of the posterior's deviation is data: `hyper["psi"]`."""

    def target(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Array, Metrics]:
        """r + γ (1 - termination) (μ - ψ σ - α log π(a'|s')), μ and σ being those of
        the value's posterior in s': [N].
        """
        returns, valid, log_prob = self.returns(
            state, self.world.successors(batch), key
        )
        mean, std = posterior(returns, valid)
        value = mean - state.hyper["psi"] * std - self.alpha(state.params) * log_prob
        return self.bellman_target(batch, value), {"value_std": std.mean()}

    def returns(
        self, state: TrainState, start: State, key: Array
    ) -> tuple[Array, Array, Array]:
        """Σ_{t<h} γ^t r_t + γ^h Q̄_m(s_h, a_h) for h = 0 … H of every critic m in the
        imagination of every member k, [H + 1, M, K, N]; whether none has ended before
        h, [H + 1, N]; and log π of the first action, [N].
        """
        k, n = self.world.members, len(jax.tree.leaves(start)[0])
        sample, actor = self.nets.policy.sample, state.params["actor"]
        first_key, roll_key = jax.random.split(key)
        action, log_prob = sample(actor, self.world.features(start), first_key)
        each = lambda x: jnp.broadcast_to(x, (k, *x.shape))  # noqa: E731
        particles = jax.tree.map(each, (start, action))
        step = jax.vmap(self.world.member_step)

        def values(now: State, action: Array) -> Array:
            rows = self.world.features(now).reshape(k * n, -1)
            seen = self.world.action_features(action).reshape(k * n, -1)
            q = self.nets.critics.q(state.target["critic"], rows, seen)
            return q.reshape(-1, k, n)

        def advance(carry: tuple, x: tuple) -> tuple:
            (now, action), gained, alive = carry
            h, key = x
            noise_key, action_key = jax.random.split(key)
            noise = jax.vmap(self.world.noise, (0, None))(
                jax.random.split(noise_key, k), n
            )
            now, reward, cont = step(now, action, noise, jnp.arange(k))
            gained = gained + self.gamma**h * reward
            action, _ = sample(actor, self.world.features(now), action_key)
            alive = alive & (cont > 0.5).all(0)
            found = gained + self.gamma ** (h + 1) * values(now, action), alive
            return ((now, action), gained, alive), found

        steps = self.config.horizon
        begin = particles, jnp.zeros((k, n)), jnp.ones(n, bool)
        xs = jnp.arange(steps), jax.random.split(roll_key, steps)
        _, (later, alive) = jax.lax.scan(advance, begin, xs)
        now = values(*particles)
        joined = jnp.concatenate([now[None], later])
        return joined, jnp.concatenate([jnp.ones((1, n), bool), alive]), log_prob


def posterior(returns: Array, valid: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the value, [N] both, each horizon's returns
    [H + 1, M, K, N] being measurements of it as precise as they agree; those that are
    not `valid` [H + 1, N] count for nothing.
    """
    flat = returns.reshape(len(returns), -1, returns.shape[-1])
    flat = jnp.where(valid[:, None], flat, 0.0)  # 0 · ∞ is no 0
    variance = jnp.maximum(flat.var(1, ddof=1), SMALLEST_VARIANCE)
    precision = valid / variance
    total = precision.sum(0)
    return (precision * flat.mean(1)).sum(0) / total, total**-0.5
