"""Datasets of either kind by one function. No JAX."""

from collections.abc import Callable
from pathlib import Path

import vd4rl_loader
from dreamer_leq.config import tasks
from dreamer_leq.system.errors import UserError
from vd4rl_loader import Dataset
from vd4rl_loader.states import StateDataset, is_state_data, open_states


def open_dataset(
    path: str | Path,
    task: str | None = None,
    *,
    image_size: int = 64,
    skip_bad: bool = False,
    log: Callable[[str], None] = print,
) -> Dataset | StateDataset:
    """The dataset of pixels or state vectors (docs/data.md) that train_offline.py opens
    with --data and --task.

    Of N entries it has `image` [N, S, S, 3] or `vector` [N, D], `action` [N, A], and
    `reward`, `is_first`, `is_last` and `is_terminal` [N], as read-only, memory-mapped
    arrays where that saves memory. `offsets` say where episodes begin, `spec` what the
    data are of, `statistics()` what is in them, `returns()` is of every episode, and
    `episode(index)` a dict of one episode's arrays.

    Args:
      path: of pixels the datasets' root, a level's folder or one file; of state vectors
        a file, a folder of them, or minari:DATASET_ID.
      task: such as "walker_walk-medium_expert" or "hopper-medium-replay"; chooses where
        `path` holds several datasets. Without it the files say what they are.
      image_size: S, side of the images in pixels; others are resized.
      skip_bad: go on without what cannot be used, and say what it was.
      log: receives lines for the user.

    Raises:
      UserError: there is no such task.
      DataError: there is no such dataset, or it is unusable.

    Example:
      dataset = dl.open_dataset("datasets/pointmaze-umaze.hdf5")
      dataset.vector.shape, dataset.action.shape  # (N, D), (N, A)
      last = dataset.episode(-1)
      last["reward"].sum() == dataset.returns()[-1]
    """
    about = None if task is None else parse_task(task)
    pixels = not is_state_data(path) if about is None else about.pixels
    if not pixels:
        return open_states(path, task, skip_bad, log)
    return vd4rl_loader.open_dataset(
        path,
        task
        if about and about.suite == "ogbench"
        else about and about.environment["task"],
        about and about.level,
        image_size=image_size,
        min_length=2,  # a transition: to look at, not to train on
        skip_bad=skip_bad,
        log=log,
    )


def parse_task(name: str) -> tasks.Task:
    """The task of a name; UserError where there is none."""
    if not tasks.is_task(name):
        raise UserError(f"task {name!r}: expected {tasks.WORDS}")
    return tasks.parse(name)
