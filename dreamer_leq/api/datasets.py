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
    """Opens pixels or state vectors, as train_offline.py's --data and --task do.

    Args:
      path: of pixels the datasets' root, a level's folder or one file; of state vectors
        a file, a folder of them, or minari:DATASET_ID.
      task: such as "walker_walk-medium_expert" or "hopper-medium-replay"; chooses where
        `path` holds several datasets. Without it the files say what they are.
      image_size: side of the images in pixels; others are resized.
      skip_bad: go on without unusable files of pixels.
      log: receives lines for the user.

    Raises:
      UserError: there is no such task.
      DataError: there is no such dataset, or it is unusable.
    """
    about = None if task is None else parse_task(task)
    pixels = not is_state_data(path) if about is None else about.pixels
    if not pixels:
        return open_states(path, task, log)
    return vd4rl_loader.open_dataset(
        path,
        about and about.environment["task"],
        about and about.level,
        image_size=image_size,
        min_length=2,  # a transition: to look at, not to train on
        skip_bad=skip_bad,
        log=log,
    )


def parse_task(name: str) -> tasks.Task:
    """What a task's name says; UserError where it is none."""
    if not tasks.is_task(name):
        raise UserError(f"task {name!r}: expected {tasks.WORDS}")
    return tasks.parse(name)
