"""The command `collect`: the suites it records, and which options each takes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vd4rl_loader.collection.gymnasium import collect_gymnasium
from vd4rl_loader.collection.levels import LEVELS
from vd4rl_loader.collection.ogbench import collect_ogbench
from vd4rl_loader.collection.pixels import collect
from vd4rl_loader.collection.pointmaze import collect_pointmaze
from vd4rl_loader.errors import DataError
from vd4rl_loader.paths import path_argument
from vd4rl_loader.simulators.simulate import check_rendering

_FLAGS = {"policies": "policy", "layout": "format"}  # where they differ from the names


def _collect_maze(task: str, **options: Any) -> Path:
    return collect_pointmaze(maze=task, **options)


class _Suite(NamedTuple):
    collect: Callable[..., Path]
    needed: tuple[str, ...]
    defaults: dict[str, Any]
    others: tuple[str, ...]  # their defaults are those of the collecting function
    if_stopped: str = "nothing was written"


SUITES = {
    "dm_control": _Suite(
        collect,
        ("task", "level", "out"),
        {"episodes": 100, "seed": 0},
        ("render", "size", "workers", "hdf5", "noise", "policies"),
        "the same command goes on from here",
    ),
    "gymnasium": _Suite(
        collect_gymnasium,
        ("task", "level", "out"),
        {"steps": 200_000, "seed": 0},
        ("layout", "policies", "workers"),
    ),
    "pointmaze": _Suite(
        _collect_maze, ("task", "out"), {"steps": 200_000, "seed": 0}, ("noise",)
    ),
    "ogbench": _Suite(
        collect_ogbench,
        ("task", "out"),
        {"episodes": 100, "seed": 0},
        ("workers",),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `collect`, for all suites."""
    # Absent unless given: `complete` tells what a suite does not take.
    add = partial(parser.add_argument, default=argparse.SUPPRESS)
    add(
        "--suite",
        default="dm_control",
        help=f"one of {', '.join(SUITES)} (default: dm_control)",
    )
    add(
        "--task",
        required=True,
        help="walker_walk, Hopper-v4, ..., a maze: large, or OGBench's: cube-single",
    )
    add("--level", help=f"one of {', '.join(LEVELS)}; mazes have none")
    add(
        "--episodes",
        type=int,
        help="dm_control, ogbench: episodes of the dataset (100)",
    )
    add("--steps", type=int, help="gymnasium, pointmaze: its transitions (200000)")
    add("--seed", type=int, help="seed of initial states and actions (0)")
    about = "dm_control: the dataset's root; others: the file"
    add("--out", required=True, type=path_argument, help=about)
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
    given = {k: v for k, v in vars(args).items() if k not in ("command", "suite")}
    options = complete(args.suite, given)
    suite = SUITES[args.suite]
    try:
        if args.suite == "dm_control":
            print(f"rendering with {check_rendering()}", file=sys.stderr)
        print(suite.collect(**options))
    except KeyboardInterrupt:
        print(f"stopped: {suite.if_stopped}", file=sys.stderr)
        raise SystemExit(130) from None


def complete(suite: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a suite's collecting function: those given, and defaults.

    Raises:
      DataError: unknown suite, an option that it does not take, or one is missing.
    """
    if suite not in SUITES:
        raise DataError(f"unknown suite {suite!r}: give one of {', '.join(SUITES)}")
    about = SUITES[suite]
    names = (*about.needed, *about.defaults, *about.others)
    for name in given:
        if name not in names:
            raise DataError(
                f"{_flag(name)} is no option of --suite {suite}, which takes "
                f"{', '.join(map(_flag, names))}"
            )
    for name in about.needed:
        if name not in given:
            raise DataError(f"{_flag(name)} is missing: --suite {suite} needs it")
    return {**about.defaults, **given}


def _flag(name: str) -> str:
    return f"--{_FLAGS.get(name, name)}"
