"""Collects PointMaze datasets: short walks, from which long ones must be stitched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import DataError, require_at_least
from vd4rl_loader.files.state_files import check_output, write_d4rl
from vd4rl_loader.simulators.mazes import CELL, Maze, find_maze
from vd4rl_loader.simulators.pointmaze import (
    STEP,
    at_goal,
    is_clear,
    move,
    near_cell,
    waypoint_action,
)

_WALKS_AT_ONCE = 1024
# Of the walks to a target, how many go to the maze's goal from within their reach, and
# as many from its cell: otherwise the data's mean action would show the way.
GOAL_SHARE = 0.2
_PATIENCE = 4  # such a walk lasts at most this many times as long as without noise
# Half of the steps are lost walks', which run into walls everywhere: who knows the way
# hardly touches one, and a world model of those walks alone would walk through them.
LOST_STEPS = 40
_LOST_HOLD = 8  # steps in one direction
_LOST_SPEED = 1.5  # largest component of it; a step is clipped to 1
_LOST_NOISE = 0.3  # standard deviation around it, so that walls are met at all angles


def collect_pointmaze(
    maze: str, steps: int, seed: int, out: str | Path, noise: float = 1.0
) -> Path:
    """Collects short walks: half of the steps towards a target, half of them lost.

    A walk starts at a random point that is clear of walls and goes to a random cell
    within half as many cells as the goal is from the start; of every five, one goes to
    the goal from a cell within that reach, and one from the goal's cell. There it times
    out, or after 4 times the expected steps. A lost walk takes 40 steps and draws a new
    direction after every 8. Both are terminal, with reward 1, as soon as they come near
    the goal. No walk visits the start cell and the goal cell.

    Args:
      maze: name of the maze.
      steps: transitions; the last walk is finished, so there may be a few more.
      seed: of everything random. The data depend on it and the other arguments alone.
      out: the .hdf5 file, in D4RL's layout.
      noise: standard deviation of the Gaussian noise on the waypoint controller.

    Raises:
      DataError: an argument is wrong, or the file exists or cannot be written.
    """
    found = find_maze(maze)
    require_at_least(1, "steps", steps)
    require_at_least(0, "seed", seed)
    if not 0 <= noise < np.inf:
        raise DataError(f"noise is {noise}: give a standard deviation of at least 0")
    path = check_output(out, "d4rl")
    walks = _collect(found, steps, np.random.default_rng(seed), noise)
    record = {
        "suite": "pointmaze",
        "task": maze,
        "seed": seed,
        "noise": noise,
        "policy": "waypoint controller",
        "episodes": int(np.count_nonzero(walks["terminals"] | walks["timeouts"])),
        **_lengths(found, walks),
    }
    write_d4rl(path, walks, record)
    return path


class _Walks(NamedTuple):
    """Rows of many walks in the order of time, each belonging to one of them."""

    walk: np.ndarray  # int [N]
    xy: np.ndarray  # float32 [N, 2]
    action: np.ndarray  # float32 [N, 2]
    next_xy: np.ndarray  # float32 [N, 2]
    terminal: np.ndarray  # bool [N]
    timeout: np.ndarray  # bool [N]


def _collect(
    maze: Maze, steps: int, rng: np.random.Generator, noise: float
) -> dict[str, np.ndarray]:
    batches: list[_Walks] = []
    while sum(len(batch.walk) for batch in batches) < steps:
        batches.append(_walk_many(maze, rng, noise))
    rows = _joined(batches)
    ends = np.flatnonzero(rows.terminal | rows.timeout) + 1
    rows = _Walks(*(field[: ends[ends >= steps][0]] for field in rows))
    goal = maze.xy(maze.goal_cell).astype(np.float32)
    return {
        "observations": rows.xy,
        "actions": rows.action,
        "next_observations": rows.next_xy,
        "rewards": rows.terminal.astype(np.float32),
        "terminals": rows.terminal,
        "timeouts": rows.timeout,
        "infos/goal": np.tile(goal, (len(rows.xy), 1)),
    }


def _walk_many(maze: Maze, rng: np.random.Generator, noise: float) -> _Walks:
    """Walks to targets and lost ones, in random order and one after the other."""
    aimed = _walk_to_targets(maze, rng, noise)
    lost = _walk_lost(maze, len(aimed.walk) // LOST_STEPS, rng)
    lost = lost._replace(walk=lost.walk + aimed.walk.max() + 1)
    rows = _joined([aimed, lost])
    shuffled = rng.permutation(rows.walk.max() + 1)
    rows = rows._replace(walk=shuffled[rows.walk])
    return _without_whole_ways(maze, _sorted(rows))


def _walk_to_targets(maze: Maze, rng: np.random.Generator, noise: float) -> _Walks:
    xy, target = _draw_walks(maze, rng)
    way = maze.all_distances[(*maze.cell(xy).T, *target.T)]
    limit = _PATIENCE * np.ceil(way * CELL / STEP)

    def action(walk: np.ndarray, xy: np.ndarray, step: int) -> np.ndarray:
        return waypoint_action(maze, xy, target[walk], rng, noise)

    def over(walk: np.ndarray, xy: np.ndarray, steps: int) -> np.ndarray:
        return near_cell(maze, xy, target[walk]) | (steps >= limit[walk])

    return _play(maze, xy, action, over)


def _walk_lost(maze: Maze, count: int, rng: np.random.Generator) -> _Walks:
    xy = _draw_points(maze, count, rng)
    bearing = np.zeros((count, 2))

    def action(walk: np.ndarray, xy: np.ndarray, step: int) -> np.ndarray:
        if step % _LOST_HOLD == 0:
            bearing[:] = rng.uniform(-_LOST_SPEED, _LOST_SPEED, bearing.shape)
        noise = _LOST_NOISE * rng.standard_normal(xy.shape)
        return np.clip(bearing[walk] + noise, -1.0, 1.0).astype(np.float32)

    def over(walk: np.ndarray, xy: np.ndarray, steps: int) -> np.ndarray:
        return np.full(len(walk), steps >= LOST_STEPS)

    return _play(maze, xy, action, over)


def _play(
    maze: Maze,
    xy: np.ndarray,
    action: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    over: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> _Walks:
    """Plays walks from `xy` side by side. `action` and `over` are given the numbers of
    those that go on, where they are, and how many steps they have taken.
    """
    walk = np.arange(len(xy))
    played: list[_Walks] = []
    while len(walk):
        moved = action(walk, xy, len(played))
        next_xy = move(maze, xy, moved)
        terminal = at_goal(maze, next_xy)
        timeout = over(walk, next_xy, len(played) + 1) & ~terminal
        played.append(_Walks(walk, xy, moved, next_xy, terminal, timeout))
        on = ~(terminal | timeout)
        walk, xy = walk[on], next_xy[on]
    return _joined(played)


def _draw_walks(maze: Maze, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Walks' starts, float32 [W, 2], and the cells they go to, int [W, 2]."""
    free = maze.free_cells()
    start = free[rng.integers(len(free), size=_WALKS_AT_ONCE)]
    draw = rng.random(_WALKS_AT_ONCE)
    to_goal, from_goal = draw < GOAL_SHARE, draw > 1 - GOAL_SHARE
    way = maze.distances(maze.goal_cell)[*free.T]
    near = free[(way >= 1) & (way <= _task_distance(maze) // 2)]
    start[to_goal] = near[rng.integers(len(near), size=to_goal.sum())]
    start[from_goal] = maze.goal_cell
    jitter = rng.uniform(-CELL / 2, CELL / 2, start.shape)
    xy = (maze.xy(start) + jitter).astype(np.float32)
    distance = maze.all_distances[(*start.T, ...)][:, *free.T]
    fitting = (distance >= 1) & (distance <= _task_distance(maze) // 2)
    choice = np.argmax(np.where(fitting, rng.random(fitting.shape), -1.0), axis=1)
    target = free[choice]
    target[to_goal] = maze.goal_cell
    # those at the goal would be over before they begin
    begun = is_clear(maze, xy) & ~at_goal(maze, xy)
    return xy[begun], target[begun]


def _draw_points(maze: Maze, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points that are clear of walls and not at the goal, float32 [count, 2]."""
    free = maze.free_cells()
    found = np.zeros((0, 2), np.float32)
    while len(found) < count:
        cell = free[rng.integers(len(free), size=count)]
        jitter = rng.uniform(-CELL / 2, CELL / 2, cell.shape)
        xy = (maze.xy(cell) + jitter).astype(np.float32)
        found = np.concatenate([found, xy[is_clear(maze, xy) & ~at_goal(maze, xy)]])
    return found[:count]


def _joined(parts: list[_Walks]) -> _Walks:
    return _Walks(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _sorted(rows: _Walks) -> _Walks:
    order = np.argsort(rows.walk, kind="stable")
    return _Walks(*(field[order] for field in rows))


def _without_whole_ways(maze: Maze, rows: _Walks) -> _Walks:
    """Drops walks that noise led through the start cell and the goal cell."""
    through = [_visits(maze, rows, cell) for cell in (maze.start_cell, maze.goal_cell)]
    kept = ~(through[0] & through[1])[rows.walk]
    return _Walks(*(field[kept] for field in rows))


def _visits(maze: Maze, rows: _Walks, cell: tuple[int, int]) -> np.ndarray:
    """Which walks come through a cell, bool [W]."""
    found = np.zeros(rows.walk.max() + 1, bool)
    for xy in (rows.xy, rows.next_xy):
        found[rows.walk[(maze.cell(xy) == cell).all(-1)]] = True
    return found


def _task_distance(maze: Maze) -> int:
    return int(maze.distances(maze.start_cell)[maze.goal_cell])


def _lengths(maze: Maze, walks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Cells between the farthest walk and its first cell, and those of the task."""
    ends = walks["terminals"] | walks["timeouts"]
    number = np.cumsum(ends) - ends
    first = np.append(0, np.flatnonzero(ends)[:-1] + 1)[number]
    start = maze.cell(walks["observations"][first])
    here = maze.cell(walks["next_observations"])
    farthest = int(maze.all_distances[(*start.T, *here.T)].max())
    return {"longest_episode_cells": farthest, "task_cells": _task_distance(maze)}
