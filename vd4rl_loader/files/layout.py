"""Finds a dataset's files under the folder or file that the user gave.

V-D4RL lies as `main|distracting|multitask/<task>/<level>/<size>px/<files>`, where a
level may have further parts (`expert/easy`), before or after the `<size>px` folder.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files import foreign
from vd4rl_loader.files.untrusted import read_json
from vd4rl_loader.ogbench_tasks import SingleTask, find_task, task_of_file

SUFFIXES = (".npz", ".hdf5")
_ALIGNMENTS = ("arrival", "departure")
ALIGNMENT_HELP = (
    "of images: arrival where entry t holds the action that led to image t, departure "
    "where it holds the one that was played in it (default: as dataset.json says, or "
    "arrival)"
)
_SUITES = ("main", "distracting", "multitask")
_SIZE_FOLDER = re.compile(r"(\d+)px")
_MAX_DEPTH = 10  # folders below the one that is given


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one dataset.

    Attributes:
      folder: where the files lie.
      files: the files, numbers in their names in numerical order.
      single: whether the user named one file of the folder.
      record: what `dataset.json` says of them; empty where there is none.
      task, level: as the record, the layout or the user says; None if nobody does.
      departure: whether entry t holds what was done in image t, not what led there.
      ogbench: the single task of OGBench whose rewards are meant; None of other data.
    """

    folder: Path
    files: list[Path]
    single: bool
    record: dict[str, Any]
    task: str | None
    level: str | None
    departure: bool
    ogbench: SingleTask | None = None

    @property
    def suffix(self) -> str:
        """ ".npz" or ".hdf5"."""
        return self.files[0].suffix


def find_source(
    path: str | Path,
    task: str | None,
    level: str | None,
    image_size: int,
    alignment: str = "auto",
) -> Source:
    """Finds the files that `path` and, for a root, `task` and `level` mean.

    Where a level comes in several image sizes, `image_size` itself is taken, else the
    next larger one. `alignment` is "arrival", "departure", or "auto": as the record
    says, "arrival" where there is none.

    Raises:
      DataError: there is no such dataset, or more than one.
    """
    path = checked(path)
    single = find_task(task) or _ogbench_task(path)
    if single and single.visual:
        return _ogbench_source(path, single)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise DataError(
                f"{path}: neither a .npz nor a .hdf5 file{foreign.file_hint(path)}"
            )
        return _source(path.parent, [path], task, level, alignment, single=True)
    below = [folder for folder in _data_folders(path) if folder != path]
    if data_files(path) and not _is_root_of(path, below, task, level):
        folder = path
    else:
        folder = _choose(path, below, task, level, image_size)
    return _source(folder, data_files(folder), task, level, alignment)


def _ogbench_task(path: Path) -> SingleTask | None:
    """The default task of a file of OGBench's, or of the only one in a folder."""
    files = data_files(path) if path.is_dir() else [path]
    found = {task_of_file(file.name) for file in files}
    return found.pop() if len(found) == 1 else None


def _ogbench_source(path: Path, single: SingleTask) -> Source:
    """The file with the data of a single task, or the folder's that has them."""
    file, name = path, f"{single.dataset}.npz"
    if path.is_dir():
        file = next((f for f in data_files(path) if f.name == name), path / name)
        if not file.is_file():
            raise DataError(
                f"{path}: no {name} in it: fetch it with python -m vd4rl_loader "
                f"download --suite ogbench --task {single.dataset} --out {path}"
            )
    of_file = task_of_file(file.name)
    if of_file is None or of_file.dataset != single.dataset:
        raise DataError(
            f"{file}: {single.name} has other data: give {name}, or the folder it is in"
        )
    names = single.environment, single.kind
    return Source(file.parent, [file], True, {}, *names, departure=True, ogbench=single)


def checked(path: str | Path) -> Path:
    """The file or folder that a user means.

    Raises:
      DataError: it is neither, or cannot be looked at.
    """
    name = shown(str(path), 300)
    try:
        path = Path(path).expanduser()
        if path.is_dir():
            os.scandir(path).close()
            return path
        is_file, there = path.is_file(), os.path.lexists(path)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{name}: cannot be opened ({reason})") from error
    if not is_file:
        trouble = "neither a file nor a folder" if there else "no such file or folder"
        raise DataError(f"{name}: {trouble}")
    return path


def _is_root_of(
    path: Path, below: list[Path], task: str | None, level: str | None
) -> bool:
    """Whether the dataset lies below, and the folder's own files are something else."""
    if task is None or _matches(path, task, level):
        return False
    return any(_matches(folder, task, level) for folder in below)


def data_files(folder: Path) -> list[Path]:
    """The folder's .npz and .hdf5 files, in order; hidden ones are not data.

    Raises:
      DataError: one of them is a folder, a FIFO, a link to nothing or the like.
    """
    files = [
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".")
    ]
    for path in sorted(files):
        if not path.is_file():
            raise DataError(
                f"{path}: is not a file: remove it, or give it another name"
            )
    return sorted(files, key=_natural)


