"""COMBO: CQL on the dataset and on imagined rows, whose critics are pressed down in the
states of both, and up at the dataset's actions alone (arXiv 2102.08363).
"""

from flax import struct
from jax import Array

from dreamer_leq.algorithms.cql import Conservative
from dreamer_leq.algorithms.mixture import Mixture


@struct.dataclass
class COMBO(Mixture, Conservative):
    """The weight of the conservative term is data: `hyper["weight"]`."""

    def lifted(self, q: Array) -> Array:
        return q[:, : self.real(q.shape[1])]
