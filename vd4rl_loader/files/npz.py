"""V-D4RL's 64 px files: one episode per `.npz`, images with channels last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vd4rl_loader.files import foreign, validation
from vd4rl_loader.files.episode import Episode, from_departure
from vd4rl_loader.files.untrusted import NpzFile, refuse_size
from vd4rl_loader.files.validation import BadFileError, Expected, Field, Findings

_FIELDS = {
    "image": Field("uint8", ("T", "H", "W", "3")),
    "action": Field("a float type", ("T", "A")),
    "reward": Field("a float type", ("T",)),
    "is_first": Field("bool", ("T",)),
    "is_last": Field("bool", ("T",)),
    "is_terminal": Field("bool", ("T",)),
}
_VECTOR = {"vector": Field("a number type", ("T", "D"))}
_DISCOUNT = {"discount": Field("a float type", ("T",))}


def peek(path: Path) -> tuple[int, int] | None:
    """Image height and action size from the headers alone; None if unreadable."""
    try:
        with NpzFile.opened(path) as file:
            stored = file.declared(("image", "action"))
        return stored["image"].shape[1], stored["action"].shape[1]
    except (BadFileError, KeyError, IndexError):
        return None


def vector_size(path: Path) -> int:
    """Numbers of a vector beside each image, by the header; 0: there is none."""
    try:
        with NpzFile.opened(path) as file:
            if "vector" not in file.names():
                return 0
            shape = file.declared(("vector",))["vector"].shape
        return shape[1] if len(shape) == 2 else 0
    except BadFileError:
        return 0


def read(
    files: list[Path], expected: Expected, findings: Findings
) -> Iterator[Episode]:
    """Yields one `Episode` per usable file; the others go into `findings`."""
    numbers = vector_size(files[0])
    for path in files:
        try:
            episode = _read_file(path, expected, numbers)
        except BadFileError as error:
            findings.problems.append((path.name, str(error)))
            continue
        if expected.departure:
            findings.lost["rewards"] += bool(episode.reward[-1])
            episode = from_departure(episode)
        yield episode


def _read_file(path: Path, expected: Expected, numbers: int) -> Episode:
    """The episode of a file whose vectors have so many `numbers`; 0: none."""
    arrays = _load(path, numbers)
    if "is_terminal" not in arrays:  # files of older versions of DreamerV2
        arrays["is_terminal"] = arrays["discount"] == 0
        arrays["is_terminal"][:-1] = False
    image, first = arrays["image"], np.arange(len(arrays["image"])) == 0
    action, reward = (
        validation.without_filler(arrays[name], first) for name in ("action", "reward")
    )
    flags = [arrays[name] for name in ("is_first", "is_last", "is_terminal")]
    validation.refuse(
        validation.size_problems("image", image.shape[1:3], action.shape[1], expected)
        + validation.length_problems(len(image), expected.min_length)
        + validation.flag_problems(*flags)
        + validation.value_problems(action, reward)
        + _vector_problems(arrays.get("vector"), numbers)
    )
    if not expected.departure:
        aligned = validation.alignment_problems(action, reward, first, flags[1])
        validation.refuse(aligned)
    terminal = bool(flags[2][-1])
    return Episode(
        image=image,
        action=action.astype(np.float32).clip(-1, 1),
        reward=reward.astype(np.float64),
        discount=_discount(arrays, terminal),
        terminal=terminal,
        origin=path.name,
        vector=arrays["vector"].astype(np.float32) if numbers else None,
    )


def _vector_problems(vector: np.ndarray | None, numbers: int) -> list[str]:
    if vector is None:
        return []
    if vector.shape[1] != numbers:
        had = vector.shape[1]
        return [f"vector: {had} numbers where the first file has {numbers}"]
    return validation.finite_problems("vector", vector)


def _discount(arrays: dict[str, np.ndarray], terminal: bool) -> np.ndarray:
    if "discount" in arrays:
        return arrays["discount"].astype(np.float64)
    discount = np.ones(len(arrays["action"]))
    discount[-1] = not terminal
    return discount


def _load(path: Path, numbers: int) -> dict[str, np.ndarray]:
    """The arrays that are somebody's business, once all of them are as they must be."""
    with NpzFile.opened(path) as file:
        fields = _FIELDS | (_VECTOR if numbers else {})
        if "discount" in file.names():
            fields |= _DISCOUNT
            if "is_terminal" not in file.names():
                del fields["is_terminal"]
        stored = foreign.declared(file, fields)
        validation.refuse(validation.layout_problems(stored, fields))
        refuse_size([stored[name] for name in fields])
        return file.read(fields)
