"""LeRobot's datasets, version 3: a folder of tables, and of videos where it has them.

Row t holds what was seen, the action that was played then, and as `next.*` what came of
it. Many episodes share a file: `meta/episodes` says where each of them lies.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vd4rl_loader.errors import shown
from vd4rl_loader.files.untrusted import Stored, read_json, reading, refuse_size
from vd4rl_loader.files.validation import BadFileError, refuse
from vd4rl_loader.foreign.parquet import Rows, numbers, read_table
from vd4rl_loader.foreign.reading import Found, Holdings, Notes, Wanted, finished
from vd4rl_loader.foreign.video import Video

if TYPE_CHECKING:
    import pyarrow

_INFO = Path("meta/info.json")
DATA = "data/chunk-{0:03d}/file-{1:03d}.parquet"  # the one layout of version 3
_VIDEO = "videos/{0}/chunk-{1:03d}/file-{2:03d}.mp4"
_PICTURES, _NUMBERS = ("image", "video"), ("float32", "float64", "int32", "int64")
_ENDS = ("next.done", "next.success", "next.truncated")
_ACTIONS = ("action", "actions")
_AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_PNG_MODES = ("L", "P", "RGB", "RGBA")


def recognise(path: Path) -> bool:
    """Whether it is such a folder, of any version."""
    return (path / _INFO).is_file() and (path / "data").is_dir()


def holdings(path: Path) -> Holdings:
    """What `meta/info.json` says."""
    dataset = _Dataset(path)
    features = dataset.features
    named = [name for name in features if name.startswith("observation")]
    others = [name for name in features if not name.startswith("next.")]
    seen = {
        name: stored
        for name in named or others
        if name not in (*_AUTOMATIC, dataset.action)
        and (stored := _stored(features[name]))
    }
    success = "next.success" in features
    return Holdings(
        seen,
        "next.reward" in features,
        dataset.about(),
        success=success,
        missing=dataset.missing(),
    )


def actions(path: Path) -> Iterator[np.ndarray]:
    """The actions of every table, [N, A]."""
    dataset = _Dataset(path)
    name = dataset.action
    for file in dict.fromkeys(episode.table for episode in dataset.episodes(())):
        table = read_table(dataset.file(file), [name])
        yield numbers(table, name, dataset.shape(name)).reshape(len(table), -1)


def episodes(path: Path, wanted: Wanted, notes: Notes) -> Found:
    """Every episode; tables and videos are read once, in their order."""
    dataset = _Dataset(path)
    source = _Source(dataset, wanted)
    videos = [name for name in wanted.names if dataset.kind(name) == "video"]
    for episode in dataset.episodes(videos):
        yield f"episode {episode.number}", partial(source.read, episode, notes)


class _Episode:
    """Where an episode lies: a row of `meta/episodes`."""

    def __init__(self, row: dict[str, Any], videos: list[str]) -> None:
        whole = {name: row[name] for name in _WHERE}
        if not all(isinstance(v, int) and v >= 0 for v in whole.values()):
            raise BadFileError("meta/episodes: an episode without a place")
        self.number, chunk, file, self.start, self.stop = whole.values()
        if self.stop <= self.start:
            raise BadFileError(f"meta/episodes: episode {self.number} has no rows")
        self.table = DATA.format(chunk, file)
        self.videos = {name: _place_in_video(row, name) for name in videos}

    def __len__(self) -> int:
        return self.stop - self.start


_WHERE = (
    *("episode_index", "data/chunk_index", "data/file_index"),
    *("dataset_from_index", "dataset_to_index"),
)


def _place_in_video(row: dict[str, Any], name: str) -> tuple[str, float]:
    """A video's file, and when the episode begins there, in seconds."""
    chunk, file, begin = (row[f"videos/{name}/{part}"] for part in _IN_VIDEO)
    if not (isinstance(chunk, int) and isinstance(file, int) and begin is not None):
        raise BadFileError(f"meta/episodes: an episode without a place in {name}")
    return _VIDEO.format(name, chunk, file), float(begin)


_IN_VIDEO = ("chunk_index", "file_index", "from_timestamp")


