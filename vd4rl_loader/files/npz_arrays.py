"""Reads arrays of .npz files that nobody vouches for, without unpickling anything."""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from vd4rl_loader.files.untrusted import Stored, reading, refuse_no_file
from vd4rl_loader.files.validation import BadFileError, refuse

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    ArithmeticError,
    RuntimeError,  # of encrypted members and unknown compression
    SyntaxError,  # of headers, as are the next ones
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_HEADER_LIMIT = 1 << 14  # bytes, more than NumPy accepts
# NumPy's own. What the others may ask of the memory is not in their size.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a file for reading.

    Raises:
      BadFileError: it is no .npz file, or damaged.
    """
    with reading(_DAMAGE):
        refuse_no_file(path)
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


def names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays."""
    members = (info.filename for info in archive.infolist())
    return [name.removesuffix(".npy") for name in members if name.endswith(".npy")]


def declared(archive: zipfile.ZipFile, wanted: Iterable[str]) -> dict[str, Stored]:
    """What the headers say of arrays; others get a header of no account.

    Raises:
      BadFileError: a header is damaged, or declares more than its member holds.
    """
    arrays = dict.fromkeys(names(archive), Stored(np.dtype(bool), ()))
    problems = []
    for name in arrays.keys() & set(wanted):
        arrays[name], there = _header(archive, name)
        size = arrays[name].nbytes
        if size != there and not arrays[name].dtype.hasobject:
            problems.append(
                f"{name}: declares {size:,} bytes, its member has {there:,}"
            )
    refuse(sorted(problems))
    return arrays


def read(archive: zipfile.ZipFile, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads whole arrays, whose layout has been checked."""
    return {name: _read(archive, name) for name in wanted}


def _header(archive: zipfile.ZipFile, name: str) -> tuple[Stored, int]:
    """The declared array, and how many bytes its member has for its numbers."""
    with reading(_DAMAGE, name), _member(archive, name) as file:
        # A header may declare a length of gigabytes, which NumPy reads before it looks.
        start = io.BytesIO(file.read(_HEADER_LIMIT))
        version = np.lib.format.read_magic(start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 has written
            shape, _, dtype = _HEADERS[version](start)
        if min(shape, default=0) < 0:
            raise ValueError(f"its shape is {shape}")
        size = archive.getinfo(f"{name}.npy").file_size - start.tell()
    return Stored(dtype, shape), size


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with (
        reading(_DAMAGE, name),
        _member(archive, name) as file,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return np.lib.format.read_array(file)  # which unpickles nothing


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in _METHODS:
        raise BadFileError(f"{name}: is compressed in another way than NumPy does it")
    return archive.open(member)
