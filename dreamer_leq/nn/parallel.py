"""How arrays lie over the devices of a mesh, said inside the programs that it runs.

A mesh has an axis "data", over which batches are divided; what is not divided lies
whole on every device. XLA divides the work accordingly, and puts sums over a batch
together. Random numbers are those of one device: JAX draws them by their place in the
whole array. Without a mesh in use all of this is the identity.
"""

from typing import Any

import jax
from jax.sharding import PartitionSpec

DATA = "data"


def divided(tree: Any, axis: int = 0) -> Any:
    """`tree` with `axis` of its arrays in equal parts on the devices; an array that has
    no such axis stays as it is.
    """
    spec = PartitionSpec(*[None] * axis, DATA)
    return jax.tree.map(lambda x: _laid(x, spec) if x.ndim > axis else x, tree)


def everywhere(tree: Any) -> Any:
    """`tree` with its arrays whole on every device."""
    return jax.tree.map(lambda x: _laid(x, PartitionSpec()), tree)


def _laid(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec)