class _Dataset:
    """What the files in `meta` say."""

    def __init__(self, folder: Path) -> None:
        if not (folder / _INFO).is_file():
            raise BadFileError(f"is no LeRobot dataset, which has {_INFO}")
        self.folder, self._info = folder, read_json(folder / _INFO)
        info = self._info if isinstance(self._info, dict) else {}
        version = str(info.get("codebase_version"))
        if not version.startswith("v3."):
            raise BadFileError(
                f"is of LeRobot's version {shown(version)}, only v3.0 is read: "
                "LeRobot's convert_dataset_v21_to_v30 makes it of v2.1"
            )
        self.features = info.get("features")
        names = self.features if isinstance(self.features, dict) else ()
        self.action = next((name for name in _ACTIONS if name in names), "")
        if not self.action:
            raise BadFileError(f"{_INFO}: features: no action among them")
        for name, feature in self.features.items():
            if not isinstance(feature, dict) or "/" in name:
                raise BadFileError(f"{_INFO}: features: {shown(name)}: can't be one")
        self.shape(self.action)
        self.fps = info.get("fps")
        if not isinstance(self.fps, int | float) or self.fps <= 0:
            raise BadFileError(f"{_INFO}: fps: missing")

    def kind(self, name: str) -> str:
        """The kind of a feature, such as "float32" or "video"."""
        return str(self.features[name].get("dtype"))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a feature in one row."""
        return _shape(self.features.get(name))

    def about(self) -> dict[str, Any]:
        """Facts that are kept with the data."""
        facts = {
            "robot": self._info.get("robot_type"),
            "fps": self.fps,
            "action_names": _names(self.features[self.action]),
        }
        return {name: value for name, value in facts.items() if value}

    def episodes(self, videos: list[str] | tuple) -> list[_Episode]:
        """Where every episode lies, in the order of the rows."""
        columns = [*_WHERE]
        columns += [f"videos/{name}/{part}" for name in videos for part in _IN_VIDEO]
        rows: list[dict[str, Any]] = []
        for file in sorted((self.folder / "meta/episodes").rglob("*.parquet")):
            rows += read_table(file, columns).to_pylist()
        found = [_Episode(row, list(videos)) for row in rows]
        return sorted(found, key=lambda episode: (episode.start, episode.number))

    def file(self, name: str) -> Path:
        """A table or video by its name in the folder.

        Raises:
          BadFileError: it isn't there.
        """
        if not (path := self.folder / name).is_file():
            raise BadFileError(
                f"{name}: no such file in the dataset: copy or download it again"
            )
        return path

    def missing(self) -> list[str]:
        """Tables and videos that aren't there; none where nobody says which are."""
        videos = [name for name in self.features if self.kind(name) == "video"]
        try:
            with reading():
                episodes = self.episodes(videos)
        except BadFileError:
            return []  # whoever reads them will say what is wrong
        names = [
            n for e in episodes for n in (e.table, *(f for f, _ in e.videos.values()))
        ]
        return [n for n in dict.fromkeys(names) if not (self.folder / n).is_file()]


