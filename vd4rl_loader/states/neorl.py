"""NeoRL's layout: flat arrays of steps, and where trajectories begin or end.

NeoRL-2's files say in `truncated`, too, where time ran out, and set `done` there.
"""

from __future__ import annotations

import numpy as np

from vd4rl_loader.files import foreign
from vd4rl_loader.files.untrusted import Hdf5File, NpzFile
from vd4rl_loader.files.validation import Field, refuse
from vd4rl_loader.states import columns
from vd4rl_loader.states.transitions import Rows

_FIELDS = {
    "obs": columns.VECTOR,
    "next_obs": columns.VECTOR,
    "action": columns.ACTION,
    "reward": columns.REWARD,
    "done": columns.FLAG,
}
_TRUNCATED = {"truncated": columns.FLAG}
_INDEX = {"index": Field("a number type", ("K",))}


def read(file: NpzFile | Hdf5File) -> Rows:
    """Reads the rows of a file.

    Raises:
      BadFileError: it is not of this layout, damaged, or holds impossible numbers.
    """
    fields = _FIELDS | (_TRUNCATED if file.has("truncated") else {})
    stored = foreign.declared(file, {**fields, **_INDEX})
    columns.refuse_layout(stored, fields)
    columns.refuse_layout(stored, _INDEX)
    size, next_size = (stored[name].shape[1] for name in ("obs", "next_obs"))
    if size != next_size:
        refuse([f"next_obs: {next_size} numbers per row, obs has {size}"])
    index = file.read(_INDEX)["index"]
    refuse(_index_problems(index, stored["obs"].shape[0]))
    return _rows(columns.convert(file.read(fields), fields), index)


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


def _rows(arrays: dict[str, np.ndarray], index: np.ndarray) -> Rows:
    """Episodes end at the index, and at `done`."""
    done, count = arrays["done"], len(arrays["done"])
    truncated = arrays.get("truncated", np.zeros(count, bool))
    # Ends of trajectories in the published files: the first has no entry then, and the
    # last one's is the number of rows. Beginnings would mark the same places.
    ends = done | truncated
    ends[index[index > 0] - 1] = True
    return Rows(
        state=arrays["obs"],
        next_state=arrays["next_obs"],
        action=arrays["action"],
        reward=arrays["reward"],
        terminal=done & ~truncated,
        ends=ends,
        dropped=np.zeros(count, bool),
    )
