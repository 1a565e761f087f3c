"""Rows of a .npy file, read and written where they lie on disk.

The pages of a map count as memory of the process that looked at them, until the system
wants them back, and are fetched one by one. Here whole stretches of rows are read into
arrays of the caller, and nothing else stays.
"""

from __future__ import annotations

import mmap
import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError


class RowFile:
    """An array [N, ...] on disk, of which rows are asked for by their numbers.

    Several threads may read at the same time.

    Attributes:
      shape, dtype, ndim, nbytes: as an array of NumPy has them.
    """

    def __init__(self, array: np.memmap, writable: bool = False) -> None:
        """The file of a whole map, as `np.load(path, mmap_mode="r")` gives it."""
        self._path = Path(array.filename)
        self._map = array
        self._file = self._open(writable)
        self._start = array.offset
        self.shape, self.dtype = array.shape, array.dtype
        self.ndim, self.nbytes = array.ndim, array.nbytes
        self._row_bytes = self.nbytes // max(len(self), 1)

    @classmethod
    def opened(cls, path: str | Path, writable: bool = False) -> RowFile:
        """The rows of a .npy file that is there already."""
        return cls(np.load(path, mmap_mode="r"), writable)

    @classmethod
    def created(
        cls, path: str | Path, shape: tuple[int, ...], dtype: Any = np.float32
    ) -> RowFile:
        """A new file of zeros, which takes room on the disk as rows are written."""
        np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        return cls.opened(path, writable=True)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their numbers, int [...] -> [..., *shape[1:]].

        Numbers that follow one another are read at once.

        Raises:
          IndexError: there is no such row.
          DataError: the file can't be read any more.
        """
        rows = np.asarray(rows)
        out = np.empty((rows.size, *self.shape[1:]), self.dtype)
        for row, begin, end in self._stretches(rows):
            self._read(row, out[begin:end])
        return out.reshape((*rows.shape, *self.shape[1:]))

    def __setitem__(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Writes [K, *shape[1:]] to the rows [K]."""
        values = np.ascontiguousarray(values, self.dtype)
        for row, begin, end in self._stretches(np.asarray(rows)):
            self._write(row, values[begin:end])

    def flush(self) -> None:
        """Waits until what was written is on the disk."""
        os.fsync(self._file.fileno())

    def _stretches(self, rows: np.ndarray) -> list[tuple[int, int, int]]:
        """Consecutive numbers among the rows: the first one, and where it is said."""
        flat = rows.reshape(-1)
        if not flat.size:
            return []
        if flat.min() < 0 or flat.max() >= len(self):
            raise IndexError(f"{self._path}: rows 0 to {len(self) - 1}")
        begins = np.append(0, np.flatnonzero(np.diff(flat) != 1) + 1)
        ends = np.append(begins[1:], flat.size)
        return list(
            zip(flat[begins].tolist(), begins.tolist(), ends.tolist(), strict=True)
        )

    def _open(self, writable: bool) -> FileIO | None:
        """The file by its name, or None where it is gone, as a cache is that another
        run has replaced by one of newer data: then only the map still has its rows.
        """
        try:
            return FileIO(self._path, "r+b" if writable else "rb")
        except FileNotFoundError:
            if writable:
                raise
            return None

    def _read(self, row: int, out: np.ndarray) -> None:
        if self._file is None:
            out[:] = self._map[row : row + len(out)]
            return
        rest = memoryview(out).cast("B")
        place = self._start + row * self._row_bytes
        while rest:  # one call reads 2 GiB at most
            try:
                count = os.preadv(self._file.fileno(), [rest], place)
            except OSError as error:
                raise DataError(f"{self._path}: {error.strerror}") from error
            if not count:
                raise DataError(f"{self._path}: has become shorter: remove it")
            rest, place = rest[count:], place + count

    def _write(self, row: int, values: np.ndarray) -> None:
        rest = memoryview(values).cast("B")
        place = self._start + row * self._row_bytes
        while rest:
            try:
                count = os.pwrite(self._file.fileno(), rest, place)
            except OSError as error:  # which doesn't say of which file
                raise OSError(error.errno, error.strerror, str(self._path)) from error
            rest, place = rest[count:], place + count


def is_whole_map(array: Any) -> bool:
    """Whether an array is a file's as a whole, and not a part of it."""
    return isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
