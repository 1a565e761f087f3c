"""PointMaze: a point slides through a maze, step by step and many at once, in NumPy.

Positions are float32, as the data store them: an observation is the whole state, and
`move` from a stored observation by the stored action gives exactly the next one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vd4rl_loader.simulators.mazes import CELL, Maze, find_maze

STEP = 0.5  # metres that an action component of 1 moves
# What the point keeps from walls along x or y, in metres. A disc of that radius would
# come to rest on the outer corners of walls, pushed diagonally.
MARGIN = 0.4
GOAL_RADIUS = 0.5  # how near to the goal's centre success is, in metres
# Kept on top of it: rounding to float32 (below 2e-6 m in the largest maze) must not
# push the point into the wall that it slides along.
_GAP = 1e-5


def move(maze: Maze, xy: npt.ArrayLike, action: npt.ArrayLike) -> np.ndarray:
    """Moves points along x, then along y, each time up to the first wall in the way.

    Args:
      maze: where they are.
      xy: their places [n, 2], in metres, none nearer than MARGIN to a wall.
      action: [n, 2], clipped to [-1, 1].

    Returns:
      The new places, float32 [n, 2].
    """
    xy = np.array(xy, np.float32)
    way = STEP * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    for axis in (0, 1):
        sign = np.where(way[:, axis] < 0, -1, 1)
        room = _room(maze, xy, axis, sign)
        xy[:, axis] += sign * np.minimum(np.abs(way[:, axis]), room)
    return xy


def waypoint_action(
    maze: Maze,
    xy: npt.ArrayLike,
    target_cell: npt.ArrayLike,
    rng: np.random.Generator,
    noise: float,
) -> np.ndarray:
    """Actions that walk along shortest paths, from cell centre to cell centre.

    Args:
      maze: where the points are.
      xy: their places [n, 2], in metres.
      target_cell: (row, column) of where they are going, [n, 2] or [2].
      rng: source of the noise.
      noise: standard deviation of the Gaussian noise on both components.

    Returns:
      float32 [n, 2] in [-1, 1]: the unit vector to the next cell's centre, in the
      target cell to its own, plus noise.
    """
    xy = np.asarray(xy, np.float64)
    way = maze.xy(maze.next_cell(maze.cell(xy), target_cell)) - xy
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    direction = way / np.maximum(length, 1e-9)
    action = direction + noise * rng.standard_normal(direction.shape)
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def at_goal(maze: Maze, xy: npt.ArrayLike) -> np.ndarray:
    """Whether points [..., 2] are a success: near enough to the goal's centre."""
    return near_cell(maze, xy, maze.goal_cell)


def is_clear(maze: Maze, xy: npt.ArrayLike) -> np.ndarray:
    """Whether points [..., 2] keep MARGIN from every wall."""
    corners = np.array([(x, y) for x in (-MARGIN, MARGIN) for y in (-MARGIN, MARGIN)])
    cells = maze.cell(np.asarray(xy)[..., None, :] + corners)
    return ~maze.walls[cells[..., 0], cells[..., 1]].any(-1)


def near_cell(maze: Maze, xy: npt.ArrayLike, cell: npt.ArrayLike) -> np.ndarray:
    """Whether points [..., 2] are within GOAL_RADIUS of the centres of cells."""
    return np.linalg.norm(np.asarray(xy) - maze.xy(cell), axis=-1) <= GOAL_RADIUS


class PointMaze:
    """One episode at a time, from the start cell to the goal cell.

    The reward is 1 and the episode over within GOAL_RADIUS of the goal's centre;
    otherwise the reward is 0, until the episode times out after `maze.steps` steps.

    Attributes:
      maze: the map.
      xy: the observation, float32 [2], in metres.
    """

    maze: Maze
    xy: np.ndarray

    def __init__(self, maze: str, seed: int) -> None:
        """Opens a maze of `mazes.MAZES`, with a seed for the initial positions.

        Raises:
          DataError: there is no such maze.
        """
        self.maze = find_maze(maze)
        self._rng = np.random.default_rng(seed)
        self._steps = self.maze.steps  # over until reset

    def reset(self) -> np.ndarray:
        """Starts an episode up to 1 m along x and y from the start cell's centre."""
        self._steps = 0
        start = self.maze.xy(self.maze.start_cell) + self._rng.uniform(-1, 1, 2)
        self.xy = start.astype(np.float32)
        return self.xy.copy()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Takes an action [2], clipped to [-1, 1].

        Returns:
          The observation float32 [2], the reward, whether the goal is reached, and
          whether the time is over without that.

        Raises:
          RuntimeError: the episode is over.
        """
        if self._steps >= self.maze.steps:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        self.xy = move(self.maze, self.xy[None], np.asarray(action)[None])[0]
        self._steps += 1
        terminal = bool(at_goal(self.maze, self.xy))
        timeout = self._steps >= self.maze.steps and not terminal
        if terminal:
            self._steps = self.maze.steps
        return self.xy.copy(), float(terminal), terminal, timeout


def _room(maze: Maze, xy: np.ndarray, axis: int, sign: np.ndarray) -> np.ndarray:
    """Distances [n] >= 0 that points can go along an axis, in direction `sign` [n].

    The next column (for y: row) of cells is all that a step of at most STEP can reach,
    and of it the three cells beside the point's own.
    """
    xy = xy.astype(np.float64)
    cell = maze.cell(xy)
    room = np.full(len(xy), CELL)
    for side in (-1, 0, 1):
        other = cell.copy()
        other[:, 1 - axis] += sign  # cells are (row, column), points (x, y)
        other[:, axis] += side
        offset = maze.xy(other) - xy
        ahead, aside = sign * offset[:, axis], np.abs(offset[:, 1 - axis])
        blocks = maze.walls[other[:, 0], other[:, 1]] & (aside < CELL / 2 + MARGIN)
        limit = ahead - CELL / 2 - MARGIN - _GAP
        room = np.where(blocks, np.minimum(room, limit), room)
    return np.maximum(room, 0.0)
