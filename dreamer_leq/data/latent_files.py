"""Latents on disk, for datasets whose latents fit into no memory.

They are of one world model. The making of them goes on where it was interrupted, and
those of another world model are removed.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json, write_json
from dreamer_leq.world_models.latent import LatentWorldModel
from vd4rl_loader.row_file import RowFile

Kinds = Mapping[str, tuple[tuple[int, ...], Any]]  # name: shape [N, ...] and dtype

_SECONDS_BETWEEN_RECORDS = 15.0
_SPARE = 1 << 30  # bytes of the disk that are left to others


class LatentFiles:
    """The latents of a dataset's N entries as `<name>.npy` files in a folder.

    Attributes:
      entries: how many are there, from the first one on.
    """

    def __init__(self, folder: Path, kinds: Kinds, key: str) -> None:
        """What `folder` has of the latents that `key` names; else new files."""
        self._folder, self._kinds, self._key = folder, kinds, key
        self.entries = self._found()
        self._recorded = time.monotonic()
        if not self.entries:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, kind in kinds.items():
                RowFile.created(self._path(name), *kind)
        self.rows = {n: RowFile.opened(self._path(n), writable=True) for n in kinds}

    @staticmethod
    def fit(folder: Path, kinds: Kinds) -> bool:
        """Whether the disk of `folder` has room, what is there already left out."""
        there = sum(os.stat(path).st_blocks * 512 for path in folder.glob("*.npy"))
        parent = next(path for path in (folder, *folder.parents) if path.is_dir())
        return size(kinds) - there + _SPARE <= shutil.disk_usage(parent).free

    def record(self, entries: int) -> None:
        """Say, now and then and at the end, that so many are there."""
        ended = entries == len(next(iter(self.rows.values())))
        if ended or time.monotonic() - self._recorded >= _SECONDS_BETWEEN_RECORDS:
            for rows in self.rows.values():  # the record must not be first on the disk
                rows.flush()
            record = {"key": self._key, "entries": int(entries)}
            write_json(self._folder / "encoded.json", record)
            self._recorded = time.monotonic()

    def opened(self) -> dict[str, np.ndarray]:
        """The latents as maps of the files."""
        return {n: np.load(self._path(n), mmap_mode="r") for n in self._kinds}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _found(self) -> int:
        try:
            record = read_json(self._folder / "encoded.json")
            whole = record["key"] == self._key and all(
                (array.shape, array.dtype) == (shape, np.dtype(dtype))
                for name, (shape, dtype) in self._kinds.items()
                for array in [np.load(self._path(name), mmap_mode="r")]
            )
            return int(record["entries"]) if whole else 0
        except (UserError, OSError, ValueError, LookupError, TypeError):
            return 0  # nothing there, or nothing to go on from


def size(kinds: Kinds) -> int:
    """Bytes of all arrays."""
    return sum(
        int(np.prod(shape)) * np.dtype(dtype).itemsize
        for shape, dtype in kinds.values()
    )


def key_of(world_model: LatentWorldModel, key: jax.Array) -> str:
    """Hexadecimal digits that identify a world model and the samples drawn from it."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(world_model.params))
    found = hashlib.sha256(np.asarray(jax.random.key_data(key)).tobytes())
    for path, leaf in leaves:
        leaf = np.ascontiguousarray(leaf)
        found.update(f"{path} {leaf.shape} {leaf.dtype}".encode())
        found.update(leaf.tobytes())
    return found.hexdigest()