class _Source:
    """Reads episodes; what their tables and videos have in common is opened once."""

    def __init__(self, dataset: _Dataset, wanted: Wanted) -> None:
        self._dataset, self._wanted = dataset, wanted
        self._columns = {dataset.action, "index", "timestamp"}
        self._columns |= {*_ENDS, "next.reward"} & dataset.features.keys()
        self._columns |= {n for n in wanted.names if dataset.kind(n) != "video"}
        self._rows: Rows | None = None
        self._video: Video | None = None

    def read(self, episode: _Episode, notes: Notes) -> dict[str, Any]:
        """One episode, in the order of departure."""
        table = self._table(episode)
        observed = {n: self._observed(n, table, episode) for n in self._wanted.names}
        done, success, truncated = (self._flag(name, table) for name in _ENDS)
        told_apart = "next.truncated" in self._dataset.features
        terminal = success | (done & ~truncated if told_apart else np.zeros_like(done))
        if self._wanted.end_is_terminal:
            terminal |= done
        return finished(
            self._wanted,
            notes,
            self._wanted.observed(observed),
            self._numbers(self._dataset.action, table),
            self._reward(table),
            success if "next.success" in self._dataset.features else None,
            terminal,
            done=bool((done | success)[-1]),
        )

    def _table(self, episode: _Episode) -> pyarrow.Table:
        path = self._dataset.file(episode.table)
        if self._rows is None or self._rows.path != path:
            self._rows = Rows(path, sorted(self._columns))
        table = self._rows.from_index(episode.start, len(episode))
        return table

    def _observed(
        self, name: str, table: pyarrow.Table, episode: _Episode
    ) -> np.ndarray:
        kind = self._dataset.kind(name)
        if kind not in _PICTURES:
            return self._numbers(name, table)
        size = _size(self._dataset.features[name])
        if kind == "image":
            frames = (_picture(name, c.as_py(), size) for c in table.column(name))
        else:
            frames = self._frames(name, size, table, episode)
        first = self._wanted.fit(next(frames)[None])[0]  # of frames that may be large
        refuse_size([Stored(first.dtype, (len(table), *first.shape))])
        return np.stack([first, *(self._wanted.fit(x[None])[0] for x in frames)])

    def _frames(
        self, name: str, size: tuple[int, int], table: pyarrow.Table, episode: _Episode
    ) -> Iterator[np.ndarray]:
        file, begin = episode.videos[name]
        path = self._dataset.file(file)
        if self._video is None or self._video.path != path:
            self._video = Video(path, size, self._dataset.fps)
        return self._video.frames(begin + numbers(table, "timestamp", ())[:, 0])

    def _numbers(self, name: str, table: pyarrow.Table) -> np.ndarray:
        """[T, ...]; scalars are [T, 1]."""
        return numbers(table, name, self._dataset.shape(name))

    def _reward(self, table: pyarrow.Table) -> np.ndarray | None:
        if "next.reward" not in self._dataset.features:
            return None
        return self._numbers("next.reward", table)[:, 0]

    def _flag(self, name: str, table: pyarrow.Table) -> np.ndarray:
        if name not in self._dataset.features:
            return np.zeros(len(table), bool)
        return self._numbers(name, table)[:, 0] != 0


def _picture(name: str, cell: Any, size: tuple[int, int]) -> np.ndarray:
    """The image of a table's cell, uint8 [H, W, 3]."""
    from PIL import Image

    data = cell.get("bytes") if isinstance(cell, dict) else None
    if not data:
        raise BadFileError(
            f"{name}: images lie in files of their own, not in the table"
        )
    with reading(name):
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        if image.mode not in _PNG_MODES or (image.height, image.width) != size:
            refuse(
                [
                    f"{name}: a picture of {image.height}×{image.width}, mode "
                    f"{image.mode}, expected {size[0]}×{size[1]} in 8 bits"
                ]
            )
        return np.asarray(image.convert("RGB"))


def _stored(feature: Any) -> Stored | None:
    """What a feature is in one row; None if it's neither a picture nor numbers."""
    kind = feature.get("dtype") if isinstance(feature, dict) else None
    if kind in _PICTURES:
        return Stored(np.dtype(np.uint8), (1, *_size(feature), 3))
    if kind in _NUMBERS and len(_shape(feature)) < 2:
        return Stored(np.dtype(kind), (1, *_shape(feature)))
    return None


def _shape(feature: Any) -> tuple[int, ...]:
    shape = feature.get("shape") if isinstance(feature, dict) else None
    if not (isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)):
        raise BadFileError(f"{_INFO}: a feature's shape is {shown(repr(shape))}")
    return tuple(shape)


def _size(feature: Any) -> tuple[int, int]:
    """Height and width of pictures; channels come last, or first by their names."""
    shape, names = _shape(feature), feature.get("names")
    if len(shape) != 3:
        raise BadFileError(f"{_INFO}: a picture's shape is {shape}")
    first = isinstance(names, list) and str(names[:1]).startswith("['channel")
    return (shape[1], shape[2]) if first else (shape[0], shape[1])


def _names(feature: Any) -> list[str]:
    """Names of an action's numbers, which may lie one level deeper."""
    names = feature.get("names")
    if isinstance(names, dict):
        lists = [value for value in names.values() if isinstance(value, list)]
        names = lists[0] if len(lists) == len(names) == 1 else list(names)
    return [shown(str(name)) for name in names] if isinstance(names, list) else []
