"""V-D4RL's 84 px files: `.hdf5` shards of many episodes, images with channels first.

Episodes are found by `step_type` (0 first, 1 middle, 2 last). A shard may begin or end
inside an episode: what the shard of the next number continues is joined, other
fragments are dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vd4rl_loader.files import foreign, validation
from vd4rl_loader.files.episode import Episode, from_departure, join
from vd4rl_loader.files.layout import is_next
from vd4rl_loader.files.untrusted import Hdf5File, Stored, refuse_size
from vd4rl_loader.files.validation import BadFileError, Expected, Field, Findings

_FIELDS = {
    "observation": Field("uint8", ("N", "3", "H", "W")),
    "action": Field("a float type", ("N", "A")),
    "reward": Field("a float type", ("N",)),
    "discount": Field("a float type", ("N",)),
    "step_type": Field("a number type", ("N",)),
}
_FIRST, _MIDDLE, _LAST = 0, 1, 2
# Rows read at once, where a shard's own compression chunks allow it.
_BLOCK_ROWS, _MAX_BLOCK_ROWS = 512, 4096


def peek(path: Path) -> tuple[int, int] | None:
    """Image height and action size from the headers alone; None if unreadable."""
    try:
        with Hdf5File.opened(path) as file:
            stored = file.declared(_FIELDS)
        return stored["observation"].shape[2], stored["action"].shape[1]
    except (BadFileError, KeyError, IndexError):
        return None


def read(
    files: list[Path], expected: Expected, findings: Findings
) -> Iterator[Episode]:
    """Yields every whole `Episode`; what cannot be used goes into `findings`."""
    begun: list[Episode] = []  # parts of an episode whose end has not come yet
    for before, path in zip([None, *files], files, strict=False):
        if begun and not is_next(before, path):
            _drop(begun, f"the shard after {before.name} is missing", findings)
            begun = []
        try:
            for run, part in _read_shard(path, expected):
                if run.begins:
                    _drop(begun, "its end is missing", findings)
                    begun = []
                elif not begun:
                    _drop([part], "its beginning is missing", findings)
                    continue
                begun.append(part)
                if run.ends:
                    yield from _whole(begun, path.name, expected, findings)
                    begun = []
        except BadFileError as error:
            findings.problems.append((path.name, str(error)))
            _drop(begun, "the shard with its end is unusable", findings)
            begun = []
    _drop(begun, "its end is missing", findings)


def _drop(parts: list[Episode], why: str, findings: Findings) -> None:
    if parts:
        steps = sum(len(part) for part in parts)
        findings.lost["rewards"] += sum(np.count_nonzero(p.reward) for p in parts)
        findings.lost["terminals"] += parts[-1].terminal
        findings.notes.append(
            f"{parts[0].origin}: dropped {steps} steps of an episode, {why}"
        )


def _whole(
    parts: list[Episode], file: str, expected: Expected, findings: Findings
) -> Iterator[Episode]:
    episode = join(parts)
    if expected.departure:
        findings.lost["rewards"] += bool(episode.reward[-1])
        episode = from_departure(episode)
    problems = validation.length_problems(len(episode), expected.min_length)
    if not problems:
        yield episode
    for problem in problems:
        findings.problems.append((file, f"{problem} (episode of {episode.origin})"))


class _Run(NamedTuple):
    """Consecutive rows of one episode; `begins` and `ends` tell if it is whole."""

    start: int
    stop: int
    begins: bool
    ends: bool


def _read_shard(path: Path, expected: Expected) -> Iterator[tuple[_Run, Episode]]:
    with Hdf5File.opened(path) as file:
        yield from _read_runs(path.name, file, expected)


def _read_runs(
    name: str, file: Hdf5File, expected: Expected
) -> Iterator[tuple[_Run, Episode]]:
    stored = foreign.declared(file, _FIELDS)
    validation.refuse(validation.layout_problems(stored, _FIELDS))
    image, *columns = _FIELDS
    refuse_size([stored[column] for column in columns])
    action, reward, discount, step_type = file.read(columns).values()
    first, last = step_type == _FIRST, step_type == _LAST
    action, reward = (validation.without_filler(x, first) for x in (action, reward))
    file.refuse_storage([image])
    image_hw = stored[image].shape[2:]
    runs, problems = _find_runs(step_type)
    validation.refuse(
        validation.size_problems("observation", image_hw, action.shape[1], expected)
        + problems
        + validation.value_problems(action, reward)
    )
    if not expected.departure:
        aligned = validation.alignment_problems(action, reward, first, last)
        validation.refuse(aligned)
    images = _ImageBlocks(file, image, stored[image].shape)
    longest = max(run.stop - run.start for run in runs)
    refuse_size([Stored(np.dtype(np.uint8), (longest + images.rows, 3, *image_hw))])
    for run in runs:
        rows = slice(run.start, run.stop)
        part = Episode(
            image=images.read(run.start, run.stop),
            action=action[rows].astype(np.float32).clip(-1, 1),
            reward=reward[rows].astype(np.float64),
            discount=discount[rows].astype(np.float64),
            terminal=run.ends and bool(discount[run.stop - 1] == 0),
            origin=f"{name} row {run.start}",
        )
        yield run, part


def _find_runs(step_type: np.ndarray) -> tuple[list[_Run], list[str]]:
    """Cuts [N] step types into episodes and parts of episodes."""
    unknown = ~np.isin(step_type, (_FIRST, _MIDDLE, _LAST))
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        return [], [f"step_type: {step_type[row]:g} at row {row}, expected 0, 1 or 2"]
    first, last = step_type == _FIRST, step_type == _LAST
    cuts = np.flatnonzero(first[1:] | last[:-1]) + 1
    wrong = [int(row) for row in cuts if first[row] != last[row - 1]]
    if wrong:
        before, after = (int(step_type[wrong[0] + i]) for i in (-1, 0))
        return [], [f"step_type: {after} follows {before} at row {wrong[0]}"]
    bounds = [0, *cuts.tolist(), len(step_type)]
    return [
        _Run(start, stop, bool(first[start]), bool(last[stop - 1]))
        for start, stop in itertools.pairwise(bounds)
    ], []


class _ImageBlocks:
    """Reads images in blocks of whole compression chunks, each of them once."""

    def __init__(self, file: Hdf5File, name: str, shape: tuple[int, ...]) -> None:
        chunk = file.chunk_rows(name)
        rows = -(-_BLOCK_ROWS // chunk) * chunk
        self.rows = min(rows, _MAX_BLOCK_ROWS, shape[0])  # of a block
        self._file, self._name, self._size = file, name, shape[2:]
        self._index = -1
        self._block = np.empty(0)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images uint8 [stop - start, H, W, 3]; `start` must not decrease."""
        images = np.empty((stop - start, *self._size, 3), np.uint8)
        for index in range(start // self.rows, -(-stop // self.rows)):
            begin = index * self.rows
            low, high = max(start, begin), min(stop, begin + self.rows)
            block = self._load(index)[low - begin : high - begin]
            images[low - start : high - start] = block.transpose(0, 2, 3, 1)
        return images

    def _load(self, index: int) -> np.ndarray:
        if index != self._index:
            begin = index * self.rows
            self._block = self._file.read_rows(self._name, begin, begin + self.rows)
            self._index = index
        return self._block
