"""Checks of an episode's arrays.

Checks return texts of the form "field: what is wrong"; readers put the file's name in
front, so that every line a user sees names file and field.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError, shown

# Widths of floats are free, kinds are not: an integer reward or flag is a mistake.
_KINDS = {
    "uint8": lambda dtype: dtype == np.uint8,
    "a float type": lambda dtype: dtype.kind == "f",
    "bool": lambda dtype: dtype.kind == "b",
    "a number type": lambda dtype: dtype.kind in "iuf",
}

_NUMBER, _FEW = re.compile(r"\d[\d.,]*"), 3  # of problems that are listed one by one

ROUNDING = 1e-5  # by which actions may leave [-1, 1]
DEPARTURE = (
    "if it holds what was done in image t, give --data.alignment departure (training) "
    "or --alignment departure (info, convert)"
)

_SHORT = re.compile(r"^image: (\d+) entries, too short for the batch length")

# What the user can do where something is unusable or missing.
GO_ON = "go on without with --data.skip_bad (training) or --skip-bad (info, convert)"


@dataclasses.dataclass(frozen=True)
class Field:
    """Kind and axes of one stored array. `kind` is a key of `_KINDS`."""

    kind: str
    axes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Expected:
    """Sizes that all files of a dataset share.

    Attributes:
      image_size: height and width of the frames, in pixels.
      action_size: numbers in an action.
      min_length: fewest entries that an episode may have.
      departure: whether entry t holds what was done in image t, not what led there.
    """

    image_size: int
    action_size: int
    min_length: int
    departure: bool = False


@dataclasses.dataclass
class Findings:
    """Unusable files or episodes, and dropped fragments, as readers found them.

    Attributes:
      problems: files, and what is wrong with them.
      notes: lines for the user.
      lost: rewards and terminals in dropped fragments.
    """

    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    lost: Counter[str] = dataclasses.field(default_factory=Counter)

    def report(self) -> str:
        """One indented line per problem: file, field, what is wrong. Of more than three
        that differ in numbers alone, the first and their count.
        """
        alike: dict[str, list[tuple[str, str]]] = {}
        for file, text in self.problems:
            alike.setdefault(_NUMBER.sub("", text), []).append((shown(file), text))
        lines = []
        for same in alike.values():
            few = same if len(same) <= _FEW else same[:1]
            more = f" (and {len(same) - 1:,} more like it)" if len(same) > _FEW else ""
            lines += [f"  {file}{more}: {text}" for file, text in few]
        return "\n".join(lines)

    def shorter_batches(self) -> str:
        """The batch length with which all episodes can be used, and the one for half of
        them, where they are too short and nothing else; else empty.
        """
        short = [_SHORT.match(text) for _, text in self.problems]
        if not short or not all(short):
            return ""
        lengths = sorted(int(match[1]) for match in short)
        least, middle = lengths[0], lengths[len(lengths) // 2]
        if least < 2:  # no transition
            return ""
        half = f", {middle} half of them" if middle > least else ""
        return f"--latent.length {least} (training) takes all of these{half}"

    def bad_files(self) -> int:
        """Number of files with a problem."""
        return len({file for file, _ in self.problems})


class BadFileError(DataError):
    """A file or an episode cannot be used; readers collect these in `Findings`."""


def refuse(problems: Sequence[str]) -> None:
    """Raises BadFileError with all problems in one line, if there are any."""
    if problems:
        raise BadFileError("; ".join(problems))


def layout_problems(
    arrays: Mapping[str, Any], fields: Mapping[str, Field]
) -> list[str]:
    """Missing keys, wrong dtypes, wrong shapes, different numbers of rows.

    Args:
      arrays: anything with `dtype` and `shape` (NumPy arrays, HDF5 datasets).
      fields: what is required; the first one sets the number of rows.
    """
    missing = [name for name in fields if name not in arrays]
    if missing:
        found = shown(", ".join(arrays), 300) or "no arrays"
        return [f"{', '.join(missing)}: missing (the file holds {found})"]
    problems = []
    for name, field in fields.items():
        problems += _array_problems(name, arrays[name], field)
    return problems or _row_problems(arrays, fields)


def _array_problems(name: str, array: Any, field: Field) -> list[str]:
    problems = []
    if not _KINDS[field.kind](array.dtype):
        problems.append(f"{name}: dtype {array.dtype}, expected {field.kind}")
    if len(array.shape) != len(field.axes) or any(
        axis.isdigit() and int(axis) != n
        for axis, n in zip(field.axes, array.shape, strict=False)
    ):
        axes = ", ".join(field.axes)
        problems.append(f"{name}: shape {tuple(array.shape)}, expected [{axes}]")
    return problems


def _row_problems(arrays: Mapping[str, Any], fields: Mapping[str, Field]) -> list[str]:
    first, *others = fields
    rows = arrays[first].shape[0]
    if rows == 0:
        return [f"{first}: holds no entries"]
    return [
        f"{name}: {arrays[name].shape[0]} rows where {first} has {rows}"
        for name in others
        if arrays[name].shape[0] != rows
    ]


def size_problems(
    field: str, image_hw: tuple[int, int], action_size: int, expected: Expected
) -> list[str]:
    """Images that are not square, and sizes other than those of the other files."""
    height, width = image_hw
    problems = []
    if height != width:
        problems.append(f"{field}: {height}×{width} pixels, expected square images")
    elif height != expected.image_size:
        size = expected.image_size
        problems.append(
            f"{field}: {height}×{width} pixels where the other files have {size}×{size}"
        )
    if action_size != expected.action_size:
        problems.append(
            f"action: {action_size} numbers per action where the other files have "
            f"{expected.action_size}"
        )
    return problems


def value_problems(action: np.ndarray, reward: np.ndarray) -> list[str]:
    """Non-finite numbers, and actions outside [-1, 1].

    Args:
      action: float [T, A].
      reward: float [T].
    """
    problems = finite_problems("action", action) + finite_problems("reward", reward)
    return problems + range_problems("action", action)


def finite_problems(name: str, array: np.ndarray) -> list[str]:
    """Numbers [N, ...] that are not finite, or too large for float32."""
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(array.astype(np.float32, copy=False))
    return [f"{name}: not finite at row {_first_row(bad)}"] if bad.any() else []


def range_problems(name: str, action: np.ndarray) -> list[str]:
    """Actions [N, A] outside [-1, 1] by more than rounding, which is to be clipped."""
    size = np.abs(np.nan_to_num(action, posinf=0, neginf=0))
    outside = size > 1 + ROUNDING
    if not outside.any():
        return []
    row = _first_row(outside)
    worst = action[row][size[row].argmax()]
    return [f"{name}: {worst:.9g} at row {row}, outside [-1, 1]"]


def alignment_problems(
    action: np.ndarray, reward: np.ndarray, is_first: np.ndarray, is_last: np.ndarray
) -> list[str]:
    """Entries that begin an episode, but hold what did not lead to them.

    Args:
      action: float [T, A].
      reward: float [T].
      is_first, is_last: bool [T], entries that begin and end an episode.
    """
    there = [(a.reshape(len(a), -1) != 0).any(-1) for a in (action, reward)]
    names = [
        f"{name}: not zero at row {_first_row(is_first & nonzero)}, where an episode "
        "begins"
        for name, nonzero in zip(("action", "reward"), there, strict=True)
        if (is_first & nonzero).any()
    ]
    if not names:
        return []
    departure = is_last.any() and not (there[0] & is_last).any()
    hint = f"; {DEPARTURE}" if departure else ""
    return [f"{'; '.join(names)} (entry t must hold what led to image t{hint})"]


def without_filler(values: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """The array with zeros where an episode begins with a row of NaN, as TD-MPC2's do:
    nothing led there.
    """
    filler = is_first & np.isnan(values).reshape(len(values), -1).all(-1)
    if not filler.any():
        return values
    values = values.copy()
    values[filler] = 0
    return values


def _first_row(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask.reshape(len(mask), -1).any(-1))[0])


def flag_problems(
    is_first: np.ndarray, is_last: np.ndarray, is_terminal: np.ndarray
) -> list[str]:
    """Flags of a file that holds exactly one episode. All bool [T]."""
    problems = []
    if not is_first[0]:
        problems.append("is_first: not set at row 0, an episode must begin with it")
    if is_first[1:].any():
        row = 1 + _first_row(is_first[1:])
        problems.append(f"is_first: set again at row {row}, inside the episode")
    if not is_last[-1]:
        problems.append("is_last: not set at the last row")
    for name, flag in {"is_last": is_last, "is_terminal": is_terminal}.items():
        if flag[:-1].any():
            problems.append(f"{name}: set at row {_first_row(flag[:-1])}, too early")
    return problems


def length_problems(length: int, min_length: int) -> list[str]:
    """An episode shorter than a training batch's sequences."""
    if length >= min_length:
        return []
    return [f"image: {length} entries, too short for the batch length of {min_length}"]
