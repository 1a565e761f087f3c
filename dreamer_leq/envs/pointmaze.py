"""PointMaze as an environment to be scored in, with AntMaze's rewards."""

from __future__ import annotations

import numpy as np

from dreamer_leq.envs.maze_model import CAMERA, ball_model, place_goal
from dreamer_leq.envs.observation import Observation, make_observation
from dreamer_leq.envs.picture import Picture
from vd4rl_loader.simulators.mazes import Maze
from vd4rl_loader.simulators.pointmaze import MARGIN
from vd4rl_loader.simulators.pointmaze import PointMaze as Simulation


class PointMaze:
    """A point that goes where the action says; observations are dicts.

    The vector is float32 [2], x and y in metres. The reward is 1 at the goal, which
    ends the episode, and 0 elsewhere.

    Attributes:
      action_size: 2, the direction.
    """

    action_size = 2

    def __init__(self, maze: str, seed: int, image: bool = False) -> None:
        """Sets up the maze.

        Args:
          maze: one of `vd4rl_loader.simulators.mazes.MAZES`.
          seed: seed of the initial positions.
          image: whether observations hold a picture of the maze from above.

        Raises:
          DataError: there is no such maze.
        """
        self._simulation = Simulation(maze, seed)
        self._picture = _picture(self._simulation.maze) if image else None

    def reset(self) -> Observation:
        """Starts the next episode of this environment's seed."""
        xy = self._simulation.reset()
        return make_observation(xy, self._image(xy), first=True)

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action, float32 [2], clipped to [-1, 1].

        Raises:
          RuntimeError: the episode is over.
        """
        xy, reward, terminal, timeout = self._simulation.step(action)
        return make_observation(
            xy,
            self._image(xy),
            reward=reward,
            last=terminal or timeout,
            terminal=terminal,
        )

    def get_state(self) -> np.ndarray:
        """Where the point is, float64 [2], for `set_state`."""
        return self._simulation.xy.astype(np.float64)

    def set_state(self, state: np.ndarray) -> None:
        """Puts the point somewhere. The episode's clock is not touched."""
        self._simulation.xy = np.asarray(state, np.float32)

    def close(self) -> None:
        """Frees the rendering context."""
        if self._picture:
            self._picture.close()

    def _image(self, xy: np.ndarray) -> np.ndarray | None:
        return self._picture.draw(xy) if self._picture else None


def _picture(maze: Maze) -> Picture:
    model = ball_model(maze, MARGIN)
    place_goal(model, maze.xy(maze.goal_cell))
    return Picture(model, CAMERA)
