"""Checks of the columns of a table of transitions, before and after reading.

Problems are texts of the form "field: what is wrong", as in `files.validation`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vd4rl_loader.files import validation
from vd4rl_loader.files.untrusted import Stored, refuse_size
from vd4rl_loader.files.validation import Field

VECTOR = Field("a float type", ("N", "D"))
ACTION = Field("a float type", ("N", "A"))
REWARD = Field("a float type", ("N",))
FLAG = Field("bool", ("N",))


def refuse_layout(stored: Mapping[str, Stored], fields: Mapping[str, Field]) -> None:
    """Refuses missing keys, wrong kinds and shapes, different lengths, too much data.

    A column of one number [N, 1] counts as [N], and a flag may be a number.

    Args:
      stored: every array of the file, by name.
      fields: the required ones; the first sets the number of rows.

    Raises:
      BadFileError: with all problems.
    """
    flat = {
        name: _flattened(array, fields[name]) if name in fields else array
        for name, array in stored.items()
    }
    numeric = {
        name: Field("a number type", field.axes)
        if field is FLAG and name in flat and flat[name].dtype.kind in "iuf"
        else field
        for name, field in fields.items()
    }
    validation.refuse(validation.layout_problems(flat, numeric))
    empty = [name for name in fields if 0 in stored[name].shape]
    validation.refuse([f"{name}: no numbers per row" for name in empty])
    refuse_size([stored[name] for name in fields])


def _flattened(array: Stored, field: Field) -> Stored:
    if field.axes == ("N",) and len(array.shape) == 2 and array.shape[1] == 1:
        return Stored(array.dtype, array.shape[:1])
    return array


def convert(
    arrays: dict[str, np.ndarray], fields: Mapping[str, Field]
) -> dict[str, np.ndarray]:
    """Vectors, actions and rewards as float32, flags as bool, columns as [N].

    Raises:
      BadFileError: numbers that are not finite, flags other than 0 and 1, actions
        outside [-1, 1].
    """
    problems: list[str] = []
    converted = {}
    for name, field in fields.items():
        array = arrays.pop(name)  # the stored precision is not needed any longer
        if field.axes == ("N",):
            array = array.reshape(-1)
        if field is FLAG:
            problems += _flag_problems(name, array)
            converted[name] = array.astype(bool)
            continue
        with np.errstate(over="ignore"):  # too large for float32 counts as infinite
            converted[name] = array.astype(np.float32, copy=False)
        problems += validation.finite_problems(name, converted[name])
        if field is ACTION:
            problems += validation.range_problems(name, converted[name])
            converted[name] = np.clip(converted[name], -1, 1)
    validation.refuse(problems)
    return converted


def _flag_problems(name: str, array: np.ndarray) -> list[str]:
    bad = (array != 0) & (array != 1)
    if not bad.any():
        return []
    row = int(np.flatnonzero(bad)[0])
    return [f"{name}: {array[row]:g} at row {row}, expected 0 or 1"]
