"""What TD3's descendants share: a noisy target action, and a policy that learns more
rarely than its critics (arXiv 1802.09477).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.algorithms.learner import TrainState


def smoothed(action: Array, key: Array, noise: float, clip: float) -> Array:
    """The action [..., A] with normal noise of standard deviation `noise`, cut off at
    ±clip, in [-1, 1].
    """
    drawn = noise * jax.random.normal(key, action.shape, action.dtype)
    return jnp.clip(action + jnp.clip(drawn, -clip, clip), -1, 1)


def size(q: Array) -> Array:
    """mean |Q|, by which a policy's loss is divided; not 0 where all Q are."""
    return jnp.maximum(jnp.abs(q).mean(), 1e-6)


def delayed(old: TrainState, new: TrainState, every: int) -> TrainState:
    """`new`, of whose updates only every `every`-th counts for the policy, its
    optimiser and all moving averages; in between they stay as in `old`.
    """
    due = new.step % every == 0
    choose = partial(jax.tree.map, lambda x, y: jnp.where(due, x, y))

    def policy(new: dict, old: dict) -> dict:
        return new | {"actor": choose(new["actor"], old["actor"])}

    return new.replace(
        params=policy(new.params, old.params),
        opt_state=policy(new.opt_state, old.opt_state),
        target=choose(new.target, old.target),
    )
