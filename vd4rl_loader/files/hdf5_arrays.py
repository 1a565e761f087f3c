"""Reads arrays of HDF5 files that nobody vouches for, from that file alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from vd4rl_loader.files.untrusted import Stored, reading, refuse_no_file, refuse_size
from vd4rl_loader.files.validation import refuse

_DEFLATE_LIMIT = 1032  # bytes that one compressed byte can become
_DAMAGE = (
    *(OSError, RuntimeError, ValueError, KeyError, TypeError),
    *(ArithmeticError, AttributeError, IndexError, NotImplementedError),
)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading.

    Raises:
      BadFileError: it is no HDF5 file, or damaged.
    """
    with reading(_DAMAGE):
        refuse_no_file(path)
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
    """What the arrays of the root group are said to be, nothing of which is read.

    Raises:
      BadFileError: a header is damaged.
    """
    with reading(_DAMAGE):
        names = list(file)
    arrays = {}
    for name in names:
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
    refuse_storage(file, names)
    return {name: read_rows(file, name) for name in names}


def read_rows(
    file: h5py.File, name: str, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Reads some rows of an array, which `refuse_storage` has not refused.

    Raises:
      BadFileError: they are damaged.
    """
    with reading(_DAMAGE, name):
        return file[name][start:stop]


def chunk_rows(file: h5py.File, name: str) -> int:
    """Rows that can't be read but together."""
    chunks = file[name].chunks
    return chunks[0] if chunks else 1


def refuse_links(file: h5py.File, names: Iterable[str]) -> None:
    """Refuses arrays that are links, which may lead out of the file.

    Raises:
      BadFileError: naming all of them.
    """
    refuse(
        [
            f"{name}: is a link, expected the array itself"
            for name in names
            if has_link(file, name) and not _is_own(file, name)
        ]
    )


def has_link(file: h5py.File, name: str) -> bool:
    """Whether the root group has something of this name, wherever that leads."""
    with reading(_DAMAGE, name):
        return file.get(name, getlink=True, default=None) is not None


def refuse_storage(file: h5py.File, names: Iterable[str]) -> None:
    """Refuses arrays in other files, and those that are not all there.

    Raises:
      BadFileError: with all problems.
    """
    problems = []
    for name in names:
        with reading(_DAMAGE, name):
            problems += _storage_problems(file, name)
    refuse(problems)


def _is_own(group: h5py.Group, name: str) -> bool:
    with reading(_DAMAGE, name):
        return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _storage_problems(file: h5py.File, name: str) -> list[str]:
    dataset = file[name]
    if dataset.is_virtual or dataset.external:
        return [f"{name}: its numbers lie in other files"]
    stored = min(dataset.id.get_storage_size(), Path(file.filename).stat().st_size)
    size = dataset.nbytes
    if size > _DEFLATE_LIMIT * stored or (dataset.chunks and _lacks_chunks(dataset)):
        return [f"{name}: declares {size:,} bytes, of which only {stored:,} are stored"]
    if dataset.chunks:  # they are read as a whole, and may be larger than the array
        refuse_size([Stored(dataset.dtype, dataset.chunks)])
    return []


def _lacks_chunks(dataset: h5py.Dataset) -> bool:
    pairs = zip(dataset.shape, dataset.chunks, strict=True)
    chunks = math.prod(-(-length // chunk) for length, chunk in pairs)
    return dataset.id.get_num_chunks() < chunks
