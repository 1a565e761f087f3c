"""robomimic's HDF5 files: `data/demo_<n>`, a group of arrays for every demonstration.

Row t holds what was seen, the action that was played then, and the reward and `dones`
of what it led to, which is in `next_obs` if that is stored.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import shown
from vd4rl_loader.files.untrusted import Hdf5File, refuse_size
from vd4rl_loader.files.validation import BadFileError, Field, layout_problems, refuse
from vd4rl_loader.foreign.reading import Found, Holdings, Notes, Wanted, finished

_DEMO = "demo_"
_ACTIONS = {"actions": Field("a number type", ("N", "A"))}
_REWARDS = {"rewards": Field("a number type", ("N",))}
_DONES = {"dones": Field("a number type", ("N",))}


def recognise(path: Path) -> bool:
    """Whether it is such a file, whatever its suffix."""
    if not path.is_file():
        return False
    with Hdf5File.opened(path) as file:
        return file.has("data") and bool(_demos(file.group("data")))


def holdings(path: Path) -> Holdings:
    """What is in the first demonstration."""
    with Hdf5File.opened(path) as file:
        data = file.group("data")
        first = data.group(_demos(data)[0])
        stored = _observations(first).declared(())
        rewards, about = "rewards" in first.names(), _about(data)
        return Holdings(stored, rewards, about, success=_tells_success(first))


def actions(path: Path) -> Iterator[np.ndarray]:
    """The actions of every demonstration that can be read, [N, A]."""
    with Hdf5File.opened(path) as file:
        data = file.group("data")
        for name in _demos(data):
            with contextlib.suppress(BadFileError):
                demo = data.group(name)
                if "actions" in demo.declared(()):
                    yield demo.read(["actions"])["actions"]


def episodes(path: Path, wanted: Wanted, notes: Notes) -> Found:
    """Every demonstration, in the order of their numbers."""
    with Hdf5File.opened(path) as file:
        data = file.group("data")
        for name in _demos(data):
            yield name, partial(_demonstration, data, name, wanted, notes)


def _demos(data: Hdf5File) -> list[str]:
    """Names of the demonstrations: demo_2 comes before demo_10."""
    numbers = [name.removeprefix(_DEMO) for name in data.names()]
    numbers = sorted((n for n in numbers if n.isdecimal()), key=int)
    return [_DEMO + number for number in numbers if data.has(_DEMO + number)]


def _observations(demo: Hdf5File) -> Hdf5File:
    if not demo.has("obs"):
        raise BadFileError(
            "obs: missing, the file holds the simulator's states alone: extract "
            "observations with robomimic's scripts/dataset_states_to_obs.py"
        )
    return demo.group("obs")


def _about(data: Hdf5File) -> dict[str, Any]:
    """The environment's name, as `env_args` has it."""
    try:
        name = json.loads(data.attribute("env_args") or "{}").get("env_name")
    except (ValueError, TypeError, AttributeError):
        return {}
    return {"environment": shown(name)} if isinstance(name, str) else {}


def _demonstration(
    data: Hdf5File, name: str, wanted: Wanted, notes: Notes
) -> dict[str, Any]:
    demo = data.group(name)
    table = _columns(demo)
    seen = _observed(_observations(demo), wanted)
    action, done = table["actions"], table["dones"] != 0
    for rows in {len(array) for array in seen.values()} - {len(action)}:
        refuse([f"obs: {rows:,} rows where actions has {len(action):,}"])
    if demo.has("next_obs"):
        following = _observed(demo.group("next_obs"), wanted)
        for name, array in seen.items():
            if array.shape[1:] != following[name].shape[1:] or not len(following[name]):
                refuse([f"next_obs: {name}: of another shape than obs"])
        seen = {n: np.append(a, following[n][-1:], axis=0) for n, a in seen.items()}
    reward = table.get("rewards")
    success = _successes(done, reward)
    terminal = np.zeros_like(done) if success is None else success
    return finished(wanted, notes, seen, action, reward, success, terminal)


def _tells_success(demo: Hdf5File) -> bool:
    if not {"rewards", "dones"} <= set(demo.names()):
        return False
    try:
        table = _columns(demo)
    except BadFileError:
        return True  # its own trouble is told where it is read
    return _successes(table["dones"] != 0, table["rewards"]) is not None


def _successes(done: np.ndarray, reward: np.ndarray | None) -> np.ndarray | None:
    """`dones` may be success or the end of a demonstration, which sparse rewards tell.

    Where they don't, None: no end is taken for the task's.
    """
    if reward is None or not np.isin(reward, (0, 1)).all():
        return None
    return done & (reward == 1)


def _columns(demo: Hdf5File) -> dict[str, np.ndarray]:
    names = demo.names()
    fields = {**_ACTIONS, **{n: f for n, f in _REWARDS.items() if n in names}}
    fields |= {n: f for n, f in _DONES.items() if n in names}
    stored = demo.declared(fields)
    refuse(layout_problems(stored, fields))
    refuse_size([stored[name] for name in fields])
    table = demo.read(fields)
    table.setdefault("dones", np.zeros(len(table["actions"])))
    return table


def _observed(group: Hdf5File, wanted: Wanted) -> dict[str, np.ndarray]:
    stored = group.declared(wanted.names)
    wanted.refuse_layout(stored)
    refuse_size([stored[name] for name in wanted.names])
    arrays = group.read(wanted.names)
    rows = sorted({len(array) for array in arrays.values()})
    refuse([f"obs: {rows[0]:,} and {rows[1]:,} rows"] if len(rows) > 1 else [])
    return wanted.observed(arrays)
