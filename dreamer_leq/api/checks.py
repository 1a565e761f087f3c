"""What the library is given, as NumPy arrays, or one line that says what is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_leq.system.errors import UserError

SLACK = 1e-5  # of actions beyond [-1, 1]: what rounding does


def actions(name: str, value: Any, size: int) -> np.ndarray:
    """float32 [..., A] in [-1, 1].

    Raises UserError.
    """
    found = numbers(name, value)
    if found.shape[-1:] != (size,):
        raise UserError(f"{name}: shape {found.shape}, expected (..., {size})")
    largest = np.abs(found).max(initial=0.0)
    if largest > 1 + SLACK:
        raise UserError(f"{name}: {largest:g} lies outside of [-1, 1]")
    return found


def numbers(name: str, value: Any) -> np.ndarray:
    """float32 of any shape, finite.

    Raises UserError.
    """
    try:
        found = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{name}: not an array of numbers") from None
    if not np.isfinite(found).all():
        raise UserError(f"{name}: NaN or infinite values in it")
    return found


def observations(
    name: str, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The observed arrays [n, ...] of a mapping: those in `shapes`, without axis n.

    Raises UserError where one is missing, empty, of another type or shape, or longer
    than another.
    """
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise UserError(f"{name}: expected a dict of arrays, got {kind}")
    if missing := [key for key in shapes if key not in given]:
        raise UserError(f"{name}: lacks {missing[0]!r}; it needs {', '.join(shapes)}")
    found = {}
    for key, shape in shapes.items():
        label = f"{name}[{key!r}]"
        array = images(label, given[key]) if key == "image" else given[key]
        array = numbers(label, array) if key == "vector" else np.asarray(array)
        if array.ndim != 1 + len(shape) or array.shape[1:] != shape:
            axes = ", ".join(map(str, ("n", *shape)))
            raise UserError(f"{label}: shape {array.shape}, expected ({axes})")
        found[key] = array
    lengths = {key: len(array) for key, array in found.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{name}: arrays of different lengths, {lengths}")
    if not all(lengths.values()):
        raise UserError(f"{name}: no entries in it")
    return found


def images(name: str, value: Any) -> np.ndarray:
    """uint8 of any shape; anything else was scaled or cast.

    Raises UserError.
    """
    found = np.asarray(value)
    if found.dtype != np.uint8:
        raise UserError(f"{name}: {found.dtype}, expected uint8 from 0 to 255")
    return found


def at_least(least: int, name: str, value: Any) -> int:
    """A whole number, not too small.

    Raises UserError.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise UserError(f"{name} is {value!r}: give a whole number from {least} on")
    return int(value)
