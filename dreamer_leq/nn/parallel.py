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


def divided(tree: Any, axis: int = 0, padded: bool = False) -> Any:
    """`tree` with `axis` of its arrays in equal parts on the devices.

    Arrays without such an axis, and those whose axis has no equal parts, stay as they
    are; with `padded` the last part may be smaller.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tree
    parts, spec = mesh.shape[DATA], PartitionSpec(*[None] * axis, DATA)

    def one(x: jax.Array) -> jax.Array:
        if x.ndim <= axis or (x.shape[axis] % parts and not padded):
            return x
        return jax.lax.with_sharding_constraint(x, spec)

    return jax.tree.map(one, tree)


def everywhere(tree: Any) -> Any:
    """`tree` with its arrays whole on every device."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())
