"""The imagined rollout: what a world model expects, step by step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.world_models.interface import State, WorldModel

Policy = Callable[[Array, Array], Array]  # features [N, F], key -> actions [N, A]


@struct.dataclass
class Trajectory:
    """H imagined steps from each of N states. Step t leads from state t to t + 1; what
    comes after an end is still predicted, and means nothing: see `alive`.
    """

    state: State  # [H+1, N, ...], first those that were given
    features: Array  # [H+1, N, F]
    action: Array  # [H, N, A]
    reward: Array  # [H, N] of step t, as the policy's learner sees it
    cont: Array  # [H, N] 1 - termination of step t, without the discount

    @property
    def alive(self) -> Array:
        """Probability that it has not ended before t: [H+1, N], 1 at t = 0."""
        first = jnp.ones_like(self.cont[:1])
        return jnp.concatenate([first, jnp.cumprod(self.cont, 0)])


def imagine(
    world: WorldModel,
    policy: Policy | Array,
    start: State,
    key: Array,
    horizon: int,
    *,
    member: int | Array | None = None,
) -> Trajectory:
    """Trajectories of `horizon` steps from the states `start` [N].

    Args:
      policy: chooses the actions; or they are given, [H, N, A].
      member: the ensemble member that takes all steps; with None one is drawn per
        sample and step, as policies are trained.
    """
    given = None if callable(policy) else policy
    n = len(jax.tree.leaves(start)[0])

    def step(state: State, xs: tuple[Array | None, Array]) -> tuple[State, tuple]:
        action, key = xs
        policy_key, model_key = jax.random.split(key)
        features = world.features(state)
        if action is None:
            action = policy(features, policy_key)
        noise = world.noise(model_key, n)
        if member is None:
            after, reward, cont = world.step(state, action, noise)
        else:
            after, reward, cont = world.member_step(state, action, noise, member)
        return after, (state, features, action, reward, cont)

    keys = jax.random.split(key, horizon)
    last, (states, features, *rest) = jax.lax.scan(step, start, (given, keys))
    ends = last, world.features(last)
    append = lambda x, end: jnp.concatenate([x, end[None]])  # noqa: E731
    return Trajectory(*jax.tree.map(append, (states, features), ends), *rest)
