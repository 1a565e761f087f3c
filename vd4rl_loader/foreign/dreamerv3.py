"""DreamerV3's replay: chunks of rows, which name the chunk that goes on with theirs.

Row t holds what was seen and the reward that came with it, but the action that was
played then. Episodes cross chunks; each worker's chunks are a chain.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.files.untrusted import NpzFile, Stored, refuse_size
from vd4rl_loader.files.validation import BadFileError, Field, layout_problems, refuse
from vd4rl_loader.foreign.reading import Found, Holdings, Notes, Wanted, finished

_NAME = re.compile(r"(\d{8}T\d{6}F\d+)-(\w+)-(\w+)-(\d+)\.npz")
_FIELDS = {
    "action": Field("a number type", ("L", "A")),
    "reward": Field("a number type", ("L",)),
    "is_first": Field("bool", ("L",)),
    "is_terminal": Field("bool", ("L",)),
}
# Everything else without a prefix such as dyn/ or log/ was observed.
_OTHERS = {*_FIELDS, "is_last", "reset", "stepid", "consec", "discount"}
_HEADLESS = "rows left out before the first beginning of an episode"


class _Chunk(NamedTuple):
    path: Path
    time: str
    name: str
    successor: str
    length: int


def recognise(path: Path) -> bool:
    """Whether it is a folder of such chunks, or the run's folder above it."""
    return bool(_chunks(path))


def is_chunk(path: Path) -> bool:
    """Whether a file has the name of a chunk."""
    return _NAME.fullmatch(path.name) is not None


def holdings(path: Path) -> Holdings:
    """What is in the first chunk that can be read."""
    broken: BadFileError | None = None
    for chunk in _chunks(path):
        try:
            with NpzFile.opened(chunk.path) as file:
                names = [n for n in file.names() if n not in _OTHERS and "/" not in n]
                stored = file.declared([*names, "action"])
                _refuse_discrete(stored.get("action"))
                rewards = file.has("reward")
        except BadFileError as error:
            broken = broken or error
            continue
        return Holdings({name: stored[name] for name in names}, rewards, {})
    raise broken or BadFileError("holds none of its chunks")


def _refuse_discrete(action: Stored | None) -> None:
    if action and len(action.shape) == 1:
        raise BadFileError(
            f"action: one number ({action.dtype}) per row, discrete: algorithms here "
            "play vectors of numbers"
        )


def actions(path: Path) -> Iterator[np.ndarray]:
    """The actions of every chunk that can be read, [L, A]."""
    for chunk in _chunks(path):
        with contextlib.suppress(BadFileError), NpzFile.opened(chunk.path) as file:
            if file.has("action"):
                refuse_size([file.declared(["action"])["action"]])
                yield file.read(["action"])["action"]


def episodes(path: Path, wanted: Wanted, notes: Notes) -> Found:
    """Every episode, worker by worker; what broke off ends by the clock."""
    for chain in _chains(_chunks(path)):
        begun: list[dict[str, np.ndarray]] = []
        origin = ""
        for chunk in chain:
            try:
                rows = _read(chunk.path, wanted)
            except BadFileError as error:
                yield chunk.path.name, partial(_raise, error)
                rows = None
            starts = [] if rows is None else np.flatnonzero(rows["is_first"]).tolist()
            for number, part in enumerate(_split(rows, starts)):
                if number and begun:
                    yield origin, partial(_episode, begun, wanted, notes)
                if number:
                    origin, begun = f"{chunk.path.name} row {starts[number - 1]}", []
                elif not begun:
                    notes[_HEADLESS] += len(part["reward"])
                    continue
                begun.append(part)
            if rows is None and begun:
                yield origin, partial(_episode, begun, wanted, notes)
                begun = []
        if begun:
            yield origin, partial(_episode, begun, wanted, notes)


def _raise(error: BadFileError) -> dict[str, Any]:
    raise error


def _chunks(path: Path) -> list[_Chunk]:
    """The chunks of a folder in order of time; of one that grew, its longest file."""
    if not path.is_dir():
        return []
    longest: dict[str, _Chunk] = {}
    for folder in (path, path / "replay"):
        for file in sorted(folder.glob("*.npz")):
            if match := _NAME.fullmatch(file.name):
                chunk = _Chunk(file, *match.group(1, 2, 3), int(match[4]))
                if chunk.length >= longest.get(chunk.name, chunk).length:
                    longest[chunk.name] = chunk
        if longest:
            break
    return sorted(longest.values(), key=lambda chunk: (chunk.time, chunk.name))


def _chains(chunks: list[_Chunk]) -> Iterator[list[_Chunk]]:
    """The chunks of each worker, one after the other."""
    left = {chunk.name: chunk for chunk in chunks}
    followers = {chunk.successor for chunk in chunks if chunk.successor != chunk.name}
    heads = [chunk for chunk in chunks if chunk.name not in followers]
    for head in [*heads, *chunks]:  # chunks that follow one another in a ring come last
        chain = []
        while head and head.name in left:
            chain.append(left.pop(head.name))
            head = left.get(head.successor)
        if chain:
            yield chain


def _read(path: Path, wanted: Wanted) -> dict[str, np.ndarray]:
    names = [*_FIELDS, *wanted.names]
    with NpzFile.opened(path) as file:
        stored = file.declared(names)
        refuse(layout_problems(stored, _FIELDS))
        wanted.refuse_layout(stored)
        rows = stored["reward"].shape[0]
        other = [name for name in wanted.names if stored[name].shape[0] != rows]
        refuse([f"{n}: shape {stored[n].shape}, expected {rows:,} rows" for n in other])
        refuse_size([stored[name] for name in names])
        arrays = file.read(names)
    return {**wanted.observed(arrays), **{name: arrays[name] for name in _FIELDS}}


def _split(
    rows: dict[str, np.ndarray] | None, starts: list[int]
) -> Iterator[dict[str, np.ndarray]]:
    """The rows before the first start, which may be none, and those from each on."""
    if rows is None:
        return
    bounds = [0, *starts, len(rows["reward"])]
    for start, stop in itertools.pairwise(bounds):
        yield {name: array[start:stop] for name, array in rows.items()}


def _episode(
    parts: list[dict[str, np.ndarray]], wanted: Wanted, notes: Notes
) -> dict[str, Any]:
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    action, reward, ends = rows["action"][:-1], rows["reward"][1:], rows["is_terminal"]
    seen = {name: array for name, array in rows.items() if name not in _FIELDS}
    return finished(wanted, notes, seen, action, reward, None, ends[1:])
