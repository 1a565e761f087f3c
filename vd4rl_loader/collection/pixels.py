"""Makes pixel datasets in V-D4RL's own layout, in parallel and resumably."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from vd4rl_loader.collection.play import EpisodeMaker
from vd4rl_loader.collection.progress import progress_bar
from vd4rl_loader.collection.recipe import Recipe
from vd4rl_loader.errors import require_at_least
from vd4rl_loader.files import episode_files
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import split_task
from vd4rl_loader.simulators.workers import (
    EPISODE_LIMIT,
    WorkerLost,
    exchange,
    pool,
)


def collect(
    task: str,
    level: str,
    episodes: int,
    seed: int,
    out: str | Path,
    render: str = "vd4rl",
    workers: int | None = None,
    size: int = 64,
    hdf5: bool = False,
    noise: float | None = None,
    policies: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Collects a dataset, or what is missing of one.

    An episode depends on its number and the arguments up to `out`, `render`, `size`,
    `noise` and `policies` alone: the files are the same, byte for byte, whatever the
    number of workers, and after any interruption.

    Args:
      task: a dm_control task, such as "walker_walk".
      level: one of `levels.LEVELS`.
      episodes: how many there shall be; those that are there already are kept.
      seed: of initial states and actions.
      out: root of the dataset: files go to `<out>/main/<task>/<level>/<size>px`.
      render: name of a render style.
      workers: processes; by default one per core.
      size: height and width of the images, in pixels.
      hdf5: also write the 84px channel-first format, one shard per episode.
      noise: see `levels.behaviours`.
      policies: a folder of policies for the task; by default the package's own.
      progress: show a progress bar on stderr.

    Returns:
      The folder of .npz files, which also holds the record `dataset.json`.

    Raises:
      DataError: an argument is wrong, or the folder holds another dataset.
      WorkerError: an episode could not be made; those before it are kept. Where a
        worker died or hung, others have tried in vain (WorkerLost).
    """
    require_at_least(1, "episodes", episodes)
    require_at_least(1, "workers", workers)
    require_at_least(0, "seed", seed)
    split_task(task)
    style = RenderStyle.named(render, size)
    policies = policies and str(policies)
    recipe = Recipe(task, level, seed, style, hdf5, noise, policies, str(out))
    recipe.open_folders()
    missing = _missing(recipe, episodes)
    while missing:
        done = episodes - len(missing)
        try:
            with progress_bar(
                progress, "collecting episodes", episodes, done
            ) as advance:
                processes = workers or len(os.sched_getaffinity(0))
                _make_all(recipe, missing, processes, advance)
            break
        except WorkerLost as error:
            before, missing = missing, _missing(recipe, episodes)
            if len(missing) == len(before):
                raise
            print(f"{error}: going on with new workers", file=sys.stderr)
    return recipe.folder(".npz")


def _make_all(
    recipe: Recipe, missing: list[int], processes: int, advance: Callable[[int], None]
) -> None:
    indices = iter(missing)
    count = min(processes, len(missing))
    name = lambda index: f"episode {index}"  # noqa: E731
    try:
        with pool(EpisodeMaker(recipe), count) as workers:
            queues = [(worker, indices) for worker in workers]
            for _ in exchange(queues, name, EPISODE_LIMIT):
                advance(1)
    finally:
        for suffix in recipe.styles:
            episode_files.remove_leftovers(recipe.folder(suffix))


def _missing(recipe: Recipe, episodes: int) -> list[int]:
    complete = [
        episode_files.complete_episodes(recipe.folder(suffix), suffix)
        for suffix in recipe.styles
    ]
    there = set.intersection(*complete)
    return [index for index in range(episodes) if recipe.name(index) not in there]
