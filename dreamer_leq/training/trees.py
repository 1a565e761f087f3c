"""Trees of arrays by the names of their leaves: what is stored, what is expected."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.errors import UserError


def named(tree: Any) -> dict[str, Any]:
    """The leaves by their paths: of fields, keys, and positions in tuples and lists,
    such as "params.kernel".
    """
    return {
        ".".join(jax.tree_util.keystr((key,), simple=True) for key in path): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def refuse_other(
    wanted: Mapping[str, str], found: Mapping[str, str], where: str
) -> None:
    """Raises UserError where the leaves that a checkpoint declares are not those that
    are wanted, both as `kinds` gives them. Orbax itself would cut and fill arrays of
    another shape.
    """
    if missing := [path for path in wanted if path not in found]:
        raise mismatch(where, f"lacks {missing[0]}", len(missing))
    if surplus := sorted(found.keys() - wanted.keys()):
        raise mismatch(where, f"has {surplus[0]}, which the model lacks", len(surplus))
    if differing := [path for path in wanted if found[path] != wanted[path]]:
        path = differing[0]
        both = f"{found[path]}, the model {wanted[path]}"
        raise mismatch(where, f"has {path} {both}", len(differing))


def mismatch(where: str, what: str, count: int) -> UserError:
    more = f" ({count - 1} more like it)" if count > 1 else ""
    return UserError(
        f"{where} is of another model: it {what}{more}; "
        "use the configuration it was trained with"
    )


def kinds(tree: Any) -> dict[str, str]:
    """Shape and dtype of each leaf as they are stored: {"params.kernel":
    "float32[3, 4]"}.
    """
    return {name: _kind(leaf) for name, leaf in named(tree).items()}


def _kind(leaf: Any) -> str:
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def placed(array: Any, like: Any) -> jax.Array:
    """The array on the device, or the devices, where `like` is to be.

    Where nobody has chosen one, nor is it chosen here: an array that is bound to a
    device, even the only one, is another type to `jax.jit`, and compiled for again.
    """
    chosen = getattr(like, "committed", True)
    return jax.device_put(array, getattr(like, "sharding", None) if chosen else None)
