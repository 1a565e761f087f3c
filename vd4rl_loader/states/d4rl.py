"""D4RL's layout: flat arrays of steps, ends of episodes as flags, in HDF5 or .npz.

Row i holds o_i, the action taken there, the reward and flags of what came of it, and in
most MuJoCo files the true next observation. Timeouts are not terminals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vd4rl_loader.files import foreign
from vd4rl_loader.files.untrusted import Hdf5File, NpzFile, Stored
from vd4rl_loader.files.validation import refuse
from vd4rl_loader.states import columns
from vd4rl_loader.states.transitions import Rows

_FIELDS = {
    "observations": columns.VECTOR,
    "actions": columns.ACTION,
    "rewards": columns.REWARD,
    "terminals": columns.FLAG,
    "timeouts": columns.FLAG,
}
_NEXT = "next_observations"
_GOAL = "infos/goal"
# By `write_dataset`: ends are as the flags say, and every row is a transition.
WHOLE = "metadata/whole_episodes"
_ANT_MAZE = (29, 8)  # numbers of a state and of an action
# In 0.1 s an ant walks half a metre at most; v0 files jump by up to 21 m where their
# timeouts are out of step with the resets.
_JUMP = 2.0  # metres
_DROPPED = "timeout rows dropped"


def read(file: Hdf5File | NpzFile) -> Rows:
    """Reads the rows of a file.

    Raises:
      BadFileError: it is not of this layout, damaged, or holds impossible numbers.
    """
    stored = foreign.declared(file, _FIELDS)
    fields = {**_FIELDS, _NEXT: columns.VECTOR} if _NEXT in file.names() else _FIELDS
    if _NEXT in fields:
        stored = file.declared(fields)
        _refuse_other_size(stored)
    columns.refuse_layout(stored, fields)
    arrays = columns.convert(file.read(fields), fields)
    if _NEXT in arrays and file.has(WHOLE):
        ends = arrays["terminals"] | arrays["timeouts"]
        return _rows(arrays, arrays[_NEXT], ends, np.zeros_like(ends), whole=True)
    if _NEXT in arrays:
        timeout = arrays["timeouts"] & ~arrays["terminals"]  # dropped as D4RL does
        ends, notes = arrays["terminals"] | timeout, _counted(timeout, _DROPPED)
        return _rows(arrays, arrays[_NEXT], ends, timeout, notes=notes)
    return _without_next(arrays, file.has(_GOAL))


def _refuse_other_size(stored: dict[str, Stored]) -> None:
    shapes = [stored[name].shape for name in ("observations", _NEXT)]
    if all(len(shape) == 2 for shape in shapes) and shapes[0][1] != shapes[1][1]:
        refuse(
            [
                f"{_NEXT}: {shapes[1][1]} numbers per row, observations have "
                f"{shapes[0][1]}"
            ]
        )


def _without_next(arrays: dict[str, np.ndarray], goal: bool) -> Rows:
    """The next row's observation is the next state, inside an episode.

    Args:
      arrays: columns of R rows.
      goal: whether the file says where the goal is, as mazes' do.
    """
    timeout, terminal = arrays["timeouts"], arrays["terminals"]
    following = np.roll(arrays["observations"], -1, axis=0)
    notes = _counted(timeout, _DROPPED)
    ant = _is_ant_maze(arrays)
    if not (goal or ant):
        ends = timeout | terminal
        return _rows(arrays, following, ends, timeout, stored=False, notes=notes)
    # Trajectories go on after a terminal, which is the goal.
    jump = _jumps(arrays["observations"]) & ~timeout
    notes = (
        "read as AntMaze" if ant else "read as a maze, for its infos/goal",
        *notes,
        *_counted(jump, f"rows dropped where xy jumps by more than {_JUMP:g} m"),
    )
    ends = timeout | jump
    return _rows(arrays, following, ends, ends, stored=False, goals=True, notes=notes)


def _is_ant_maze(arrays: dict[str, np.ndarray]) -> bool:
    """By its sizes, and by rewards of which there are two at most."""
    sizes = arrays["observations"].shape[1], arrays["actions"].shape[1]
    reward = arrays["rewards"]
    two = (reward == reward.min()) | (reward == reward.max())
    return sizes == _ANT_MAZE and bool(two.all())


def _jumps(observation: np.ndarray) -> np.ndarray:
    """Rows whose next one's xy is out of reach, bool [R]."""
    jumps = np.zeros(len(observation), bool)
    with np.errstate(over="ignore"):
        distance = np.linalg.norm(np.diff(observation[:, :2], axis=0), axis=1)
    jumps[:-1] = distance > _JUMP
    return jumps


def _rows(
    arrays: dict[str, np.ndarray],
    next_state: np.ndarray,
    ends: np.ndarray,
    dropped: np.ndarray,
    **others: Any,
) -> Rows:
    return Rows(
        state=arrays["observations"],
        next_state=next_state,
        action=arrays["actions"],
        reward=arrays["rewards"],
        terminal=arrays["terminals"],
        ends=ends,
        dropped=dropped,
        **others,
    )


def _counted(rows: np.ndarray, text: str) -> tuple[str, ...]:
    count = int(np.count_nonzero(rows))
    return (f"{count:,} {text}",) if count else ()
