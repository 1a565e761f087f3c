"""Published state-vector datasets: their addresses, names of files, downloads."""

from __future__ import annotations

import difflib
import http.client
import itertools
import re
import shutil
import urllib.request
from pathlib import Path
from typing import BinaryIO

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import atomic
from vd4rl_loader.ogbench_tasks import datasets, find_task

_BERKELEY = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
_ULTRA = "https://github.com/ZhengyaoJiang/d4rl/releases/download/public"
_POLIXIR = "http://datasets.polixir.site/v2"
_OGBENCH = "https://rail.eecs.berkeley.edu/datasets/ogbench"

_MUJOCO = ("hopper", "walker2d", "halfcheetah")
_LEVELS = (
    "random",
    "medium",
    "medium-replay",
    "medium-expert",
    "expert",
    "full-replay",
)
_NEORL = ("Hopper", "Walker2d", "HalfCheetah")
_NEORL_LEVELS = ("low", "medium", "high")
_MAZES = {"umaze": "u-maze", "medium": "big-maze", "large": "hardest-maze"}
_NEORL_TRAJECTORIES = 1000  # of 100, 1000 and 10000: the paper's
_TIMEOUT = 60  # seconds without an answer of a server


def _mujoco() -> dict[str, str]:
    return {
        f"{env}-{level}-v2": f"{_BERKELEY}/gym_mujoco_v2/"
        f"{env}_{level.replace('-', '_')}-v2.hdf5"
        for env, level in itertools.product(_MUJOCO, _LEVELS)
    }


def _antmaze() -> dict[str, str]:
    urls = {}
    for maze, kind in itertools.product((*_MAZES, "ultra"), ("play", "diverse")):
        task = f"antmaze-{maze}-{kind}"
        # umaze's plain dataset has one start and one goal.
        if maze == "umaze":
            task = {"play": "antmaze-umaze", "diverse": "antmaze-umaze-diverse"}[kind]
        start, goal = task != "antmaze-umaze", kind == "diverse"
        choice = f"noisy_multistart_{start}_multigoal_{goal}_sparse"
        if maze == "ultra":
            urls[f"{task}-v0"] = f"{_ULTRA}/Ant_maze_ultra_{choice}.hdf5"
            continue
        file = f"Ant_maze_{_MAZES[maze]}_{choice}"
        urls[f"{task}-v2"] = f"{_BERKELEY}/ant_maze_v2/{file}_fixed.hdf5"
        urls[f"{task}-v0"] = f"{_BERKELEY}/ant_maze_new/{file}.hdf5"
    return urls


def _neorl() -> dict[str, str]:
    return {
        f"{env}-v3-{level}": f"{_POLIXIR}/{env}-v3/"
        f"{env}-v3-{level}-{_NEORL_TRAJECTORIES}-train-noise.npz"
        for env, level in itertools.product(_NEORL, _NEORL_LEVELS)
    }


def _ogbench() -> dict[str, str]:
    names = (*datasets(), *datasets(visual=True))
    return {name: f"{_OGBENCH}/{name}.npz" for name in names}


# suite -> task with its version -> address; of a task's versions the first is meant.
URLS = {
    "d4rl": {**_mujoco(), **_antmaze()},
    "neorl": _neorl(),
    "ogbench": _ogbench(),
}
_VERSION = re.compile(r"-v\d+")
_COPY = re.compile(r" ?\(\d+\)(?=\.)")  # as browsers name a second download
_MUJOCO_FILE = re.compile(
    r"(hopper|walker2d|halfcheetah|ant)_(random|medium|medium_replay|medium_expert|"
    r"expert|full_replay|mixed)(-v\d+)?\.hdf5"
)
_NEORL_FILE = re.compile(
    r"((?:Hopper|Walker2d|HalfCheetah)-v3-[a-z]+)-(\d+)-(train|val)(?:-noise)?\.npz"
)
_NEORL2_FILE = re.compile(
    r"((?:Pipeline|Simglucose|RocketRecovery|RandomFrictionHopper|DMSD|Fusion|"
    r"SafetyHalfCheetah|Salespromotion)-(?:train|val))\.npz"
)
_OGBENCH_FILE = re.compile(
    r"((?:visual-)?(?:pointmaze|antmaze|humanoidmaze|antsoccer|cube|scene|puzzle|"
    r"powderworld)-.+-v\d+(?:-val)?)\.npz"
)


