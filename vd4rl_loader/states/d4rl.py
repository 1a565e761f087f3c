"""D4RL's HDF5 layout: flat arrays of steps, ends of episodes as flags.

Row i holds o_i, the action taken there, the reward and flags of what came of it, and in
most MuJoCo files the true next observation. Timeouts are not terminals. No transition
crosses an episode's boundary.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vd4rl_loader.files.untrusted import Hdf5File, Stored
from vd4rl_loader.files.validation import refuse
from vd4rl_loader.states import columns
from vd4rl_loader.states.transitions import Transitions, follows, select

_FIELDS = {
    "observations": columns.VECTOR,
    "actions": columns.ACTION,
    "rewards": columns.REWARD,
    "terminals": columns.FLAG,
    "timeouts": columns.FLAG,
}
_NEXT = "next_observations"
_GOAL = "infos/goal"
_ANT_MAZE_SIZE = 29
# In 0.1 s an ant walks half a metre at most; v0 files jump by up to 21 m where their
# timeouts are out of step with the resets.
_JUMP = 2.0  # metres


def read(path: Path) -> Transitions:
    """Reads the transitions of a file.

    Raises:
      BadFileError: it is not of this layout, damaged, or holds impossible numbers.
    """
    with Hdf5File.opened(path) as file:
        fields = _FIELDS
        if _NEXT in file.names():
            fields = {**_FIELDS, _NEXT: columns.VECTOR}
        stored = file.declared(fields)
        columns.refuse_layout(stored, fields)
        if _NEXT in fields:
            _refuse_other_size(stored)
        arrays = columns.convert(file.read(fields), fields)
        maze = file.has(_GOAL)
    if _NEXT in arrays:
        return _with_next(arrays)
    maze = maze or arrays["observations"].shape[1] == _ANT_MAZE_SIZE
    return _without_next(arrays, maze)


def _refuse_other_size(stored: dict[str, Stored]) -> None:
    size, next_size = (stored[name].shape[1] for name in ("observations", _NEXT))
    if size != next_size:
        refuse([f"{_NEXT}: {next_size} numbers per row, observations have {size}"])


def _with_next(arrays: dict[str, np.ndarray]) -> Transitions:
    """True next states are there: only timeout rows are dropped, as D4RL does."""
    terminal = arrays["terminals"]
    timeout = arrays["timeouts"] & ~terminal
    begins = np.ones(len(terminal), bool)
    begins[1:] = ~follows(arrays["observations"], arrays[_NEXT])
    rows = _rows(arrays, arrays[_NEXT], begins)
    notes = _counted(timeout, "timeout rows dropped")
    return select(rows, keep=~timeout, ends=terminal | timeout, notes=notes)


def _without_next(arrays: dict[str, np.ndarray], maze: bool) -> Transitions:
    """The next row's observation is the next state, inside an episode.

    Args:
      arrays: columns of R rows.
      maze: trajectories go on after a terminal, which is the goal.
    """
    observation, terminal = arrays["observations"], arrays["terminals"]
    timeout = arrays["timeouts"]
    jump = _jumps(observation) & ~timeout if maze else np.zeros_like(timeout)
    fall = terminal & ~timeout if not maze else np.zeros_like(timeout)
    ends = timeout | jump | fall
    keep = ~ends
    keep[-1] = False
    rows = _rows(arrays, np.roll(observation, -1, axis=0), np.zeros(len(keep), bool))
    notes = (
        *_counted(timeout, "timeout rows dropped"),
        *_counted(fall, "terminal rows dropped, their next states are not stored"),
        *_counted(jump, f"rows dropped where xy jumps by more than {_JUMP:g} m"),
        *(() if ends[-1] else ("the last row dropped, its next state is not stored",)),
    )
    return select(rows, keep, ends, notes)


def _jumps(observation: np.ndarray) -> np.ndarray:
    """Whether the next row's xy is out of reach, bool [R]."""
    jumps = np.zeros(len(observation), bool)
    with np.errstate(over="ignore"):
        distance = np.linalg.norm(np.diff(observation[:, :2], axis=0), axis=1)
    jumps[:-1] = distance > _JUMP
    return jumps


def _rows(
    arrays: dict[str, np.ndarray], next_state: np.ndarray, begins: np.ndarray
) -> Transitions:
    return Transitions(
        state=arrays["observations"],
        next_state=next_state,
        action=arrays["actions"],
        reward=arrays["rewards"],
        terminal=arrays["terminals"],
        begins=begins,
    )


def _counted(rows: np.ndarray, text: str) -> tuple[str, ...]:
    count = int(np.count_nonzero(rows))
    return (f"{count:,} {text}",) if count else ()
