"""D_model: the dataset's states and those that noisy rollouts lead to (sec. 4.4)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.parallel import divided
from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class ExpandedData:
    """A ring of C states on the device: the newest replace the oldest."""

    states: State  # [C, ...]
    count: Array  # how many are filled
    position: Array  # where the next one goes

    @classmethod
    def empty(cls, example: State, capacity: int) -> "ExpandedData":
        """Room for `capacity` states such as those of `example` [N, ...]."""
        room = lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype)  # noqa: E731
        # each its own buffer: both are donated to the next expansion
        count, position = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return cls(jax.tree.map(room, example), count, position)

    def insert(self, states: State, valid: Array) -> "ExpandedData":
        """Append those of `states` [M, ...] that are `valid` [M], M at most C."""
        capacity = len(jax.tree.leaves(self.states)[0])
        rank = jnp.cumsum(valid) - 1  # among the valid ones
        place = jnp.where(valid, (self.position + rank) % capacity, capacity)
        put = lambda ring, x: ring.at[place].set(x, mode="drop")  # noqa: E731
        new = valid.sum(dtype=jnp.int32)
        return ExpandedData(
            jax.tree.map(put, self.states, states),
            jnp.minimum(self.count + new, capacity),
            (self.position + new) % capacity,
        )

    def sample(self, key: Array, n: int) -> State:
        """n states, uniformly and with replacement: [n, ...]."""
        picks = divided(jax.random.randint(key, (n,), 0, self.count))
        return jax.tree.map(lambda x: x[picks], self.states)


def expand(
    data: ExpandedData,
    world_model: WorldModel,
    actor: Callable[[Array], Array],
    start: State,
    key: Array,
    *,
    length: int,
    noise: float,
) -> ExpandedData:
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
