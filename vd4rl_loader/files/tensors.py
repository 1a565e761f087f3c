"""Reads safetensors files that nobody vouches for.

Such a file is the length of its header, the header, which is JSON and says of each
array its type, shape and place, and the numbers. Here the header has to account for all
bytes of the file, each of them once, before any number is read.
"""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import shown
from vd4rl_loader.files.untrusted import Stored, reading, refuse_no_file, refuse_size
from vd4rl_loader.files.validation import BadFileError

_HEADER_LIMIT = 1 << 22  # bytes; a large world model's takes 20 kB
_LENGTH = 8  # bytes in which the header's length is said
_ABOUT = "__metadata__"
_TYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2"}
_TYPES |= {"U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8"}
_TYPES |= {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class Tensors(NamedTuple):
    """A file as it declares itself: no number has been read.

    Attributes:
      path: of the file.
      stored: the arrays by name.
      about: texts by name.
      places: the arrays' first bytes in the file, by name.
    """

    path: Path
    stored: dict[str, Stored]
    about: dict[str, str]
    places: dict[str, int]

    def read(self) -> dict[str, np.ndarray]:
        """All arrays by name.

        Raises:
          BadFileError: they don't fit into the memory, or can't be read.
        """
        refuse_size(self.stored.values())
        found = {}
        with reading(), self.path.open("rb") as file:
            for name, (dtype, shape) in self.stored.items():
                file.seek(self.places[name])
                count = self.stored[name].nbytes // dtype.itemsize
                found[name] = np.fromfile(file, dtype, count).reshape(shape)
        return found


def declared(path: Path) -> Tensors:
    """What a file declares.

    Raises:
      BadFileError: it is no such file, damaged, or declares what can't be.
    """
    with reading():
        refuse_no_file(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if length > _HEADER_LIMIT:
                raise BadFileError(
                    f"is no safetensors file, or a damaged one: its header would have "
                    f"{length:,} bytes"
                )
            header = json.loads(file.read(length), object_pairs_hook=_once)
        about = header.pop(_ABOUT, {})
        if not all(isinstance(text, str) for text in about.values()):
            raise ValueError(f"{_ABOUT} holds other things than texts")
        end, stored, places = _LENGTH + length, {}, {}
        for name, tensor in sorted(header.items(), key=_start):
            stored[name], places[name] = _tensor(name, tensor), end
            if tensor["data_offsets"][0] != end - _LENGTH - length:
                raise BadFileError(f"{shown(name)}: shares bytes, or leaves some out")
            end += stored[name].nbytes
        if end != (size := path.stat().st_size):
            raise BadFileError(f"declares {end:,} bytes, the file has {size:,}")
    return Tensors(path, stored, about, places)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise BadFileError(f"{shown(counts.most_common(1)[0][0])}: is declared twice")
    return found


def _start(item: tuple[str, Any]) -> int:
    start, _ = item[1]["data_offsets"]
    return start


def _tensor(name: str, about: dict[str, Any]) -> Stored:
    """An array, whose place is as long as its numbers are."""
    kind, shape, (start, end) = about["dtype"], about["shape"], about["data_offsets"]
    if kind not in _TYPES:
        raise BadFileError(f"{shown(name)}: is of type {shown(str(kind))}")
    if not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
        raise BadFileError(f"{shown(name)}: its shape and place are no numbers")
    stored = Stored(np.dtype(_TYPES[kind]), tuple(shape))
    if end - start != stored.nbytes:
        raise BadFileError(
            f"{shown(name)}: declares {stored.nbytes:,} bytes, and has {end - start:,}"
        )
    return stored
