"""Reads tables of the Parquet format that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vd4rl_loader.files.untrusted import Stored, reading, refuse_no_file, refuse_size
from vd4rl_loader.files.validation import BadFileError, refuse

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

_BATCH = 256  # rows that are read at once


def arrow() -> Any:
    """The library pyarrow.

    Raises:
      BadFileError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BadFileError(
            "it needs pyarrow: pip install 'dreamer-leq[lerobot]'"
        ) from error
    return pyarrow


def _opened(path: Path, columns: Sequence[str]) -> ParquetFile:
    """A table that has these columns.

    Raises:
      BadFileError: it hasn't, is damaged, or no file.
    """
    parquet = arrow().parquet
    with reading(path.name):
        refuse_no_file(path)
        file = parquet.ParquetFile(path)
        held = set(file.schema_arrow.names)
    missing = [name for name in columns if name not in held]
    refuse([f"{path.name}: {', '.join(missing)}: missing"] if missing else [])
    return file


def read_table(path: Path, columns: Sequence[str]) -> pyarrow.Table:
    """Some columns of a whole table.

    Raises:
      BadFileError: they aren't there, are damaged, or don't fit into the memory.
    """
    with _opened(path, columns) as file, reading(path.name):
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        parts = [group.column(i) for group in groups for i in range(group.num_columns)]
        wanted = [p for p in parts if p.path_in_schema.split(".list")[0] in columns]
        sizes = [max(0, part.total_uncompressed_size) for part in wanted]
        refuse_size([Stored(np.dtype(np.uint8), (sum(sizes),))])
        return file.read(columns=list(columns))


class Rows:
    """A table's rows, in the order of their `index`, some at a time.

    Attributes:
      path: the table's file.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns = path, list(columns)
        self._start()

    def from_index(self, index: int, count: int) -> pyarrow.Table:
        """The rows with the indices `index` to `index + count`.

        Raises:
          BadFileError: they aren't there, one after the other, or are damaged.
        """
        if self._first is not None and index < self._first:
            self._start()
        parts = []
        with reading(self.path.name):
            while count > 0 and (held := self._held()) and self._first <= index:
                skipped = min(index - self._first, len(held))
                part = held.slice(skipped, count)
                self._part = held.slice(skipped + len(part))
                self._first += skipped + len(part)
                parts.append(part)
                index, count = index + len(part), count - len(part)
        if count > 0:
            raise BadFileError(f"{self.path.name}: {count:,} of its rows aren't there")
        return arrow().Table.from_batches(parts)

    def _start(self) -> None:
        file = _opened(self.path, self._columns)
        self._batches: Iterator = file.iter_batches(_BATCH, columns=self._columns)
        self._part: pyarrow.RecordBatch | None = None
        self._first: int | None = None  # index of the part's first row

    def _held(self) -> pyarrow.RecordBatch | None:
        """What has been read and not given yet; None at the end of the file."""
        while self._part is None or len(self._part) == 0:
            self._part = next(self._batches, None)
            if self._part is None:
                return None
            index = self._part.column("index").to_numpy(zero_copy_only=False)
            if len(index) and (np.diff(index) != 1).any():
                raise BadFileError(f"{self.path.name}: index: rows are out of order")
            self._first = int(index[0]) if len(index) else None
        return self._part


def numbers(table: pyarrow.Table, name: str, shape: Sequence[int]) -> np.ndarray:
    """A column as an array [T, *shape]; a scalar's shape may be missing, or (1,).

    Raises:
      BadFileError: it is of another shape, or not of numbers.
    """
    with reading(name):
        column = table.column(name).combine_chunks()
        rows, types = len(column), arrow().types
        size = 1
        while _is_list(types, column.type):
            if column.null_count:
                raise BadFileError(f"{name}: rows without a value")
            lengths = np.diff(_offsets(column))
            if len(set(lengths.tolist())) > 1:
                raise BadFileError(f"{name}: rows of different lengths")
            size *= int(lengths[0]) if len(lengths) else 0
            column = column.flatten()
        if column.null_count:
            raise BadFileError(f"{name}: rows without a value")
        array = column.to_numpy(zero_copy_only=False)
    expected = tuple(shape) or (1,)
    if array.dtype.kind not in "fiub" or len(array) != rows * np.prod(expected):
        raise BadFileError(
            f"{name}: {array.dtype}, {size} numbers per row, expected {expected}"
        )
    return array.reshape(rows, *expected)


def _is_list(types: Any, kind: Any) -> bool:
    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _offsets(column: Any) -> np.ndarray:
    if hasattr(column, "offsets"):
        return column.offsets.to_numpy(zero_copy_only=False)
    return np.arange(len(column) + 1) * column.type.list_size