def url(task: str, suite: str | None = None) -> str:
    """The address of a dataset's file.

    Args:
      task: such as "hopper-medium-replay" or "Hopper-low", with its version or
        without; without, AntMaze's is v2 (v0 of ultra, which has no other). OGBench's
        may be the data's name or a single task's.
      suite: "d4rl", "neorl" or "ogbench"; by default the one with such a task.

    Raises:
      DataError: there is no such dataset.
    """
    known = _known(suite)
    for name, address in known.items():
        if is_version_of(name, task):
            return address
    names = list(dict.fromkeys(_VERSION.sub("", name) for name in known))
    near = difflib.get_close_matches(task, [*names, *known], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    where = f" in {suite}" if suite else ""
    raise DataError(f"task {task!r}: no such published dataset{where} ({hint})")


def download_states(task: str, out: str | Path, suite: str | None = None) -> Path:
    """Downloads one dataset's file, and OGBench's validation file beside it; one that
    is there already is not fetched again.

    Args:
      task: such as "hopper-medium-replay", "antmaze-large-diverse", "Hopper-low" or
        "cube-single-play-singletask-v0".
      out: folder to write to, under the published name.
      suite: "d4rl", "neorl" or "ogbench"; by default the one with such a task.

    Returns:
      The file to train on.

    Raises:
      DataError: there is no such dataset, the server cannot be reached, or the file
        cannot be written.
    """
    address = url(task, suite)
    if address in URLS["ogbench"].values():
        _fetch(address.replace(".npz", "-val.npz"), out)
    return _fetch(address, out)


def _fetch(address: str, out: str | Path) -> Path:
    path = Path(out).expanduser() / _file_name(address)
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary, temporary.open("wb") as file:
            _copy(address, file, path.name)
    except (OSError, http.client.HTTPException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: downloading {address} failed ({reason}): try again"
        ) from error
    return path


def _copy(url: str, file: BinaryIO, title: str) -> None:
    from rich.console import Console
    from rich.progress import wrap_file

    # Made anew each time: it reads the environment's proxies only once.
    opener = urllib.request.build_opener()
    with opener.open(url, timeout=_TIMEOUT) as answer:
        length = int(answer.headers.get("Content-Length") or 0)
        with wrap_file(
            answer, length, description=title, console=Console(stderr=True)
        ) as shown:
            shutil.copyfileobj(shown, file, 1 << 20)
        if length and file.tell() != length:
            raise OSError(f"{file.tell():,} of {length:,} bytes arrived")


def expected_file(task: str) -> str:
    """The published name of a task's file, such as "hopper_medium-v2.hdf5".

    Raises:
      DataError: there is no such dataset.
    """
    return _file_name(url(task))


def tasks() -> list[str]:
    """All tasks with their versions; of a task's versions the usual one first."""
    return list(_known(None))


def published_task(file_name: str) -> str | None:
    """The dataset, with version, whose file is published under this name, if any is.

    Also of datasets that no task here means: other versions of D4RL's, other numbers of
    NeoRL's trajectories, NeoRL-2's, validation files, OGBench's.
    """
    file_name = _COPY.sub("", file_name)
    names = {_file_name(address): name for name, address in _known(None).items()}
    if file_name in names:
        return names[file_name]
    if match := _MUJOCO_FILE.fullmatch(file_name):
        env, level, version = match.groups()
        level = level.replace("_", "-").replace("mixed", "medium-replay")
        return f"{env}-{level}{version or '-v0'}"
    if match := _NEORL_FILE.fullmatch(file_name):
        name, count, kind = match.groups()
        return f"{name}-{count}" + ("-val" if kind == "val" else "")
    if match := _NEORL2_FILE.fullmatch(file_name):
        return match[1]
    if match := _OGBENCH_FILE.fullmatch(file_name):
        return f"OGBench's {match[1]}"
    return None


def is_version_of(name: str, task: str) -> bool:
    """Whether `task` means the dataset `name`: it has the same version, or none, or is
    a single task of OGBench's with these data.
    """
    if single := find_task(task):
        return name == single.dataset
    return task in (name, _VERSION.sub("", name))


def _known(suite: str | None) -> dict[str, str]:
    return {
        name: address
        for key, tasks in URLS.items()
        if suite in (None, key)
        for name, address in tasks.items()
    }


def _file_name(address: str) -> str:
    return address.rpartition("/")[2]