def is_next(before: Path, path: Path) -> bool:
    """Whether two files' names first differ in a number, which is one higher then.

    Published are names such as `shard_1_reward_930.hdf5`, `shard_2_reward_712.hdf5`.
    """
    pairs = zip(_natural(before), _natural(path), strict=False)
    one, other = next(((a, b) for a, b in pairs if a != b), ("", ""))
    return isinstance(one, int) and other == one + 1


def _natural(path: Path) -> list:
    # shard_2 comes before shard_10: parts of an episode lie in neighbouring shards.
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part for part in parts]


def _data_folders(root: Path) -> list[Path]:
    found = []
    for name, folders, files in os.walk(root, followlinks=True):
        depth = len(Path(name).relative_to(root).parts)
        visible = [f for f in folders if f[0] != "." and not _leads_up(name, f)]
        folders[:] = sorted(visible) if depth < _MAX_DEPTH else []
        if any(file.endswith(SUFFIXES) and file[0] != "." for file in files):
            found.append(Path(name))
    return found


def _leads_up(parent: str, name: str) -> bool:
    """Whether a folder is a link to one above it."""
    path = os.path.join(parent, name)
    return os.path.islink(path) and os.path.realpath(parent).startswith(
        os.path.realpath(path)
    )


def _choose(
    root: Path,
    folders: list[Path],
    task: str | None,
    level: str | None,
    image_size: int,
) -> Path:
    if not folders:
        raise DataError(
            f"{root}: no .npz or .hdf5 files in it or up to {_MAX_DEPTH} folders below"
            f"{foreign.folder_hint(root)}"
        )
    fitting = [f for f in folders if _matches(f, task, level)]
    datasets = {_without_size(folder) for folder in fitting}
    if len(datasets) == 1:
        return min(fitting, key=lambda folder: _size_distance(folder, image_size))
    wanted = " ".join(
        f"{name} {value!r}"
        for name, value in (("task", task), ("level", level))
        if value
    )
    trouble = f"several datasets for {wanted}" if fitting else f"nothing for {wanted}"
    found = "\n".join(
        f"  {shown(str(folder.relative_to(root)), 200)}"
        for folder in fitting or folders
    )
    raise DataError(
        f"{root}: {trouble if wanted else 'several datasets'}; give the task and level "
        f"of one of these folders, or the folder itself:\n{found}"
    )


def _matches(folder: Path, task: str | None, level: str | None) -> bool:
    parts = _without_size(folder)
    levels = tuple(level.split("/")) if level else ()
    if task and levels:
        return parts[-1 - len(levels) :] == (task, *levels)
    if levels:
        return parts[-len(levels) :] == levels
    return not task or task in parts


def _without_size(folder: Path) -> tuple[str, ...]:
    parts = folder.absolute().parts
    return tuple(part for part in parts if not _SIZE_FOLDER.fullmatch(part))


def _size_distance(folder: Path, image_size: int) -> tuple[bool, bool, int]:
    sizes = [_SIZE_FOLDER.fullmatch(part) for part in folder.parts]
    size = next((int(m[1]) for m in reversed(sizes) if m), 0)
    return size != image_size, size < image_size, abs(size - image_size)


def _source(
    folder: Path,
    files: list[Path],
    task: str | None,
    level: str | None,
    alignment: str,
    single: bool = False,
) -> Source:
    if len({file.suffix for file in files}) > 1:
        raise DataError(f"{folder}: holds .npz and .hdf5 files, give one of the files")
    record = _read_record(folder / "dataset.json")
    told = {"task": task, "level": level}
    known = _identify(folder)
    for name in told:
        known[name] = record.get(name) or known.get(name)
        if told[name] and known[name] and told[name] != known[name]:
            raise DataError(
                f"{folder}: holds {name} {known[name]!r}, not {told[name]!r}; give "
                f"that {name}, or the folder above all tasks"
            )
    return Source(
        folder=folder,
        files=files,
        single=single,
        record=record,
        task=known["task"] or task,
        level=known["level"] or level,
        departure=_alignment(alignment, record) == "departure",
    )


def _alignment(given: str, record: dict[str, Any]) -> str:
    if given not in ("auto", *_ALIGNMENTS):
        raise DataError(f"alignment is {given!r}: give auto, arrival or departure")
    return record.get("alignment", "arrival") if given == "auto" else given


def _identify(folder: Path) -> dict[str, str | None]:
    """Task and level by V-D4RL's layout, where the folder lies in it."""
    parts = folder.resolve().parts
    sizes = [i for i, part in enumerate(parts) if _SIZE_FOLDER.fullmatch(part)]
    suites = [i for i, part in enumerate(parts) if part in _SUITES]
    if not (sizes and suites and 2 <= sizes[-1] - suites[-1] <= 4):
        return {}
    task, *levels = (
        part for i, part in enumerate(parts) if i > suites[-1] and i != sizes[-1]
    )
    return {"task": task, "level": "/".join(levels) or None}


def _read_record(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        return {}
    record = read_json(path)
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object")
    for name in ("task", "level"):
        if not isinstance(record.get(name, ""), str | None):
            given = shown(repr(record[name]))
            raise DataError(f"{path}: {name} is {given}, expected a text")
    if record.get("alignment", "arrival") not in _ALIGNMENTS:
        given = shown(repr(record["alignment"]))
        raise DataError(
            f"{path}: alignment is {given}, expected 'arrival' or 'departure'"
        )
    return record
