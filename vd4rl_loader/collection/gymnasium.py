"""Collects locomotion datasets of state vectors, as D4RL's and NeoRL's, in parallel."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from vd4rl_loader.collection import levels
from vd4rl_loader.collection.levels import Behaviour
from vd4rl_loader.collection.play import EpisodePlayer
from vd4rl_loader.collection.progress import progress_bar
from vd4rl_loader.errors import require_at_least
from vd4rl_loader.files.state_files import (
    Transitions,
    check_output,
    concatenate,
    write_d4rl,
    write_neorl,
)
from vd4rl_loader.simulators.locomotion import check_task
from vd4rl_loader.simulators.workers import EPISODE_LIMIT, NO_OPENGL, exchange, pool

# NeoRL's 80 % mean and 20 % sampled actions: every fifth episode is sampled.
_NEORL_TURNS = ("mean", "mean", "mean", "mean", "sampled")


def collect_gymnasium(
    task: str,
    level: str,
    steps: int,
    seed: int,
    out: str | Path,
    layout: str = "d4rl",
    policies: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Collects a dataset of a locomotion task in one file.

    Every behaviour of the level (medium_expert has two, medium_replay all checkpoints
    up to medium) plays an equal share of the steps, one after the other. An episode
    depends on its behaviour, its number there and the arguments alone: the file is the
    same whatever the number of workers.

    Args:
      task: one of `locomotion.TASKS`.
      level: one of `levels.LEVELS`.
      steps: transitions; every share's last episode is finished, so there may be more.
      seed: of initial states and actions.
      out: the file, .hdf5 or .npz by its layout.
      layout: "d4rl", all actions sampled; or "neorl": observations begin with x, and
        every fifth episode has sampled actions, the others the policy's mean.
      policies: a folder of policies for the task; by default the package's own.
      workers: processes; by default one per core.
      progress: show a progress bar on stderr.

    Raises:
      DataError: an argument is wrong, or the file exists or cannot be written.
      WorkerError: an episode could not be played; nothing is written.
    """
    check_task(task)
    require_at_least(1, "steps", steps)
    require_at_least(0, "seed", seed)
    require_at_least(1, "workers", workers)
    policies = policies and str(policies)
    parts = _parts(task, level, policies, layout)
    path = check_output(out, layout)
    player = EpisodePlayer(task, seed, parts, policies, layout == "neorl")
    share = -(-steps // len(parts))
    processes = workers or len(os.sched_getaffinity(0))
    with progress_bar(progress, "collecting steps", share * len(parts)) as advance:
        episodes = _play_all(player, share, processes, advance)
    record = {
        "suite": "gymnasium",
        "task": task,
        "level": level,
        "seed": seed,
        "episodes": len(episodes),
        "policies": policies or "bundled",
        "behaviours": [[asdict(turn) for turn in turns] for turns in parts],
    }
    write = {"d4rl": write_d4rl, "neorl": write_neorl}[layout]
    write(path, concatenate(episodes), record)
    return path


def _parts(
    task: str, level: str, policies: str | None, layout: str
) -> tuple[tuple[Behaviour, ...], ...]:
    """The behaviours that take turns in each part of the dataset."""
    behaviours = levels.behaviours(task, level, policies, None)
    if layout == "d4rl" or level == "random":
        return tuple((behaviour,) for behaviour in behaviours)
    return tuple(
        tuple(replace(behaviour, mode=mode) for mode in _NEORL_TURNS)
        for behaviour in behaviours
    )


def _play_all(
    player: EpisodePlayer, share: int, processes: int, advance: Callable[[int], None]
) -> list[Transitions]:
    """Episodes in order: of every part the first ones that have `share` steps."""
    played: list[dict[int, Transitions]] = [{} for _ in player.parts]
    steps = [0] * len(played)

    def missing() -> Iterator[tuple[int, int]]:
        for part in range(len(played)):
            index = itertools.count()
            while steps[part] < share:
                yield part, next(index)

    requests = missing()
    with pool(player, processes, NO_OPENGL) as workers:
        queues = [(worker, requests) for worker in workers]
        for (part, index), episode in exchange(queues, _name, EPISODE_LIMIT):
            played[part][index] = episode
            before = min(steps[part], share)
            steps[part] += len(episode["rewards"])
            advance(min(steps[part], share) - before)
    return [each for episodes in played for each in _first(episodes, share)]


def _first(episodes: dict[int, Transitions], share: int) -> Iterator[Transitions]:
    # How many more were begun depends on the number of workers.
    steps = 0
    for index in sorted(episodes):
        if steps >= share:
            return
        yield episodes[index]
        steps += len(episodes[index]["rewards"])


def _name(request: tuple[int, int]) -> str:
    return f"episode {request[1]} of part {request[0]}"
