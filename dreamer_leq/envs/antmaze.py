"""D4RL's AntMaze (v2) on today's MuJoCo: an ant, a maze, a new goal every episode."""

from __future__ import annotations

import numpy as np

from dreamer_leq.envs import physics
from dreamer_leq.envs.maze_model import CAMERA, ant_model, place_goal
from dreamer_leq.envs.observation import Observation, make_observation
from dreamer_leq.envs.picture import Picture
from vd4rl_loader.simulators.mazes import find_maze

GOAL_RADIUS = 0.5  # metres from the torso, at most

_FRAME_SKIP = 5  # simulation steps of 0.02 s per action
_RESET_NOISE = 0.1


class AntMaze:
    """An ant at the start cell, rewarded once it is where it should be.

    The vector is float32 [29]: the 15 positions (x, y, z in metres, the torso's
    quaternion, 8 joint angles) and the 14 velocities. It does not hold the goal. The
    reward is 1 at the goal, which ends the episode, and 0 elsewhere; nothing else ends
    it but the maze's time limit. An ant on its back stays there.

    Attributes:
      action_size: 8 torques.
      goal: float64 [2], x and y of the present episode's goal, in metres.
      model: MuJoCo's model.
      data: its state.
    """

    action_size = 8

    def __init__(self, maze: str, seed: int, image: bool = False) -> None:
        """Builds the maze.

        Args:
          maze: one of `vd4rl_loader.simulators.mazes.MAZES`.
          seed: seed of goals and initial states.
          image: whether observations hold a picture of the maze from above.

        Raises:
          DataError: there is no such maze, or gymnasium, whose ant it is, is missing.
        """
        import mujoco

        self._maze = find_maze(maze)
        self._rng = np.random.default_rng(seed)
        self.model = ant_model(self._maze)
        self.data = mujoco.MjData(self.model)
        self.goal = np.zeros(2)
        self._steps = self._maze.steps  # over until reset
        self._picture = Picture(self.model, CAMERA) if image else None

    def reset(self) -> Observation:
        """Starts the next episode of this environment's seed, with its own goal."""
        import mujoco

        self._steps = 0
        self.goal = sample_goal(self._maze.xy(self._maze.goal_cell), self._rng)
        place_goal(self.model, self.goal)
        mujoco.mj_resetData(self.model, self.data)
        noise = self._rng.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        self.data.qpos[:] += noise
        self.data.qvel[:] = _RESET_NOISE * self._rng.standard_normal(self.model.nv)
        mujoco.mj_forward(self.model, self.data)
        return make_observation(self._vector(), self._image(), first=True)

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action of 0.1 s, float32 [8], clipped to [-1, 1].

        Raises:
          RuntimeError: the episode is over.
        """
        import mujoco

        if self._steps >= self._maze.steps:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        self.data.ctrl[:] = action  # MuJoCo clips it
        mujoco.mj_step(self.model, self.data, nstep=_FRAME_SKIP)
        distance = np.linalg.norm(self.data.qpos[:2] - self.goal)
        success = bool(distance <= GOAL_RADIUS)
        self._steps = self._maze.steps if success else self._steps + 1
        return make_observation(
            self._vector(),
            self._image(),
            reward=float(success),
            last=self._steps >= self._maze.steps,
            terminal=success,
        )

    def get_state(self) -> np.ndarray:
        """The physics' whole state, float64 [P], for `set_state`; without the goal."""
        return physics.get_state(self.model, self.data)

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. Goal and clock are not touched."""
        physics.set_state(self.model, self.data, state)

    def close(self) -> None:
        """Frees the rendering context."""
        if self._picture:
            self._picture.close()

    def _vector(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])

    def _image(self) -> np.ndarray | None:
        return self._picture.draw(self.data.qpos) if self._picture else None


def sample_goal(cell_xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """D4RL's goal: beyond the centre of its cell by U(0, 1) + U(0, 0.5), x and y each.

    The mean is 0.75 m beyond the centre. The published code for "ultra" moves its goals
    0.5 m back, twice; here they are sampled as in the other mazes.

    Args:
      cell_xy: [2], the centre of the goal's cell, in metres.
      rng: where the goal comes from.

    Returns:
      float64 [2], x and y in metres.
    """
    return np.asarray(cell_xy) + rng.uniform(0, 1, 2) + rng.uniform(0, 0.5, 2)
