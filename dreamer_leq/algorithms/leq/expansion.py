"""D_model: the dataset's states and those that noisy rollouts lead to (sec. 4.4)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.algorithms.replay import Ring
from dreamer_leq.nn.parallel import divided
from dreamer_leq.world_models.interface import State, WorldModel


def expand(
    data: Ring,
    world_model: WorldModel,
    actor: Callable[[Array], Array],
    start: State,
    key: Array,
    *,
    length: int,
    noise: float,
) -> Ring:
    """Roll out tanh(actor + noise·ε) for `length` steps from `start` [N]; keep the
    states in which an action was taken.

    actor(features) is the action before tanh, to which the noise is added. A rollout
    that has terminated is not continued: what comes after its end is not kept.
    """

    n = len(jax.tree.leaves(start)[0])

    def step(carry, key):
        state, alive = carry
        noise_key, model_key, end_key = jax.random.split(key, 3)
        pre_tanh = actor(world_model.features(state))
        pre_tanh = pre_tanh + noise * jax.random.normal(noise_key, pre_tanh.shape)
        draws = world_model.noise(model_key, n)
        successor, _, cont = world_model.step(state, jnp.tanh(pre_tanh), draws)
        goes_on = alive & (jax.random.uniform(end_key, cont.shape) < cont)
        return (successor, goes_on), (state, alive)

    first = divided((start, jnp.ones(n, bool)))
    _, (states, alive) = jax.lax.scan(step, first, jax.random.split(key, length))
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    return data.insert(jax.tree.map(flat, states), flat(alive))
