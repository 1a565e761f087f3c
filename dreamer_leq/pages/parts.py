"""Numbers of files checked, and written as one reads them."""

from typing import Any

import numpy as np

NONE = "–"


def number(value: Any) -> float:
    """`value` as a finite float; TypeError or ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not np.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def curve(values: Any, length: int | None = None) -> np.ndarray:
    """A list of numbers as float [N], of `length` where it is given."""
    if not isinstance(values, list):
        raise TypeError(f"{type(values).__name__} in place of a list")
    if length is not None and len(values) != length:
        raise ValueError(f"{len(values)} values in place of {length}")
    return np.array([number(value) for value in values])


def shown(value: float | None, unit: str = "return") -> str:
    """Three digits or the whole number; a share in percent where `unit` is success."""
    if value is None:
        return NONE
    return _digits(value, unit).replace("-", "−")


def _digits(value: float, unit: str) -> str:
    if unit == "success":
        return f"{100 * value:.0f} %"
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def interval(low: float | None, high: float | None, unit: str = "return") -> str:
    if low is None or high is None:
        return NONE
    return f"{shown(low, unit)} … {shown(high, unit)}"


def duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def size(number_of_bytes: float) -> str:
    if number_of_bytes >= 1e9:
        return f"{number_of_bytes / 1e9:.1f} GB"
    return f"{number_of_bytes / 1e6:.0f} MB"
