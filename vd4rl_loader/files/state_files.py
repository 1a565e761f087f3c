"""Writes datasets of state vectors in D4RL's HDF5, NeoRL's and OGBench's npz layout,
and reads how they were made.

All get a record of how they were made, as JSON, where those formats' readers do not
stumble over it: an attribute `provenance` of the HDF5 group `metadata`, the comment of
the zip archive that an npz file is.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import atomic, hdf5_file
from vd4rl_loader.files.untrusted import Hdf5File
from vd4rl_loader.files.validation import BadFileError

Transitions = Mapping[str, np.ndarray]  # [N, ...] by D4RL's names
SUFFIXES = {"d4rl": ".hdf5", "neorl": ".npz", "ogbench": ".npz"}


def check_output(path: str | Path, layout: str) -> Path:
    """The path, if a file can be written there that is not there yet.

    Args:
      path: the file; its folder is made.
      layout: "d4rl", "neorl" or "ogbench".

    Raises:
      DataError: unknown layout, a suffix of another, or an existing file.
    """
    path = Path(path).expanduser()
    if layout not in SUFFIXES:
        raise DataError(f"unknown format {layout!r}: give {' or '.join(SUFFIXES)}")
    if path.suffix != SUFFIXES[layout]:
        raise DataError(
            f"{path}: files of format {layout} end in {SUFFIXES[layout]}: give such a "
            "name with --out"
        )
    if path.exists():
        raise DataError(f"{path}: exists already: delete it, or give another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error}") from error
    return path


def concatenate(parts: Sequence[Transitions]) -> Transitions:
    """All transitions, in order; every part has the same keys."""
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def write_d4rl(path: Path, arrays: Transitions, record: Mapping[str, Any]) -> None:
    """Writes transitions in file order, all of them or no file.

    Args:
      path: the .hdf5 file.
      arrays: [N, ...] by D4RL's names: observations, actions, next_observations,
        rewards, terminals, timeouts, infos/...
      record: how they were made.

    Raises:
      DataError: the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with hdf5_file(temporary) as file:
            for key, array in arrays.items():
                packed = {"compression": "gzip"} if np.ndim(array) else {}
                file.create_dataset(key, data=array, **packed)
            file.require_group("metadata").attrs["provenance"] = json.dumps(record)

    _write(path, write)


def write_neorl(path: Path, arrays: Transitions, record: Mapping[str, Any]) -> None:
    """Writes the same transitions, as from `write_d4rl`, as NeoRL does.

    `done` [N, 1] is 1 where the task ended an episode, not where the clock did;
    `index` [E] says where every episode ends: its last row + 1.

    Raises:
      DataError: the file cannot be written.
    """
    columns = {
        "obs": arrays["observations"],
        "next_obs": arrays["next_observations"],
        "action": arrays["actions"],
        "reward": arrays["rewards"][:, None],
        "done": arrays["terminals"][:, None].astype(np.float32),
        "index": np.flatnonzero(arrays["terminals"] | arrays["timeouts"]) + 1,
    }

    _write_npz(path, columns, record)


def write_ogbench(path: Path, arrays: Transitions, record: Mapping[str, Any]) -> None:
    """Writes rows in OGBench's layout, one more per episode than transitions.

    Args:
      path: the .npz file.
      arrays: [N, ...] by OGBench's names: observations, actions, terminals, qpos, qvel,
        button_states.
      record: how they were made.

    Raises:
      DataError: the file cannot be written.
    """
    _write_npz(path, arrays, record)


def recorded(path: Path) -> dict[str, Any]:
    """How a file of state vectors was made, if this package has written it; else {}."""
    unreadable = BadFileError, OSError, ValueError, TypeError, RecursionError
    try:
        told = json.loads(_record_text(path))
    except (*unreadable, zipfile.BadZipFile):
        return {}
    return told if isinstance(told, dict) else {}


def _record_text(path: Path) -> Any:
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return archive.comment
    with Hdf5File.opened(path) as file:
        return file.group("metadata").attribute("provenance")


def _write_npz(path: Path, arrays: Transitions, record: Mapping[str, Any]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps(record).encode()

    _write(path, write)


def _write(path: Path, write: Callable[[Path], None]) -> None:
    try:
        with atomic(path) as temporary:
            write(temporary)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error}") from error
