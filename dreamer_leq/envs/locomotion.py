"""Gymnasium's Hopper, Walker2d and HalfCheetah as D4RL and NeoRL know them."""

from __future__ import annotations

import numpy as np

from dreamer_leq.envs import physics
from dreamer_leq.envs.observation import Observation, make_observation
from dreamer_leq.envs.picture import Picture
from vd4rl_loader.simulators.locomotion import make_locomotion


class Locomotion:
    """A locomotion task of 1000 steps; falling over ends Hopper's and Walker2d's.

    Observations are dicts as `make_observation` makes them; their vector is float32
    [D] with D = 11, 17 and 17, and one more, x, in front with `x_position`.

    Attributes:
      action_size: number of action components A: 3, 6 and 6.
    """

    def __init__(
        self, id: str, seed: int, x_position: bool = False, image: bool = False
    ) -> None:
        """Makes a seeded environment.

        Args:
          id: one of `vd4rl_loader.simulators.locomotion.TASKS`.
          seed: seed of the initial states.
          x_position: whether the vector begins with x, as in NeoRL.
          image: whether observations hold a picture by a camera that follows.

        Raises:
          DataError: there is no such task, or gymnasium is not installed.
        """
        self._seed: int | None = seed  # until the first reset
        self._env = make_locomotion(id, x_position)
        self._over = True  # until reset
        self._picture = Picture(self._env.unwrapped.model, "track") if image else None
        self.action_size = self._env.action_space.shape[0]

    def reset(self) -> Observation:
        """Starts the next episode of this environment's seed."""
        vector, _ = self._env.reset(seed=self._seed)
        self._seed, self._over = None, False
        return make_observation(vector, self._image(), first=True)

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action, float32 [A], clipped to [-1, 1].

        Raises:
          RuntimeError: the episode is over.
        """
        if self._over:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        vector, reward, terminal, timeout, _ = self._env.step(action)
        self._over = terminal or timeout
        return make_observation(
            vector, self._image(), reward=reward, last=self._over, terminal=terminal
        )

    def get_state(self) -> np.ndarray:
        """The physics' whole state, float64 [P], for `set_state`."""
        return physics.get_state(self._env.unwrapped.model, self._env.unwrapped.data)

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. The episode's clock is not touched."""
        inner = self._env.unwrapped
        physics.set_state(inner.model, inner.data, state)

    def close(self) -> None:
        """Frees the simulation and its rendering context."""
        self._env.close()
        if self._picture:
            self._picture.close()

    def _image(self) -> np.ndarray | None:
        if self._picture is None:
            return None
        return self._picture.draw(self._env.unwrapped.data.qpos)
