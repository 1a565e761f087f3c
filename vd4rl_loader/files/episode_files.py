"""Writes one episode as V-D4RL's readers expect it, never half of it."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.errors import DataError

if TYPE_CHECKING:
    import h5py

# V-D4RL's readers make a tensor of every key they find: there must be no others, but
# where data have "vector" beside their images.
_KEYS = ("image", "action", "reward", "discount", "is_first", "is_last", "is_terminal")


def episode_name(origin: str, index: int) -> str:
    """An episode's name in V-D4RL's pattern `<timestamp>-<identifier>`.

    The timestamp counts episodes, not time, and the identifier is a hash: the same data
    gets the same names, and sorted names are the order of the episodes.

    Args:
      origin: what the data is: task, level, seed.
      index: number of the episode.
    """
    stamp = datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=index)
    identifier = uuid.uuid5(uuid.NAMESPACE_OID, f"{origin}/{index}").hex
    return f"{stamp:%Y%m%dT%H%M%S}-{identifier}"


def complete_episodes(folder: Path, suffix: str) -> set[str]:
    """The names of a folder's undamaged .npz or .hdf5 episodes."""
    files = folder.glob(f"*{suffix}")
    return {path.stem.rpartition("-")[0] for path in files if _is_complete(path)}


def write_episode(
    folder: Path, name: str, suffix: str, episode: dict[str, np.ndarray]
) -> None:
    """Writes `<name>-<entries>.npz` or `.hdf5` atomically.

    Readers take the number of entries, the first one included, from the file's name.

    Args:
      folder: where to.
      name: as from `episode_name`.
      suffix: ".npz", or ".hdf5" for channels first, with `step_type`.
      episode: image uint8 [T, H, W, 3], action float32 [T, A], reward and discount
        float32 [T], is_first, is_last, is_terminal bool [T]; .npz also vector float32
        [T, D], if there is one.
    """
    write = {".npz": _write_npz, ".hdf5": _write_hdf5}[suffix]
    with atomic(folder / f"{name}-{len(episode['action'])}{suffix}") as temporary:
        write(temporary, episode)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which then becomes `path` at once."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to write to, which then becomes `path` at once.

    Raises:
      DataError: `path` is taken by something else than an empty folder.
    """
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise DataError(f"{path}: is not an empty folder, give a new one")
        temporary = path.with_name(f".{path.name}.part-{uuid.uuid4().hex}")
        temporary.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made ({error.strerror})") from error
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def hdf5_file(path: Path) -> Iterator[h5py.File]:
    """Gives a new HDF5 file, in memory, which is then written to `path`.

    Where the disk is full under a file of its own, the HDF5 library crashes.
    """
    import h5py

    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files of writers that were killed."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def _write_npz(path: Path, episode: dict[str, np.ndarray]) -> None:
    keys = [*_KEYS, *(["vector"] if "vector" in episode else [])]
    with path.open("wb") as file:
        np.savez_compressed(file, **{key: episode[key] for key in keys})


def _write_hdf5(path: Path, episode: dict[str, np.ndarray]) -> None:
    step_type = np.where(episode["is_first"], 0, np.where(episode["is_last"], 2, 1))
    arrays = {
        "observation": episode["image"].transpose(0, 3, 1, 2),
        "action": episode["action"],
        "reward": episode["reward"],
        "discount": episode["discount"],
        "step_type": step_type,
    }
    with hdf5_file(path) as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, compression="gzip")


def _is_complete(path: Path) -> bool:
    # Files appear whole or not at all, so only later damage is looked for. A file that
    # lost its end lost its table of contents (zip) or cannot be opened (hdf5).
    if path.suffix == ".hdf5":
        return _opens_as_hdf5(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{key}.npy" for key in _KEYS} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _opens_as_hdf5(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path):
            return True
    except OSError:
        return False
