"""Writes LeRobot's datasets, version 3, with pyarrow alone; pictures without loss."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import new_folder
from vd4rl_loader.foreign.lerobot import DATA
from vd4rl_loader.foreign.parquet import arrow
from vd4rl_loader.foreign.scaling import Scaling
from vd4rl_loader.given_episodes import Played

_MEGABYTES, _CHUNK = 100, 1000  # of a table; tables in a folder
_FPS = 30  # where nobody says them, and LeRobot must have some
_NUMBERED = ("frame_index", "episode_index", "index", "task_index")
_FLOATS = ("next.reward", "timestamp")
_FLAGS = ("next.done", "next.truncated")
_NAMES = {"image": "observation.image", "vector": "observation.state"}


def write(
    path: str | Path,
    played: Iterator[Played],
    record: Mapping,
    log: Callable[[str], None] = print,
) -> None:
    """Writes episodes as a folder, which appears whole or not at all.

    Row t holds observation t, the action that was played then, and as `next.*` what
    came of it. The last row of an episode has no action: its numbers are zero, or the
    middle between action_low and action_high.

    Args:
      path: a new folder.
      played: the episodes.
      record: facts: "task" (its text), "fps" (rows per second), "action_names",
        "robot", and "action_low" and "action_high", which actions are scaled back to.
      log: receives a line for the user.

    Raises:
      DataError: there is no episode, `path` is taken, or pyarrow is missing.
    """
    first = next(played, None)
    if first is None:
        raise DataError(f"{path}: there are no episodes to write")
    if "fps" not in record:
        log(f"nobody says the frames per second: {_FPS} are written")
    fps = record.get("fps", _FPS)
    with new_folder(Path(path)) as folder:
        scaling = Scaling.kept(record, first.action.shape[1])
        tables = _Tables(folder, _schema(first), fps, scaling)
        for episode in chain([first], played):
            tables.write(episode)
        tables.close()
        _write_meta(folder, first, tables.places, record, fps)


class _Tables:
    """Writes rows into tables of no more than about 100 MB.

    Attributes:
      places: where each episode lies, as a row of `meta/episodes`.
    """

    def __init__(self, folder: Path, schema: Any, fps: float, scaling: Scaling) -> None:
        self._folder, self._schema, self._fps = folder, schema, fps
        self._scaling = scaling
        self._number, self._writer, self._path = -1, None, Path()
        self.places: list[dict[str, Any]] = []

    def write(self, episode: Played) -> None:
        """Writes an episode, which lies in one table."""
        if self._writer is None or self._path.stat().st_size > _MEGABYTES * 2**20:
            self._next()
        begin = self.places[-1]["dataset_to_index"] if self.places else 0
        rows = len(episode.observation)
        columns = _columns(episode, begin, len(self.places), self._fps)
        action = np.pad(episode.action, ((0, 1), (0, 0)))
        columns["action"] = list(self._scaling.original(action))
        self._writer.write_table(arrow().table(columns, schema=self._schema))
        chunk, file = divmod(self._number, _CHUNK)
        self.places.append(
            {
                "episode_index": len(self.places),
                "length": rows,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": begin,
                "dataset_to_index": begin + rows,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )

    def close(self) -> None:
        """Finishes the table that is being written."""
        if self._writer is not None:
            self._writer.close()

    def _next(self) -> None:
        self.close()
        self._number += 1
        self._path = self._folder / DATA.format(*divmod(self._number, _CHUNK))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = arrow().parquet.ParquetWriter(self._path, self._schema)


def _schema(episode: Played) -> Any:
    library = arrow()
    numbers = library.list_(library.float32(), episode.action.shape[1])
    picture = library.struct({"bytes": library.binary(), "path": library.string()})
    kinds = {
        _NAMES[kind]: picture
        if kind == "image"
        else library.list_(library.float32(), array.shape[1])
        for kind, array in episode.observations().items()
    }
    kinds["action"] = numbers
    kinds |= dict.fromkeys(_FLOATS, library.float32())
    kinds |= dict.fromkeys(_FLAGS, library.bool_())
    return library.schema(kinds | dict.fromkeys(_NUMBERED, library.int64()))


def _columns(episode: Played, begin: int, number: int, fps: float) -> dict[str, Any]:
    rows = len(episode.observation)
    step = np.arange(rows)
    last = step == rows - 2  # the last row that has an action
    seen = {
        _NAMES[kind]: [{"bytes": _png(i), "path": None} for i in array]
        if kind == "image"
        else list(array)
        for kind, array in episode.observations().items()
    }
    return {
        **seen,
        "next.reward": np.pad(episode.reward, (0, 1)).astype(np.float32),
        "next.done": last & episode.terminal,
        "next.truncated": last & (not episode.terminal),
        "timestamp": (step / fps).astype(np.float32),
        "frame_index": step,
        "episode_index": np.full(rows, number),
        "index": begin + step,
        "task_index": np.zeros(rows, np.int64),
    }


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_meta(
    folder: Path, first: Played, places: list[dict], record: Mapping, fps: float
) -> None:
    library = arrow()
    text = str(record.get("task") or "unknown")
    meta = folder / "meta"
    (meta / "episodes/chunk-000").mkdir(parents=True)
    info = json.dumps(_info(first, places, record, fps), indent=2) + "\n"
    (meta / "info.json").write_text(info)
    table = library.Table.from_pylist([{**place, "tasks": [text]} for place in places])
    library.parquet.write_table(table, meta / "episodes/chunk-000/file-000.parquet")
    index = {  # without it pandas, by which LeRobot reads tasks, has another one
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind}
            for name, kind in (("task_index", "int64"), ("task", "unicode"))
        ],
    }
    tasks = library.table({"task_index": [0], "task": [text]})
    tasks = tasks.replace_schema_metadata({"pandas": json.dumps(index)})
    library.parquet.write_table(tasks, meta / "tasks.parquet")


def _info(
    first: Played, places: list[dict], record: Mapping, fps: float
) -> dict[str, Any]:
    names = record.get("action_names")
    seen = {
        _NAMES[kind]: {
            "dtype": "image" if kind == "image" else "float32",
            "shape": list(array.shape[1:]),
            "names": ["height", "width", "channels"] if kind == "image" else None,
        }
        for kind, array in first.observations().items()
    }
    scalar = {"shape": [1], "names": None}
    features = {
        **seen,
        "action": {
            "dtype": "float32",
            "shape": list(first.action.shape[1:]),
            "names": names,
        },
        **{name: {"dtype": "float32", **scalar} for name in _FLOATS},
        **{name: {"dtype": "bool", **scalar} for name in _FLAGS},
        **{name: {"dtype": "int64", **scalar} for name in _NUMBERED},
    }
    return {
        "codebase_version": "v3.0",
        "robot_type": record.get("robot") or "unknown",
        "total_episodes": len(places),
        "total_frames": places[-1]["dataset_to_index"],
        "total_tasks": 1,
        "chunks_size": _CHUNK,
        "data_files_size_in_mb": _MEGABYTES,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(places)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
