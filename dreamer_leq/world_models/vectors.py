"""State vectors as states: for algorithms that imagine nothing no model is needed, and
models of vectors share how they are read.

Shapes: N states, D numbers of a vector.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

Batch = Mapping[str, Array]
SMALLEST_STD = 1e-3  # added to every standard deviation (TD3+BC's)


class VectorStates:
    """What is observed is the state: raw vectors [N, D].

    A batch for `starts` holds vector [N, D], and its successor next_vector.
    """

    observations = ("vector",)
    feature_size: int  # D

    def starts(self, batch: Batch) -> Array:
        return batch["vector"]

    def successors(self, batch: Batch) -> Array:
        return batch["next_vector"]

    def pack(self, state: Array) -> dict[str, Array]:
        return {"vector": state}

    def decode(self, state: Array) -> dict[str, Array]:
        """The state is what is observed."""
        return {"vector": state}

    def initial(self, n: int) -> Array:
        return jnp.zeros((n, self.feature_size))

    def filter(self, state: Array, batch: Batch, key: Array) -> Array:
        """What is observed is the state."""
        del state, key
        return batch["vector"]


@struct.dataclass
class Vectors(VectorStates):
    """A representation without a model: features are (s - mean) / std."""

    mean: Array  # [D]
    std: Array  # [D]

    members = 0

    @classmethod
    def of(cls, vector: np.ndarray, standardize: bool) -> "Vectors":
        """Of a dataset's states [N, D]; raw where they are not to be standardised."""
        size = vector.shape[1]
        if not standardize:
            return cls(jnp.zeros(size), jnp.ones(size))
        mean, std = (f(vector, 0, dtype=np.float64) for f in (np.mean, np.std))
        return cls(jnp.float32(mean), jnp.float32(std + SMALLEST_STD))

    @property
    def feature_size(self) -> int:
        return self.mean.shape[-1]

    def features(self, state: Array) -> Array:
        return (state - self.mean) / self.std

    def action_features(self, action: Array) -> Array:
        """The action itself."""
        return action
