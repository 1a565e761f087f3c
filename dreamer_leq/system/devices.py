"""The devices of a run: one, or a mesh of them.

What a phase trains and the data that it reads lie whole on every device of the mesh,
and each device works at its part of every batch (nn.parallel). Between the phases
everything lies on one device, as without a mesh.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dreamer_leq.nn.parallel import DATA
from dreamer_leq.system.errors import UserError

# Extras of JAX's own package by platform.
_INSTALLED_BY = {
    "cuda": "cuda13",
    "gpu": "cuda13",
    "rocm": "rocm7-local",
    "tpu": "tpu",
}


@dataclass(frozen=True)
class Devices:
    """`mesh` may span several processes; with None there is one device."""

    mesh: Mesh | None = None

    @classmethod
    def of(cls, axes: Mapping[str, int]) -> "Devices":
        """Devices for a configuration's `mesh_axes`.

        Raises UserError where there are too few, where a process would have none, and
        where JAX lacks what JAX_PLATFORMS asks for.
        """
        found = present()
        if not axes:
            return cls()
        n = axes[DATA]
        if n > len(found):
            raise UserError(
                f"mesh: data={n} needs {n} devices, there are {len(found)}"
                " (docs/performance.md says how several processes put theirs together)"
            )
        if jax.process_count() > 1 and n < len(found):
            raise UserError(
                f"mesh: data={n} leaves devices out, which several processes can't; "
                f"say data={len(found)}"
            )
        auto = (AxisType.Auto,) * len(axes)
        return cls(Mesh(np.array(found[:n]), tuple(axes), axis_types=auto))

    @property
    def count(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    def __str__(self) -> str:
        device = present()[0]
        text = f"{self.count} x {device.device_kind} ({device.platform})"
        several = jax.process_count() > 1
        return text + (f", in {jax.process_count()} processes" if several else "")

    def in_use(self) -> contextlib.AbstractContextManager:
        """In it, programs divide their batches as nn.parallel says."""
        if self.mesh is None:
            return contextlib.nullcontext()
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    def replicate(self, tree: Any) -> Any:
        """The arrays, which every process has to have, whole on every device."""
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        return jax.tree.map(self._replicated, tree)

    def divide(self, tree: Any, axis: int) -> Any:
        """Arrays of which each process has its part (see `rows`), along `axis`, with
        that part divided over its devices.
        """
        if self.mesh is None:
            return jax.device_put(tree)
        parts = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, DATA))

        def divided(x: np.ndarray) -> jax.Array:
            shape = list(x.shape)
            shape[axis] *= jax.process_count()
            return jax.make_array_from_process_local_data(parts, x, tuple(shape))

        return jax.tree.map(divided, tree)

    def rows(self, batch: int) -> slice:
        """Which rows of a batch this process has to read.

        Raises UserError where the batch can't be divided.
        """
        if batch % self.count:
            raise UserError(
                f"mesh: batches of {batch} can't be divided over {self.count} devices"
            )
        if self.mesh is None:
            return slice(batch)
        part = batch // jax.process_count()
        return slice(part * jax.process_index(), part * (jax.process_index() + 1))

    def local(self, tree: Any) -> Any:
        """What lies whole on every device, on this process's default device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(jnp.asarray, jax.device_get(tree))

    def _replicated(self, x: Any) -> jax.Array:
        whole = NamedSharding(self.mesh, PartitionSpec())
        if getattr(x, "sharding", None) == whole:
            return x
        if jax.process_count() == 1:
            return jax.device_put(x, whole)
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, whole, lambda index: x[index])


def present() -> list[jax.Device]:
    """All devices. Raises UserError where JAX lacks what JAX_PLATFORMS asks for."""
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS")
        if not asked:
            raise
        # JAX asserts, or says in pages, what it lacks
        extra = _INSTALLED_BY.get(asked.partition(",")[0])
        install = f"pip install -U 'jax[{extra}]', or " if extra else ""
        raise UserError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device here: {install}unset "
            "JAX_PLATFORMS to take what there is"
        ) from error


ONE_DEVICE = Devices()
