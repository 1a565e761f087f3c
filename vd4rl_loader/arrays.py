"""Contiguous arrays of a dataset on disk: written as a stream, opened by mapping."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode import Episode
from vd4rl_loader.files.untrusted import DAMAGE, read_json, refuse_no_file
from vd4rl_loader.resize import resize_images

# Entries of all episodes, one after the other, and the axes of each.
_ENTRY_ARRAYS = {
    "image": (np.uint8, 4),
    "action": (np.float32, 2),
    "reward": (np.float32, 1),
    "is_first": (np.bool_, 1),
    "is_last": (np.bool_, 1),
    "is_terminal": (np.bool_, 1),
}
# Those of some data: a vector beside each image; the rewards of several tasks.
_SOME_ARRAYS = {"vector": (np.float32, 2), "task_rewards": (np.float32, 2)}


def write_arrays(
    folder: Path, episodes: Iterable[Episode], image_size: int
) -> dict[str, Any]:
    """Writes `<name>.npy` files, never holding more than one episode.

    Args:
      folder: an existing, empty folder.
      episodes: at least one, all with the same image and action size.
      image_size: size of the stored images, in pixels.

    Returns:
      A summary: `source_image_size` and, per episode, `origins`. Empty if there was no
      episode; then nothing was written.

    Raises:
      DataError: the disk is full.
    """
    try:
        return _write_arrays(folder, episodes, image_size)
    except OSError as error:
        _refuse_full_disk(folder, error)
        raise


def _write_arrays(
    folder: Path, episodes: Iterable[Episode], image_size: int
) -> dict[str, Any]:
    files: dict[str, _GrowingArray] = {}
    origins: list[str] = []
    lengths = [0]
    source_image_size = 0
    try:
        for episode in episodes:
            source_image_size = episode.image.shape[1]
            for name, array in _entries(episode, image_size).items():
                if name not in files:
                    files[name] = _GrowingArray(folder / f"{name}.npy", array)
                files[name].append(array)
            origins.append(episode.origin)
            lengths.append(len(episode))
    finally:
        for file in files.values():
            file.close()
    if not origins:
        return {}
    offsets = np.cumsum(lengths, dtype=np.int64)
    with open(folder / "offsets.npy", "wb") as stream:
        np.save(stream, offsets)
        _flush(stream)
    return {"source_image_size": source_image_size, "origins": origins}


def _entries(episode: Episode, image_size: int) -> dict[str, np.ndarray]:
    tasks = episode.task_rewards
    return {
        "image": resize_images(episode.image, image_size),
        **({} if episode.vector is None else {"vector": episode.vector}),
        "action": episode.action,
        "reward": episode.reward.astype(np.float32),
        **episode.flags(),
        **({} if tasks is None else {"task_rewards": tasks}),
    }


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Writes `summary.json` beside the arrays."""
    with open(folder / "summary.json", "w") as stream:
        json.dump(summary, stream)
        _flush(stream)


def open_arrays(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Maps the arrays without reading them.

    Returns:
      The arrays of `_ENTRY_ARRAYS`, those of `_SOME_ARRAYS` that there are, and
      `offsets`; and the summary. None if the folder is missing or not whole.
    """
    try:
        summary = read_json(folder / "summary.json")
        offsets = np.array(_mapped(folder, "offsets", np.int64, 1))
        some = [name for name in _SOME_ARRAYS if (folder / f"{name}.npy").exists()]
        kinds = _ENTRY_ARRAYS | {name: _SOME_ARRAYS[name] for name in some}
        arrays = {name: _mapped(folder, name, *kind) for name, kind in kinds.items()}
        whole = _is_whole(arrays, offsets, summary)
    except (*DAMAGE, MemoryError):
        return None
    return ({**arrays, "offsets": offsets}, summary) if whole else None


def _mapped(folder: Path, name: str, dtype: type, axes: int) -> np.ndarray:
    path = folder / f"{name}.npy"
    refuse_no_file(path)
    array = np.load(path, mmap_mode="r")
    if array.dtype != dtype or array.ndim != axes:
        raise ValueError(f"{path}: {array.dtype} of {array.ndim} axes")
    return array


def _is_whole(
    arrays: dict[str, np.ndarray], offsets: np.ndarray, summary: dict[str, Any]
) -> bool:
    entries = {len(array) for array in arrays.values()}
    rising = offsets[0] == 0 and (np.diff(offsets) > 0).all()
    texts = [*summary["origins"], *summary["notes"]]
    in_range = (
        np.isfinite(arrays["reward"]).all() and (abs(arrays["action"]) <= 1).all()
    )
    return bool(
        rising
        and in_range
        and entries == {offsets[-1]}
        and len(summary["origins"]) == len(offsets) - 1
        and isinstance(summary["source_image_size"], int)
        and all(isinstance(text, str) for text in texts)
    )


class _GrowingArray:
    """A .npy file to which rows are appended; its header is completed at the end."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        self._shape, self._dtype = like.shape[1:], like.dtype
        self._rows = 0
        self._stream = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._write_header()
        self._start = self._stream.tell()

    def append(self, rows: np.ndarray) -> None:
        np.ascontiguousarray(rows).tofile(self._stream)
        self._rows += len(rows)

    def close(self) -> None:
        self._stream.flush()
        self._stream.seek(0)
        self._write_header()
        # NumPy leaves room for the first axis to grow without moving the data.
        assert self._stream.tell() == self._start
        _flush(self._stream)
        self._stream.close()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)


def _flush(stream: BinaryIO) -> None:
    # The rename that publishes the folder must not reach the disk before the data.
    stream.flush()
    os.fsync(stream.fileno())


def _refuse_full_disk(folder: Path, error: OSError) -> None:
    volume = os.statvfs(folder)  # NumPy does not always pass the error number on
    if error.errno == errno.ENOSPC or volume.f_bavail * volume.f_frsize < 1 << 20:
        raise DataError(
            f"{folder.parent}: no space left for the cache; free some, or give another "
            f"cache_dir"
        ) from error
