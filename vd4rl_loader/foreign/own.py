"""The episodes of this project's own formats, for those of others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.dataset import Dataset, open_dataset
from vd4rl_loader.files import formats
from vd4rl_loader.files.layout import find_source
from vd4rl_loader.files.state_files import recorded
from vd4rl_loader.files.validation import Findings
from vd4rl_loader.foreign.scaling import BOUNDS
from vd4rl_loader.given_episodes import Played
from vd4rl_loader.recording import provenance
from vd4rl_loader.resize import resize_images
from vd4rl_loader.states import StateDataset, is_state_data, open_states


def facts(path: str | Path, task: str | None) -> dict[str, Any]:
    """What a dataset of this project says of its data: "task", and as far as it says
    them "fps", "action_names", "robot", "action_low" and "action_high".

    Args:
      path: as `image_episodes` or `state_episodes` takes it.
      task: the one that the user gave.

    Raises:
      DataError: there is no such dataset.
    """
    if is_state_data(path):
        told = recorded(Path(path))
        name = task or told.get("task") or Path(path).stem
    else:
        source = find_source(path, task, None, 64)
        told, name = source.record, source.task or source.folder.resolve().name
    known = told.get("source") if isinstance(told.get("source"), dict) else {}
    origin = provenance(told)
    found: dict[str, Any] = {"task": str(name)}
    found |= {key: origin[key] for key in ("fps", "robot") if key in origin}
    if isinstance(names := known.get("action_names"), list):
        found["action_names"] = [str(name) for name in names]
    bounds = {name: known[name] for name in BOUNDS if name in known}
    return found | (bounds if len(bounds) == 2 else {})


def image_episodes(
    path: str | Path,
    size: int | None,
    skip_bad: bool,
    alignment: str,
    log: Callable[[str], None],
) -> Iterator[Played]:
    """The episodes of a dataset of images, one in memory at a time.

    Args:
      path: a folder of .npz or .hdf5 files, the level's folder above it, or one file.
      size: of the images, in pixels; None: that of the source.
      skip_bad: leave out unusable files and episodes, and say how many.
      alignment: order of what is read, as `open_dataset` takes it.
      log: receives lines for the user.

    Raises:
      DataError: the dataset is unusable.
    """
    source, findings = find_source(path, None, None, size or 64, alignment), Findings()
    for episode in formats.read_episodes(source, 2, findings):
        image = resize_images(episode.image, size or episode.image.shape[1])
        yield Played(
            "image",
            image,
            episode.action[1:],
            episode.reward[1:],
            episode.terminal,
            episode.vector,
        )
    formats.refuse_bad(source, findings, skip_bad)
    for note in findings.notes:
        log(note)


def state_episodes(
    path: str | Path, task: str | None, skip_bad: bool, log: Callable[[str], None]
) -> Iterator[Played]:
    """The episodes of a dataset of state vectors, which end at every terminal.

    A trajectory that goes on after a terminal, as AntMaze's do, goes on in the next
    episode, which begins with that terminal's state.

    Args:
      path, task: as `open_states` takes them.
      skip_bad: leave out unusable episodes, and say how many.
      log: receives lines for the user.

    Raises:
      DataError: the dataset is unusable.
    """
    data = open_states(path, task, skip_bad, log)
    yield from _cut(data, "vector", log)


def is_ogbench(path: str | Path, task: str | None) -> bool:
    """Whether it is OGBench's images, whose rewards are a task's."""
    return find_source(path, task, None, 64).ogbench is not None


def ogbench_episodes(
    path: str | Path,
    task: str | None,
    size: int | None,
    skip_bad: bool,
    log: Callable[[str], None],
) -> Iterator[Played]:
    """The episodes of OGBench's images, which end at every terminal, as states' do.

    Args:
      path, task: as `open_dataset` takes them.
      size: of the images, in pixels; None: 64.
      skip_bad: leave out unusable files and episodes, and say how many.
      log: receives lines for the user.

    Raises:
      DataError: the dataset is unusable.
    """
    options = {"image_size": size or 64, "min_length": 2, "skip_bad": skip_bad}
    yield from _cut(open_dataset(path, task, log=log, **options), "image", log)


def _cut(
    data: Dataset | StateDataset, kind: str, log: Callable[[str], None]
) -> Iterator[Played]:
    seen, cuts = getattr(data, kind), 0
    for begin, stop in itertools.pairwise(data.offsets):
        ends = begin + np.flatnonzero(data.is_terminal[begin : stop - 1])
        bounds = [begin, *ends[ends > begin], stop - 1]
        cuts += len(bounds) - 2
        for first, last in itertools.pairwise(bounds):
            yield Played(
                kind,
                np.asarray(seen[first : last + 1]),
                data.action[first + 1 : last + 1],
                data.reward[first + 1 : last + 1].astype(np.float64),
                bool(data.is_terminal[last]),
            )
    if cuts:
        log(f"{cuts:,} trajectories go on after a terminal: cut there")
