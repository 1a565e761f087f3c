"""NeoRL's .npz layout: flat arrays of steps, and where trajectories begin or end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vd4rl_loader.files.untrusted import NpzFile
from vd4rl_loader.files.validation import Field, refuse
from vd4rl_loader.states import columns
from vd4rl_loader.states.transitions import Transitions, follows

_FIELDS = {
    "obs": columns.VECTOR,
    "next_obs": columns.VECTOR,
    "action": columns.ACTION,
    "reward": columns.REWARD,
    "done": columns.FLAG,
}
_INDEX = {"index": Field("a number type", ("K",))}
_TIME_LIMIT = 1000  # steps, of all of NeoRL's locomotion tasks


def read(path: Path) -> Transitions:
    """Reads the transitions of a file; `done` at the time limit is no terminal.

    Raises:
      BadFileError: it is not of this layout, damaged, or holds impossible numbers.
    """
    with NpzFile.opened(path) as file:
        stored = file.declared({**_FIELDS, **_INDEX})
        columns.refuse_layout(stored, _FIELDS)
        columns.refuse_layout(stored, _INDEX)
        size, next_size = (stored[name].shape[1] for name in ("obs", "next_obs"))
        if size != next_size:
            refuse([f"next_obs: {next_size} numbers per row, obs has {size}"])
        index = file.read(_INDEX)["index"]
        refuse(_index_problems(index, stored["obs"].shape[0]))
        arrays = columns.convert(file.read(_FIELDS), _FIELDS)
    return _episodes(arrays, index)


def _index_problems(index: np.ndarray, rows: int) -> list[str]:
    if index.dtype.kind not in "iu":
        return [f"index: dtype {index.dtype}, expected an integer type"]
    outside = np.flatnonzero((index < 0) | (index > rows))
    if len(outside):
        at = int(outside[0])
        return [f"index: {index[at]} at row {at}, the file has rows 0 to {rows}"]
    back = np.flatnonzero(index[1:] <= index[:-1])
    if len(back):
        at = int(back[0]) + 1
        return [f"index: {index[at]} follows {index[at - 1]} at row {at}"]
    return []


def _episodes(arrays: dict[str, np.ndarray], index: np.ndarray) -> Transitions:
    """Cuts at the index, at `done`, and where states do not follow one another."""
    done, count = arrays["done"], len(arrays["done"])
    begins = np.zeros(count, bool)
    # Ends of trajectories in the published files: the first has no entry then, and the
    # last one's is the number of rows. Beginnings would mark the same places.
    begins[index[index < count]] = True
    begins[0] = True
    begins[1:] |= done[:-1]
    unmarked = ~follows(arrays["obs"], arrays["next_obs"]) & ~begins[1:]
    begins[1:] |= unmarked
    timeout = done & (_steps(begins) == _TIME_LIMIT)
    notes = []
    if unmarked.any():
        notes.append(f"{unmarked.sum():,} cuts where states do not follow one another")
    if timeout.any():
        notes.append(
            f"{timeout.sum():,} times done at step {_TIME_LIMIT} taken for the time "
            f"limit, not a terminal"
        )
    return Transitions(
        state=arrays["obs"],
        next_state=arrays["next_obs"],
        action=arrays["action"],
        reward=arrays["reward"],
        terminal=done & ~timeout,
        begins=begins,
        notes=tuple(notes),
    )


def _steps(begins: np.ndarray) -> np.ndarray:
    """The row's number in its episode, from 1; int [K]."""
    firsts = np.flatnonzero(begins)
    return np.arange(len(begins)) - firsts[np.cumsum(begins) - 1] + 1
