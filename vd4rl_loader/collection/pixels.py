"""Makes pixel datasets in V-D4RL's own layout, in parallel and resumably.

The command `collect` makes datasets of state vectors too: see `states_collect`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vd4rl_loader.collection import levels
from vd4rl_loader.collection.play import EpisodeMaker
from vd4rl_loader.collection.progress import progress_bar
from vd4rl_loader.collection.recipe import Recipe
from vd4rl_loader.collection.states import collect_states
from vd4rl_loader.collection.suites import SUITES, complete
from vd4rl_loader.errors import require_at_least
from vd4rl_loader.files import episode_files
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import check_rendering, split_task
from vd4rl_loader.simulators.workers import (
    EPISODE_LIMIT,
    Worker,
    WorkerLost,
    close_all,
    exchange,
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `collect`, for all suites."""
    # Absent unless given: `suites.complete` tells what a suite does not take.
    add = partial(parser.add_argument, default=argparse.SUPPRESS)
    add("--suite", help=f"one of {', '.join(SUITES)} (default: dm_control)")
    add("--task", required=True, help="walker_walk, Hopper-v4, ..., or a maze: large")
    add("--level", help=f"one of {', '.join(levels.LEVELS)}; mazes have none")
    add("--episodes", type=int, help="dm_control: episodes of the dataset (100)")
    add("--steps", type=int, help="gymnasium, pointmaze: its transitions (200000)")
    add("--seed", type=int, help="seed of initial states and actions (0)")
    add("--out", required=True, help="dm_control: the dataset's root; others: the file")
    add("--format", dest="layout", help="gymnasium: d4rl (.hdf5) or neorl (.npz)")
    add("--render", help="dm_control: vd4rl (default), or fast: 8 times in software")
    add("--size", type=int, help="dm_control: height and width of images, in pixels")
    add("--workers", type=int, help="processes (default: one per core)")
    add("--hdf5", action="store_true", help="dm_control: also V-D4RL's 84px format")
    add(
        "--noise",
        type=float,
        help="standard deviation of Gaussian noise. dm_control: play half of the "
        "episodes with the policy's mean action plus noise (default: all with sampled "
        "actions). pointmaze: the waypoint controller's (1.0)",
    )
    add("--policy", dest="policies", help="folder of your own policies for the task")


def run(args: argparse.Namespace) -> None:
    """Runs the command `collect`."""
    given = vars(args)
    suite = given.get("suite", "dm_control")
    given = {name: given[name] for name in _OPTIONS if name in given}
    options = complete(suite, given)
    try:
        if suite == "dm_control":
            stopped = "the same command goes on from here"
            print(f"rendering with {check_rendering()}", file=sys.stderr)
            path = collect(**options)
        else:
            stopped = "nothing was written"
            path = collect_states(suite, options)
    except KeyboardInterrupt:
        print(f"stopped: {stopped}", file=sys.stderr)
        raise SystemExit(130) from None
    print(path)


_OPTIONS = (
    *("task", "level", "episodes", "steps", "seed", "out", "layout"),
    *("render", "size", "workers", "hdf5", "noise", "policies"),
)


def _make_all(
    recipe: Recipe, missing: list[int], processes: int, advance: Callable[[int], None]
) -> None:
    indices = iter(missing)
    workers: list[Worker] = []
    try:
        count = min(processes, len(missing))
        workers += (Worker(EpisodeMaker(recipe)) for _ in range(count))
        queues = [(worker, indices) for worker in workers]
        name = lambda index: f"episode {index}"  # noqa: E731
        for _ in exchange(queues, name, EPISODE_LIMIT):
            advance(1)
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
