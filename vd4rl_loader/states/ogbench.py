"""OGBench's layout: flat arrays in departure order, a row more than transitions.

Row i holds o_i, the action taken there, and the simulator's state at the same time. The
last row of an episode has no successor: its action is dropped. Rewards and ends come
from the task (`ogbench_tasks`), by the state in which the action is taken, as the
package has it from 1.2.0 on.
"""

from __future__ import annotations

import numpy as np

from vd4rl_loader.files import foreign
from vd4rl_loader.files.untrusted import Hdf5File, NpzFile
from vd4rl_loader.files.validation import BadFileError, Field, refuse
from vd4rl_loader.ogbench_tasks import SingleTask, likely_task
from vd4rl_loader.states import columns
from vd4rl_loader.states.transitions import Rows

_FIELDS = {
    "observations": columns.VECTOR,
    "actions": columns.ACTION,
    "terminals": columns.FLAG,
    "qpos": Field("a float type", ("N", "P")),
}
_BUTTONS = {"button_states": Field("a number type", ("N", "B"))}
_OTHERS = {"rewards", "timeouts", "next_observations"}


def is_layout(file: NpzFile | Hdf5File) -> bool:
    """Whether it is a file of states in this layout."""
    names = set(file.names())
    if not names >= {"observations", "actions", "terminals"} or names & _OTHERS:
        return False
    stored = file.declared(["observations"]).get("observations")
    return stored is not None and stored.dtype != np.uint8


def read(file: NpzFile | Hdf5File, task: SingleTask | None, told: str) -> Rows:
    """Reads the rows of a file as those of a task. `told` is what the user calls task
    or file, for a hint where there is no such task.

    Raises:
      BadFileError: it is not of this layout, damaged, holds impossible numbers or
        another family's, or there is no task to take rewards from.
    """
    fields = _FIELDS | (_BUTTONS if task and task.buttons else {})
    stored = foreign.declared(file, fields)
    if task is None:
        example = likely_task(told) or "cube-single-play-singletask-v0"
        raise BadFileError(
            "is OGBench's and has no rewards: give a single task of its, such as "
            f"--task {example}"
        )
    columns.refuse_layout(stored, fields)
    sizes = [("qpos", stored["qpos"].shape[1], task.positions)]
    if task.buttons:
        sizes.append(("button_states", stored["button_states"].shape[1], task.buttons))
    refuse(
        [
            f"{name}: {found} numbers per row, {task.family} has {wanted}: give that "
            "family's data, or another --task"
            for name, found, wanted in sizes
            if found != wanted
        ]
    )
    arrays = columns.convert(file.read(fields), fields)
    return _rows(arrays, task)


def _rows(arrays: dict[str, np.ndarray], task: SingleTask) -> Rows:
    reward, success = task.rewards(arrays["qpos"], arrays.get("button_states"))
    last, notes = arrays["terminals"].copy(), []
    if not last[-1]:
        last[-1] = True
        notes.append("the last row's end is not marked, taken for one")
    alone = last & np.append(True, last[:-1])
    if alone.any():
        notes.append(f"{alone.sum():,} episodes of one row left out")
    reached = np.count_nonzero(success & ~last)
    notes.append(
        f"rewards of {task.name}, by the state in which each action is taken: "
        f"{reached:,} at the goal"
    )
    return Rows(
        state=arrays["observations"],
        next_state=np.roll(arrays["observations"], -1, axis=0),
        action=arrays["actions"],
        reward=reward,
        terminal=success,
        ends=last,
        dropped=last,
        goals=True,
        whole=True,
        notes=tuple(notes),
    )
