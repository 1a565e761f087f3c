"""Opens a dataset of state vectors, whatever its format."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files import foreign
from vd4rl_loader.files.layout import checked, data_files
from vd4rl_loader.files.state_files import recorded
from vd4rl_loader.files.untrusted import opened
from vd4rl_loader.files.validation import BadFileError
from vd4rl_loader.ogbench_tasks import find_task, task_of_file
from vd4rl_loader.states import boundaries, d4rl, minari_data, neorl, ogbench
from vd4rl_loader.states.dataset import StateDataset
from vd4rl_loader.states.published import is_version_of, published_task, tasks
from vd4rl_loader.states.tasks import TaskFacts, facts
from vd4rl_loader.states.transitions import Rows, to_dataset

_MINARI = "minari:"
_STATES = {"observations", "obs", "next_obs"}
_VALIDATION = re.compile("-val[-.]")  # in the names of files that are not for training


def open_states(
    path: str | Path,
    task: str | None = None,
    skip_bad: bool = False,
    log: Callable[[str], None] = print,
    own: bool = False,
) -> StateDataset:
    """Opens a dataset of state vectors; its content decides on the format.

    Args:
      path: a file of D4RL's layout, of NeoRL's or OGBench's, a folder with such files,
        or "minari:DATASET_ID" of a dataset on this machine.
      task: which file of a folder with several, by its published name: such as
        "hopper-medium-replay", "antmaze-large-diverse-v2" or "Hopper-low"; of OGBench
        by a single task's, which the rewards are taken from: by default its data's
        default one. Also the task whose sizes, time limit and ends the data have to
        agree with.
      skip_bad: leave out unusable episodes, and go on where what is dropped matters.
      log: receives a line for the user about what was left out.
      own: the task is the user's: nothing is known of it, and any file may be its.

    Raises:
      DataError: there is no such dataset, it is unusable, or another task's.
    """
    minari = str(path).startswith(_MINARI)
    file = path if minari else _find_file(checked(path), None if own else task)
    try:
        if minari:
            name, format = str(path), "minari"
            rows, size = minari_data.read(name.removeprefix(_MINARI), skip_bad)
        else:
            name, size = file.name, file.stat().st_size
            format, rows = _read(file, task)
        known = facts(task or published_task(name), rows.sizes)
        known = TaskFacts(task) if own else known
        _refuse_other_sizes(rows.sizes, known, task)
        transitions = boundaries.episodes(rows, known, skip_bad)
        dataset = to_dataset(transitions, format, size)
    except BadFileError as error:
        raise DataError(f"{file}: {error}") from error
    steps = len(dataset.reward) - len(dataset.offsets) + 1
    counts = f"{steps:,} transitions in {len(dataset.offsets) - 1:,} episodes"
    log(f"{name}: {'; '.join([counts, *transitions.notes])}")
    return dataset


def _refuse_other_sizes(
    sizes: tuple[int, int], known: TaskFacts, task: str | None
) -> None:
    if task and known.sizes and known.sizes != sizes:
        raise BadFileError(
            f"states of {sizes[0]} and actions of {sizes[1]} numbers, but {task} has "
            f"{known.sizes[0]} and {known.sizes[1]}: give that task's data, or another "
            "--task"
        )


def is_state_data(path: str | Path) -> bool:
    """Whether `open_states` is the one to open this, by content or published name."""
    if str(path).startswith(_MINARI):
        return True
    path = checked(path)
    files = data_files(path) if path.is_dir() else [path]
    known = [task for task in (task_of_file(file.name) for file in files[:1]) if task]
    if known and known[0].visual:
        return False
    return any(published_task(file.name) or _has_states(file) for file in files[:1])


def _find_file(path: Path, task: str | None) -> Path:
    if path.is_file():
        return _refuse_other_task(path, task)
    files = data_files(path)
    if not files:
        hint = foreign.folder_hint(path)
        raise DataError(f"{path}: no .npz or .hdf5 files in it{hint}")
    if task:
        published = {published_task(file.name): file for file in files}
        # In the order of the table, so that of two versions the usual one is taken.
        for name in tasks():
            if name in published and is_version_of(name, task):
                return published[name]
    train = [file for file in files if not _VALIDATION.search(file.name)]
    if len(train) == 1:
        return _refuse_other_task(train[0], task)
    names = shown(", ".join(file.name for file in files), 300)
    wanted = f"none of its files is published as {task!r}" if task else "several files"
    raise DataError(f"{path}: {wanted}; give one of them: {names}")


def _refuse_other_task(file: Path, task: str | None) -> Path:
    held = published_task(file.name)
    if task is None or held in (None, task) or recorded(file):
        return file  # what was made here is nobody's, whatever its name
    if held in tasks() and is_version_of(held, task):
        return file
    told = f"{file}: is published as {held!r}, not {task!r}: "
    if held in tasks():
        raise DataError(f"{told}give that task, or another file")
    raise DataError(
        f"{told}give that one's own file, or rename this one to train on it all the "
        "same"
    )


def _read(path: Path, task: str | None) -> tuple[str, Rows]:
    with opened(path) as file:
        if {"obs", "next_obs"} & set(file.names()):
            return "neorl", neorl.read(file)
        if ogbench.is_layout(file):
            single = find_task(task) if task else task_of_file(path.name)
            return "ogbench", ogbench.read(file, single, task or path.stem)
        return "d4rl", d4rl.read(file)


def _has_states(path: Path) -> bool:
    try:
        with opened(path) as file:
            return not _STATES.isdisjoint(file.names())
    except BadFileError:
        return False
