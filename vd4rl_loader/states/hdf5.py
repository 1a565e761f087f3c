"""Reads arrays of HDF5 files that nobody vouches for, from that file alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from vd4rl_loader.states.columns import Stored, reading
from vd4rl_loader.validation import refuse

_DEFLATE_LIMIT = 1032  # bytes that one compressed byte can become
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading.

    Raises:
      BadFileError: it is no HDF5 file, or damaged.
    """
    with reading(_DAMAGE):
        file = h5py.File(path)
    with file:
        yield file


def has_key(file: h5py.File, name: str) -> bool:
    """Whether the path `name` exists without leaving the file by any link."""
    group = file
    with reading(_DAMAGE, name):
        for part in name.split("/"):
            if not isinstance(group, h5py.Group) or not _is_own(group, part):
                return False
            group = group[part]
    return True


def declared(file: h5py.File) -> dict[str, Stored]:
    """What the arrays of the root group are said to be, nothing of which is read."""
    arrays = {}
    for name in file:
        with reading(_DAMAGE, name):
            if _is_own(file, name) and isinstance(file[name], h5py.Dataset):
                arrays[name] = Stored(file[name].dtype, file[name].shape or ())
    return arrays


def read(file: h5py.File, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads whole arrays, whose layout has been checked.

    Raises:
      BadFileError: an array lies in other files, or is not all there.
    """
    names = list(names)
    refuse([problem for name in names for problem in _storage_problems(file, name)])
    return {name: _read(file, name) for name in names}


def link_problems(file: h5py.File, names: Iterable[str]) -> list[str]:
    """Arrays that are links, which may lead out of the file."""
    return [
        f"{name}: is a link, expected the array itself"
        for name in names
        if file.get(name, getlink=True, default=None) is not None
        and not _is_own(file, name)
    ]


def _is_own(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _storage_problems(file: h5py.File, name: str) -> list[str]:
    dataset = file[name]
    if dataset.is_virtual or dataset.external:
        return [f"{name}: its numbers lie in other files"]
    stored, size = dataset.id.get_storage_size(), dataset.nbytes
    if size > _DEFLATE_LIMIT * stored or (dataset.chunks and _lacks_chunks(dataset)):
        return [f"{name}: declares {size:,} bytes, of which only {stored:,} are stored"]
    return []


def _lacks_chunks(dataset: h5py.Dataset) -> bool:
    chunks = 1
    for length, chunk in zip(dataset.shape, dataset.chunks, strict=True):
        chunks *= -(-length // chunk)
    return dataset.id.get_num_chunks() < chunks


def _read(file: h5py.File, name: str) -> np.ndarray:
    with reading(_DAMAGE, name):
        return file[name][()]
