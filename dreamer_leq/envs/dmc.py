"""dm_control tasks from pixels, seen exactly as the dataset's images were made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import PixelEnv, Step

Observation = dict[str, np.ndarray | np.generic]


class DMCEnv:
    """A task whose observations are the model's inputs, one entry at a time.

    An observation holds image uint8 [S, S, 3], reward float32, and is_first, is_last
    and is_terminal: entry t of an episode in arrival order, without the action.

    Attributes:
      action_size: number of action components A.
    """

    def __init__(self, env: PixelEnv, image_size: int) -> None:
        """Wraps a rendering environment.

        Args:
          env: the environment, rendering at the dataset's source size.
          image_size: S, the model's input size; frames are resized to it as the
            loader resizes the dataset.
        """
        self._env = env
        self._image_size = image_size
        self.action_size = env.action_size

    def reset(self) -> Observation:
        """Starts the next episode."""
        return self._observe(self._env.reset())

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action, float32 [A] in [-1, 1]."""
        return self._observe(self._env.step(action))

    def get_state(self) -> np.ndarray:
        """The physics' whole state, float64 [P], for `set_state`."""
        return self._env.get_state()

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. The episode's clock is not touched."""
        self._env.set_state(state)

    def close(self) -> None:
        """Frees the simulation."""
        self._env.close()

    def _observe(self, step: Step) -> Observation:
        return {
            "image": resize_images(step.image, self._image_size),
            "reward": np.float32(step.reward),
            "is_first": np.bool_(step.is_first),
            "is_last": np.bool_(step.is_last),
            "is_terminal": np.bool_(step.is_terminal),
        }


def make_env(
    task: str,
    render: RenderStyle,
    seed: int,
    action_repeat: int = 2,
    image_size: int | None = None,
) -> DMCEnv:
    """Makes a seeded environment.

    Args:
      task: a dm_control task, such as "walker_walk".
      render: the dataset's style, at the dataset's source size.
      seed: seed of the initial states.
      action_repeat: control steps per action.
      image_size: the model's input size; by default the style's.

    Raises:
      DataError: there is no such task, or it lacks the style's camera.
    """
    env = PixelEnv(task, render, seed, action_repeat)
    return DMCEnv(env, image_size or render.size)


@dataclass(frozen=True)
class DMCFactory:
    """`make_env` with its arguments, to be called in another process."""

    task: str
    render: RenderStyle
    seed: int
    action_repeat: int = 2
    image_size: int | None = None

    def __call__(self) -> DMCEnv:
        """Makes the environment."""
        return make_env(
            self.task, self.render, self.seed, self.action_repeat, self.image_size
        )
