"""Reads files that nobody vouches for: vetted first, nothing unpickled or followed.

What a file declares is looked at before any of its numbers are read: kinds and shapes,
sizes beyond the memory, links out of the file, arrays that are not all there.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import resource
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.validation import BadFileError, refuse

if TYPE_CHECKING:
    import h5py

# Reading holds the stored array, its float32 copy and the episodes' arrays at once.
_COPIES = 3
_DEFLATE_LIMIT = 1032  # bytes that one compressed byte can become
# What libraries raise that read damaged files; Python of damaged NumPy headers.
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, ArithmeticError),
    *(RuntimeError, AttributeError, IndexError, AssertionError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_HEADER_LIMIT = 1 << 14  # bytes, more than NumPy accepts
# NumPy's own. What the others may ask of the memory is not in their size.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK"  # first bytes of the files
_OTHERS = {  # first bytes of what stands in a file's place, and what to do
    b"version https://git-lfs": "is a Git LFS pointer, not the data: run git lfs pull "
    "in its repository",
    b"../": "is a git-annex pointer, not the data: run git annex get in its repository",
    b"/annex/": "is a git-annex pointer, not the data: run git annex get in its "
    "repository",
    b"<": "is a web page, not the data: download it again",
    b"{": "is JSON, not the data: download it again",
    b"\x1f\x8b": "is compressed by gzip: gunzip it",
    b"\x93NUMPY": "is a single array (.npy), not an .npz",
    b"\x80": "is a pickle, which may run code: it is never read; save its arrays with "
    "numpy.savez",
}
_NEWEST_HDF5 = b"\3"  # version of a file's superblock


class Stored(NamedTuple):
    """An array as a file declares it: nothing of its content has been read."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the array in memory; Python's integers do not overflow."""
        count = 1
        for length in self.shape:
            count *= int(length)
        return count * self.dtype.itemsize


def refuse_size(arrays: Iterable[Stored]) -> None:
    """Refuses what the memory cannot hold.

    Raises:
      BadFileError: it needs more.
    """
    needed, there = _COPIES * sum(array.nbytes for array in arrays), _memory()
    if needed > there:
        raise BadFileError(
            f"reading it needs {needed / 1e9:,.1f} GB of memory, this machine has "
            f"{there / 1e9:,.1f} GB"
        )


def _memory() -> int:
    """Bytes of the machine, or of what it allows its containers and processes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(limits if soft == resource.RLIM_INFINITY else [*limits, soft])


def refuse_no_file(path: Path) -> None:
    """Refuses folders, FIFOs, devices and links to nothing, which may block a reader.

    Raises:
      BadFileError: it is not a file.
    """
    if not path.is_file():
        raise BadFileError("is not a file: remove it, or give it another name")


def opened(path: Path) -> contextlib.AbstractContextManager[NpzFile | Hdf5File]:
    """Opens a file of either kind by its first bytes.

    Raises:
      BadFileError: it is of neither kind.
    """
    start = _first_bytes(path)
    if start.startswith(_HDF5):
        return Hdf5File.opened(path)
    if start.startswith(_ZIP):
        return NpzFile.opened(path)
    raise BadFileError("neither a HDF5 file nor a .npz file")


def _first_bytes(path: Path) -> bytes:
    """The first bytes of a file, if they may be those of data.

    Raises:
      BadFileError: they are of something else: says what, and what to do.
    """
    with reading():
        refuse_no_file(path)
        with path.open("rb") as stream:
            start = stream.read(64)
    if not start:
        raise BadFileError("is empty: download it again, or write it again")
    for first, meaning in _OTHERS.items():
        if start.startswith(first):
            raise BadFileError(meaning)
    if not start.strip(b"\0"):
        raise BadFileError("holds zeros: its download or copy broke off, repeat it")
    return start


@contextlib.contextmanager
def reading(field: str | None = None) -> Iterator[None]:
    """Says of errors in its block, which reads a file or a field, what they mean.

    Args:
      field: the array that is read, if it is one.

    Raises:
      BadFileError: the block raised one of DAMAGE, or there was no memory.
    """
    where = f"{field}: " if field else ""
    try:
        yield
    except BadFileError:
        raise
    except MemoryError as error:
        raise BadFileError(f"{where}does not fit into the memory") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFileError(
            f"{where}cannot be read, truncated or damaged ({reason})"
        ) from error


def read_json(path: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
      DataError: it is no file, cannot be read, or is not JSON.
    """
    if not path.is_file():
        raise DataError(f"{path}: is not a file: remove it")
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


