"""A ring of rows on the device: what algorithms imagine, to be drawn from later."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.parallel import divided
from dreamer_leq.world_models.interface import State


@struct.dataclass
class Ring:
    """A ring of C states on the device: the newest replace the oldest."""

    states: State  # [C, ...]
    count: Array  # how many are filled
    position: Array  # where the next one goes

    @classmethod
    def empty(cls, example: State, capacity: int) -> "Ring":
        """Room for `capacity` states such as those of `example` [N, ...]."""
        room = lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype)  # noqa: E731
        # each its own buffer: both are donated to the next expansion
        count, position = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return cls(jax.tree.map(room, example), count, position)

    def insert(self, states: State, valid: Array) -> "Ring":
        """Append those of `states` [M, ...] that are `valid` [M], M at most C."""
        capacity = len(jax.tree.leaves(self.states)[0])
        rank = jnp.cumsum(valid) - 1  # among the valid ones
        place = jnp.where(valid, (self.position + rank) % capacity, capacity)
        put = lambda ring, x: ring.at[place].set(x, mode="drop")  # noqa: E731
        new = valid.sum(dtype=jnp.int32)
        return Ring(
            jax.tree.map(put, self.states, states),
            jnp.minimum(self.count + new, capacity),
            (self.position + new) % capacity,
        )

    def sample(self, key: Array, n: int) -> State:
        """n states, uniformly and with replacement: [n, ...]."""
        picks = divided(jax.random.randint(key, (n,), 0, self.count))
        return jax.tree.map(lambda x: x[picks], self.states)
