"""Data of other projects: recognised, so that it can be refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vd4rl_loader.errors import shown
from vd4rl_loader.files.untrusted import Hdf5File, NpzFile, Stored, opened
from vd4rl_loader.files.validation import BadFileError

_IMAGES, _STATES = ("image", "observation"), ("observations", "obs")
_OGBENCH = {"observations", "actions", "terminals"}
_WRITE = "write_dataset makes data of it: docs/data.md, Data of other projects"
_CONVERT = "python -m vd4rl_loader info FILE says how to convert it"
_DREAMERV3 = "stepid"  # in every chunk of its replay, and in no other project's files
_GROUPS = {  # by how the names of their groups begin
    "episode_": "looks like Minari's: give --data minari:DATASET_ID",
    "data": f"looks like robomimic's: {_CONVERT}",
    "traj_": f"looks like ManiSkill's: {_WRITE}",
    "observations": f"looks like ALOHA's: {_WRITE}",
}


def declared(file: NpzFile | Hdf5File, needed: Iterable[str]) -> dict[str, Stored]:
    """The file's arrays as it declares them; those that are needed are there.

    Raises:
      BadFileError: some are missing; names the project whose file it looks like. Or it
        is DreamerV3's, which has them all, in another order.
    """
    needed = list(needed)
    if file.has(_DREAMERV3):
        raise BadFileError(
            f"{_DREAMERV3}: looks like DreamerV3's replay, whose row t holds what was "
            "played in image t, but the reward that came with it: python -m "
            "vd4rl_loader info FOLDER says how to convert it"
        )
    arrays = file.declared([*needed, *_STATES])
    if missing := [name for name in needed if name not in arrays]:
        groups = [name for name in file.names() if name not in arrays]
        held = [", ".join(arrays), "groups " + ", ".join(groups) if groups else ""]
        found = shown(" and ".join(filter(None, held)), 300) or "nothing"
        text = f"{', '.join(missing)}: missing (the file holds {found})"
        raise BadFileError(
            ": ".join(filter(None, [text, _likely(file, arrays, needed)]))
        )
    return arrays


def file_hint(path: Path) -> str:
    """What a file of another suffix holds, and what to do; else nothing."""
    try:
        with opened(path) as file:
            arrays = file.declared(_STATES)
            hint = _likely(file, arrays, [_IMAGES[0]])
    except BadFileError:
        return ""
    suffix = ".hdf5" if isinstance(file, Hdf5File) else ".npz"
    return f": {hint or f'its content is one: rename it to {path.stem}{suffix}'}"


def folder_hint(folder: Path) -> str:
    """The project whose folder it looks like, and what to do; else nothing."""
    if (folder / "meta" / "info.json").is_file() and (folder / "data").is_dir():
        return (
            ": looks like LeRobot's: python -m vd4rl_loader info FOLDER says how to "
            "convert it"
        )
    return ""


def _likely(
    file: NpzFile | Hdf5File, arrays: dict[str, Stored], needed: list[str]
) -> str | None:
    """The project whose file it looks like, and what to do."""
    groups = [name for name in file.names() if name not in arrays]
    for mark, project in _GROUPS.items():
        if any(name.startswith(mark) for name in groups):
            return project
    states = next((arrays[name] for name in _STATES if name in arrays), None)
    if states and states.dtype == np.uint8:
        return (
            "its observations are images, looks like OGBench's: give it the name under "
            "which it was published, such as visual-cube-single-play-v0.npz"
        )
    if states and needed[0] in _IMAGES:
        return (
            "looks like state vectors: give a task of states, such as "
            "--configs d4rl_mujoco --task hopper-medium-replay"
        )
    if arrays.keys() >= _OGBENCH and not {"rewards", "timeouts"} & arrays.keys():
        return f"looks like OGBench's, which has no rewards: {_WRITE}"
    if [name for name in needed if name not in arrays] == ["timeouts"]:
        return "store zeros if nobody knows them, resets are found by the states, too"
    if any(name in arrays for name in _IMAGES) and needed[0] not in _IMAGES:
        return (
            "looks like images: give a task of pixels, such as --configs vd4rl --task "
            "walker_walk-medium"
        )
    if "arr_0" in arrays:
        return "its arrays have no names: save them with numpy.savez(file, name=array)"
    return None
