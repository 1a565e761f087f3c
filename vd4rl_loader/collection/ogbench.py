"""Collects datasets in OGBench's layout, with what its package holds of policies.

For the arm these are the package's own oracles, in their settings; for the point the
direction of its maps. The trained ants and humanoids aren't in the package: here they
move at random, from the tasks' goals.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.collection.progress import progress_bar
from vd4rl_loader.errors import DataError, require_at_least
from vd4rl_loader.files.state_files import check_output, concatenate, write_ogbench
from vd4rl_loader.ogbench_tasks import FAMILIES, datasets, find_task
from vd4rl_loader.simulators.ogbench import load_ogbench
from vd4rl_loader.simulators.workers import EPISODE_LIMIT, NO_OPENGL, exchange, pool

VALIDATION = 10  # episodes for each one of the validation file

# Rows of an episode, by kind and then by the family's beginning.
_ROWS = {
    "navigate": {"humanoidmaze-giant": 4001, "humanoidmaze": 2001, "": 1001},
    "stitch": {"humanoidmaze": 401, "antsoccer-medium": 501, "": 201},
    "explore": {"": 501},
    "play": {"": 1001},
    "noisy": {"": 1001},
}
_GIANT_ROWS = 2001  # of the point's and the ant's way through the giant maze

# Of the point: deviation of the noise on its direction, how near a goal is, in metres,
# and how many cells a walk of "stitch" leads away at most.
_POINT_NOISE, _POINT_NEAR, _STITCH_CELLS = 0.5, 0.5, 4
# After each goal it is lost for so many steps, in directions that it holds for some:
# who knows the way hardly touches a wall, and a world model would walk through them.
_LOST_STEPS, _LOST_HOLD, _LOST_SPEED, _LOST_NOISE = 60, 15, 1.5, 0.3
# Of the arm: noise of its plans ("play"); of its steps, per number, up to this factor,
# and probability of a random action ("noisy").
_PLAN_NOISE, _PLAN_SMOOTHING = 0.1, 0.5
_STEP_NOISE, _STEP_SCALES = 0.1, np.array([1.0, 1.0, 1.0, 3.0, 10.0])
_RANDOM, _RANDOM_PUZZLE = 0.1, 0.2
_MARKOV_NORM = 0.4
_THINGS = {
    "cube": ("cube",),
    "scene": ("cube", "button", "drawer", "window"),
    "puzzle": ("button",),
}
# Probability that a cube is put on another: from and to, drawn per episode.
_STACKS = {"double": (0.0, 0.25), "triple": (0.05, 0.35), "quadruple": (0.1, 0.5)}

Row = dict[str, Any]


def collect_ogbench(
    task: str,
    episodes: int,
    seed: int,
    out: str | Path,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Collects a data set and, beside it, a validation file of a tenth as many
    episodes.

    An episode depends on its number and the arguments alone: the files are the same
    whatever the number of workers.

    Args:
      task: a family, such as "cube-single" or "pointmaze-medium", with the kind of its
        data or without: then "play" or "navigate". Or a single task's name. With
        "visual-" before it, observations are images.
      episodes: to record, each as long as the published ones.
      seed: of everything random.
      out: the .npz file; the validation file's name ends in -val.npz.
      workers: processes; by default one per core.
      progress: show a progress bar on stderr.

    Raises:
      DataError: an argument is wrong, the package ogbench is missing, or a file exists
        or cannot be written.
      WorkerError: an episode could not be played; nothing is written.
    """
    family, kind, visual = _family(task)
    require_at_least(1, "episodes", episodes)
    require_at_least(0, "seed", seed)
    require_at_least(1, "workers", workers)
    path = check_output(out, "ogbench")
    validation = check_output(path.with_name(f"{path.stem}-val.npz"), "ogbench")
    load_ogbench()
    held = -(-episodes // VALIDATION)
    requests = [(0, i) for i in range(episodes)] + [(1, i) for i in range(held)]
    player = _Player(family, kind, seed, visual)
    with progress_bar(progress, "collecting episodes", len(requests)) as advance:
        played = _play_all(player, requests, workers, advance)
    record = {
        "suite": "ogbench",
        "task": f"{'visual-' if visual else ''}{family}-{kind}",
        "seed": seed,
        "policy": "uniform actions" if player.walks else "the package's oracle",
    }
    for split, file in enumerate((validation, path)):
        wanted = [played[r] for r in requests if r[0] == 1 - split]
        write_ogbench(file, concatenate(wanted), record | {"episodes": len(wanted)})
    return path


def _family(task: str) -> tuple[str, str, bool]:
    """The family and the kind of data that a name means, and whether they are images.

    Raises:
      DataError: there are no such data.
    """
    if single := find_task(task):
        return single.family, single.kind, single.visual
    name = task.removesuffix("-v0").removeprefix("visual-")
    visual = task.startswith("visual-")
    if name in FAMILIES:
        name = f"{name}-{FAMILIES[name][0]}"
    if f"{'visual-' if visual else ''}{name}-v0" in datasets(visual):
        family, _, kind = name.rpartition("-")
        return family, kind, visual
    raise DataError(
        f"task {task!r}: give a family of OGBench's, {', '.join(FAMILIES)}; and the "
        "kind of data after it, such as cube-single-noisy or pointmaze-medium-stitch; "
        "with visual- before all but the point's and the soccer's for images"
    )


def _play_all(
    player: _Player,
    requests: list[tuple[int, int]],
    workers: int | None,
    advance: Callable[[int], None],
) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    count = min(workers or len(os.sched_getaffinity(0)), len(requests))
    queue, played = iter(requests), {}
    with pool(player, count, {} if player.visual else NO_OPENGL) as processes:
        queues = [(process, queue) for process in processes]
        for request, episode in exchange(queues, _name, EPISODE_LIMIT):
            played[request] = episode
            advance(1)
    return played


def _name(request: tuple[int, int]) -> str:
    return f"episode {request[1]}" + (" for validation" if request[0] else "")


@dataclass(frozen=True)
class _Player:
    """Plays single episodes; runs in the worker processes.

    Attributes:
      family: such as "cube-single".
      kind: such as "play".
      seed: of everything random.
      visual: whether observations are images.
    """

    family: str
    kind: str
    seed: int
    visual: bool = False

    @property
    def walks(self) -> bool:
        """Whether it moves at random."""
        return self.family.startswith(("ant", "humanoid"))

    @property
    def rows(self) -> int:
        """Of an episode."""
        if self.family in ("pointmaze-giant", "antmaze-giant") and (
            self.kind == "navigate"
        ):
            return _GIANT_ROWS
        return next(
            count
            for start, count in _ROWS[self.kind].items()
            if self.family.startswith(start)
        )

    def __call__(self, request: tuple[int, int]) -> dict[str, np.ndarray]:
        """Plays number `index` of the data (0) or of the validation data (1).

        Returns:
          Its rows, as `state_files.write_ogbench` takes them.
        """
        seeds = np.random.SeedSequence([self.seed, *request])
        package, ours = seeds.spawn(2)
        first = int(package.generate_state(1)[0])
        np.random.seed(first)  # the package's oracles and mazes draw from these
        rng = np.random.default_rng(ours)
        if self.walks:
            moves = self._random_moves(first, rng)
        elif self.family.startswith("pointmaze"):
            moves = self._walks(first, rng)
        else:
            moves = self._tasks(first, rng)
        played = [row for row, _ in zip(moves, range(self.rows), strict=False)]
        rows = {key: np.stack([row[key] for row in played]) for key in played[0]}
        ends = np.arange(self.rows) == self.rows - 1
        return {"observations": rows.pop("observations"), "terminals": ends, **rows}

    def close(self) -> None:
        """Nothing is held."""

    @cached_property
    def _env(self) -> Any:
        arm = self.family.startswith(("cube", "scene", "puzzle"))
        options = {"mode": "data_collection"} if arm else {}
        make = load_ogbench().make
        return make(
            f"{'visual-' if self.visual else ''}{self.family}-v0",
            disable_env_checker=True,
            terminate_at_goal=False,
            **options,
        ).unwrapped

    def _random_moves(self, seed: int, rng: np.random.Generator) -> Iterator[Row]:
        """Uniform actions from the goal of one of the tasks, in soccer the ball's."""
        env = self._env
        info = dict(env.task_infos[rng.integers(len(env.task_infos))])
        info["ball_init_ij" if "ball_init_ij" in info else "init_ij"] = info["goal_ij"]
        observation, _ = env.reset(seed=seed, options={"task_info": info})
        while True:
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            observation, _, row = _step(env, observation, action)
            yield row

    def _walks(self, seed: int, rng: np.random.Generator) -> Iterator[Row]:
        """From a random cell to a random one, a while at random, and on to the next."""
        env = self._env
        free = np.argwhere(env.maze_map == 0)
        start = tuple(free[rng.integers(len(free))])
        _, steps = env.get_oracle_subgoal(env.ij_to_xy(start), env.ij_to_xy(start))
        away = np.array([steps[i, j] for i, j in free])
        reach = _STITCH_CELLS if self.kind == "stitch" else away.max()
        goals = free[(away >= 0) & (away <= reach)]
        draw = lambda: tuple(goals[rng.integers(len(goals))])  # noqa: E731
        goal = draw()
        info = {"init_ij": start, "goal_ij": goal}
        observation, _ = env.reset(seed=seed, options={"task_info": info})
        while True:
            target = np.array(env.ij_to_xy(goal))
            if np.linalg.norm(env.get_xy() - target) < _POINT_NEAR:
                for action in _lost(rng):
                    observation, _, row = _step(env, observation, action)
                    yield row
                goal = draw()
                target = np.array(env.ij_to_xy(goal))
            ahead = env.get_oracle_subgoal(env.get_xy(), target)[0] - env.get_xy()
            ahead = ahead / (np.linalg.norm(ahead) + 1e-6)
            action = ahead + _POINT_NOISE * rng.standard_normal(2)
            observation, _, row = _step(env, observation, action)
            yield row

    def _tasks(self, seed: int, rng: np.random.Generator) -> Iterator[Row]:
        """One thing after the other put into a random place."""
        env = self._env
        puzzle, plans = self.family.startswith("puzzle"), self.kind == "play"
        stack = rng.uniform(*_STACKS.get(self.family.partition("-")[2], (0.0, 0.0)))
        noise = _STEP_NOISE * rng.uniform() * _STEP_SCALES
        random = _RANDOM_PUZZLE if puzzle else _RANDOM
        observation, info = env.reset(seed=seed)
        agent = None
        while True:
            if agent is None or agent.done:
                if agent is not None:
                    observation, info = env.set_new_target(p_stack=stack)
                agent = self._agents[info["privileged/target_task"]]
                agent.reset(observation, info)
            action = np.asarray(agent.select_action(observation, info))
            if not plans:
                action = action + noise * rng.standard_normal(len(action))
                if rng.random() < random:
                    action = rng.uniform(-1, 1, len(action))
            observation, info, row = _step(env, observation, action)
            yield row

    @cached_property
    def _agents(self) -> dict[str, Any]:
        """The package's oracles by what they move."""
        form, options = "markov", {"min_norm": _MARKOV_NORM}
        if self.kind == "play":
            form = "plan"
            options = {"noise": _PLAN_NOISE, "noise_smoothing": _PLAN_SMOOTHING}
        if self.family.startswith("puzzle"):
            options["gripper_always_closed"] = True
        return {
            thing: _oracle(form, thing)(env=self._env, **options)
            for thing in _THINGS[self.family.partition("-")[0]]
        }


def _lost(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Actions of a point that doesn't know its way."""
    for step in range(_LOST_STEPS):
        if step % _LOST_HOLD == 0:
            bearing = rng.uniform(-_LOST_SPEED, _LOST_SPEED, 2)
        yield bearing + _LOST_NOISE * rng.standard_normal(2)


def _oracle(form: str, thing: str) -> Callable[..., Any]:
    """The package's class for moving a thing by "plan" or "markov"."""
    package = f"ogbench.manipspace.oracles.{form}"
    module = importlib.import_module(f"{package}.{thing}_{form}")
    return getattr(module, f"{thing.capitalize()}{form.capitalize()}Oracle")


def _step(
    env: Any, observation: np.ndarray, action: np.ndarray
) -> tuple[np.ndarray, Any, Row]:
    """The next observation, what the package says of it, and the row that was left."""
    action = np.clip(action, -1.0, 1.0).astype(np.float32)
    following, _, _, _, info = env.step(action)
    image = observation.dtype == np.uint8
    row = {
        "observations": observation if image else np.float32(observation),
        "actions": action,
        "qpos": np.float32(info["prev_qpos"]),
        "qvel": np.float32(info["prev_qvel"]),
    }
    if "prev_button_states" in info:
        row["button_states"] = np.int64(info["prev_button_states"])
    return following, info, row
