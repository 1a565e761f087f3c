"""Makes pixel datasets in V-D4RL's own layout, in parallel and resumably."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vd4rl_loader import episode_files, levels
from vd4rl_loader.errors import DataError
from vd4rl_loader.play import EpisodeMaker
from vd4rl_loader.recipe import Recipe
from vd4rl_loader.render import RenderStyle
from vd4rl_loader.simulate import check_rendering, split_task
from vd4rl_loader.workers import Worker, close_all, exchange


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
      WorkerError: an episode could not be made; those before it are kept.
    """
    _require_at_least(1, "episodes", episodes)
    _require_at_least(1, "workers", workers)
    _require_at_least(0, "seed", seed)
    split_task(task)
    style = RenderStyle.named(render, size)
    policies = policies and str(policies)
    recipe = Recipe(task, level, seed, style, hdf5, noise, policies, str(out))
    recipe.open_folders()
    missing = _missing(recipe, episodes)
    if missing:
        processes = min(workers or len(os.sched_getaffinity(0)), len(missing))
        with _progress_bar(progress, episodes, len(missing)) as advance:
            _make_all(recipe, missing, processes, advance)
    return recipe.folder(".npz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `collect`."""
    add = parser.add_argument
    add("--task", required=True, help="dm_control task, such as walker_walk")
    add("--level", required=True, help=f"one of {', '.join(levels.LEVELS)}")
    add("--episodes", type=int, default=100, help="episodes the dataset shall have")
    add("--seed", type=int, default=0, help="seed of initial states and actions")
    add("--out", required=True, help="root of the dataset")
    add("--render", default="vd4rl", help="vd4rl, or fast: 8 times faster in software")
    add("--size", type=int, default=64, help="height and width of images, in pixels")
    add("--workers", type=int, help="processes (default: one per core)")
    add("--hdf5", action="store_true", help="also write V-D4RL's 84px hdf5 format")
    add(
        "--noise",
        type=float,
        help="play half of the episodes with the policy's mean action plus Gaussian "
        "noise of this standard deviation (default: all with sampled actions)",
    )
    add("--policy", dest="policies", help="folder of your own policies for the task")


def run(args: argparse.Namespace) -> None:
    """Runs the command `collect`."""
    print(f"rendering with {check_rendering()}", file=sys.stderr)
    try:
        folder = collect(**{name: getattr(args, name) for name in _OPTIONS})
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    print(folder)


_OPTIONS = (
    *("task", "level", "episodes", "seed", "out", "render", "size"),
    *("workers", "hdf5", "noise", "policies"),
)


def _make_all(
    recipe: Recipe, missing: list[int], processes: int, advance: Callable[[], None]
) -> None:
    indices = iter(missing)
    workers: list[Worker] = []
    try:
        workers += (Worker(EpisodeMaker(recipe)) for _ in range(processes))
        queues = [(worker, indices) for worker in workers]
        for _ in exchange(queues, lambda index: f"episode {index}"):
            advance()
    finally:
        # After an error or Ctrl-C, episodes under way are dropped, not waited for.
        close_all(workers, patience=0.0)
        for suffix in recipe.styles:
            episode_files.remove_leftovers(recipe.folder(suffix))


def _missing(recipe: Recipe, episodes: int) -> list[int]:
    complete = [
        episode_files.complete_episodes(recipe.folder(suffix), suffix)
        for suffix in recipe.styles
    ]
    there = set.intersection(*complete)
    return [index for index in range(episodes) if recipe.name(index) not in there]


@contextlib.contextmanager
def _progress_bar(
    visible: bool, total: int, missing: int
) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("collecting episodes"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not visible) as bar:
        job = bar.add_task("", total=total, completed=total - missing)
        yield lambda: bar.advance(job)


def _require_at_least(least: int, name: str, value: int | None) -> None:
    if value is not None and value < least:
        raise DataError(f"{name} is {value}: give at least {least}")