class NpzFile:
    """A .npz file, opened for reading."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[NpzFile]:
        """Opens the file.

        Raises:
          BadFileError: it is no .npz file, or damaged.
        """
        if _first_bytes(path).startswith(_HDF5):
            raise BadFileError("is an HDF5 file: give it the suffix .hdf5")
        with reading():
            archive = zipfile.ZipFile(path)
        with archive:
            yield cls(archive)

    def names(self) -> list[str]:
        """Names of the arrays."""
        members = (info.filename for info in self._archive.infolist())
        return [name.removesuffix(".npy") for name in members if name.endswith(".npy")]

    def has(self, name: str) -> bool:
        """Whether there is such an array."""
        return name in self.names()

    def declared(self, wanted: Iterable[str]) -> dict[str, Stored]:
        """All arrays as the headers declare them; only those of `wanted` are looked at.

        Raises:
          BadFileError: a header is damaged, or declares more than its member holds.
        """
        arrays = dict.fromkeys(self.names(), Stored(np.dtype(bool), ()))
        problems = []
        for name in arrays.keys() & set(wanted):
            arrays[name], there = self._header(name)
            size = arrays[name].nbytes
            if size != there and not arrays[name].dtype.hasobject:
                problems.append(
                    f"{name}: declares {size:,} bytes, its member has {there:,}"
                )
        refuse(sorted(problems))
        return arrays

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads whole arrays, whose layout has been checked.

        Raises:
          BadFileError: an array is damaged.
        """
        return {name: self._read(name) for name in names}

    def pieces(self, name: str, lengths: Iterable[int]) -> Iterator[np.ndarray]:
        """Yields the next so many rows of an array, whose layout has been checked,
        without holding the others.

        Raises:
          BadFileError: the array is damaged, or lies in Fortran's order.
        """
        (dtype, shape), size = self._header(name)
        begin = self._archive.getinfo(f"{name}.npy").file_size - size
        with reading(name), self._member(name) as file:
            if b"'fortran_order': True" in file.read(begin):
                raise BadFileError(f"{name}: save it in C's order (ascontiguousarray)")
            row = dtype.itemsize * math.prod(shape[1:])
            for length in lengths:
                data = file.read(length * row)
                if len(data) < length * row:
                    raise EOFError("it ends too early")
                yield np.frombuffer(data, dtype).reshape(length, *shape[1:])

    def _header(self, name: str) -> tuple[Stored, int]:
        """The declared array, and how many bytes its member has for its numbers."""
        with reading(name), self._member(name) as file:
            # A header may declare gigabytes of itself: NumPy reads before it looks.
            start = io.BytesIO(file.read(_HEADER_LIMIT))
            version = np.lib.format.read_magic(start)
            if version not in _HEADERS:
                raise BadFileError(
                    f"{name}: is of .npy version {version[0]}.{version[1]}, which only "
                    "structured arrays have: save plain arrays"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that Python 2 has written
                shape, _, dtype = _HEADERS[version](start)
            if min(shape, default=0) < 0:
                raise ValueError(f"its shape is {shape}")
            size = self._archive.getinfo(f"{name}.npy").file_size - start.tell()
        return Stored(dtype, shape), size

    def _read(self, name: str) -> np.ndarray:
        with reading(name), self._member(name) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.lib.format.read_array(file)  # which unpickles nothing

    def _member(self, name: str) -> IO[bytes]:
        member = self._archive.getinfo(f"{name}.npy")
        if member.compress_type not in _METHODS:
            raise BadFileError(
                f"{name}: is compressed in another way than NumPy does it"
            )
        return self._archive.open(member)


class Hdf5File:
    """An HDF5 file, opened for reading. Nothing is read from any other file."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[Hdf5File]:
        """Opens the file.

        Raises:
          BadFileError: it is no HDF5 file, or damaged.
        """
        import h5py  # here, so that environment workers do not import it

        start = _first_bytes(path)
        if start.startswith(_ZIP):
            raise BadFileError("is a .npz file: give it the suffix .npz")
        if start.startswith(_HDF5) and start[8:9] > _NEWEST_HDF5:
            raise BadFileError("is of a newer HDF5 version: pip install -U h5py")
        with reading():
            try:
                file = h5py.File(path)
            except BlockingIOError as error:
                raise BadFileError(
                    "is open in another program that writes it: close that, or set "
                    "HDF5_USE_FILE_LOCKING=FALSE"
                ) from error
        with file:
            yield cls(file)

    def names(self) -> list[str]:
        """Names of all that the root group holds."""
        with reading():
            return list(self._file)

    def has(self, path: str) -> bool:
        """Whether there is such a path, which leaves the file by no link."""
        group: Any = self._file
        for part in path.split("/"):
            group = _own(group, part) if hasattr(group, "keys") else None
        return group is not None

    def group(self, name: str) -> Hdf5File:
        """One of its groups, read in the same way.

        Raises:
          BadFileError: there is no such group, or it is a link.
        """
        group = _own(self._file, name)
        if not hasattr(group, "keys"):
            raise BadFileError(f"{name}: missing, expected a group")
        return Hdf5File(group)

    def attribute(self, name: str) -> Any:
        """A number or text that the group says of itself; None where it doesn't."""
        with reading(name):
            return self._file.attrs.get(name)

    def declared(self, wanted: Iterable[str]) -> dict[str, Stored]:
        """Arrays of the root group as they are declared.

        Raises:
          BadFileError: one of `wanted` is a link, or a header is damaged.
        """
        own = {name: _own(self._file, name) for name in self.names()}
        arrays = {}
        linked = [name for name in wanted if name in own and own[name] is None]
        refuse([f"{name}: is a link, expected the array itself" for name in linked])
        for name, array in own.items():
            with reading(name):
                if hasattr(array, "shape"):
                    arrays[name] = Stored(array.dtype, array.shape or ())
        return arrays

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads whole arrays, whose layout has been checked.

        Raises:
          BadFileError: an array lies in other files, or is not all there.
        """
        names = list(names)
        self.refuse_storage(names)
        return {name: self.read_rows(name) for name in names}

    def refuse_storage(self, names: Iterable[str]) -> None:
        """Refuses arrays in other files, and those that are not all there.

        Raises:
          BadFileError: with all problems.
        """
        problems = []
        for name in names:
            with reading(name):
                problems += _storage_problems(self._file, name)
        refuse(problems)

    def read_rows(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> np.ndarray:
        """Reads some rows of an array, which `refuse_storage` has not refused.

        Raises:
          BadFileError: they are damaged.
        """
        with reading(name):
            return self._file[name][start:stop]

    def chunk_rows(self, name: str) -> int:
        """Rows that can't be read but together."""
        chunks = self._file[name].chunks
        return chunks[0] if chunks else 1


def _own(group: h5py.Group, name: str) -> Any:
    """A group's member of that name; None where there is none, or a link."""
    import h5py

    with reading(name):
        own = isinstance(group.get(name, getlink=True), h5py.HardLink)
        return group[name] if own else None


def _storage_problems(file: h5py.File, name: str) -> list[str]:
    dataset = file[name]
    if dataset.is_virtual or dataset.external:
        return [f"{name}: its numbers lie in other files"]
    stored = min(dataset.id.get_storage_size(), Path(file.file.filename).stat().st_size)
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
