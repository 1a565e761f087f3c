"""Which member of an ensemble imagines which sample."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.parallel import divided, everywhere


@struct.dataclass
class Deal:
    """N samples dealt to E members in equal shares, in random order.

    Each member runs once, on its share, so that a step costs as much as that of a
    single model. Every sample's member is uniform; only that shares are equal ties
    them to each other.
    """

    order: Array  # which sample lies in each slot [E * share]; N and above: none
    slot: Array  # where each sample lies [N]
    members: int = struct.field(pytree_node=False)

    @classmethod
    def random(cls, key: Array, n: int, members: int) -> "Deal":
        share = -(-n // members)
        order = everywhere(jax.random.permutation(key, share * members))
        return cls(order, everywhere(jnp.argsort(order)[:n]), members)

    def out(self, x: Array) -> Array:
        """The samples as the members get them: [N, I] -> [E, share, I]."""
        source = jnp.minimum(self.order, len(x) - 1)  # surplus slots idle
        # over several devices any row may go to any of them
        dealt = everywhere(x)[source].reshape(self.members, -1, x.shape[-1])
        return divided(dealt, axis=1, padded=True)

    def back(self, x: Array) -> Array:
        """The members' outputs by sample: [E, share, ...] -> [N, ...]."""
        return x.reshape(-1, *x.shape[2:])[self.slot]
