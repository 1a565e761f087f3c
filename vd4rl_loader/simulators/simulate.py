"""dm_control tasks as the datasets see them: actions in [-1, 1], images out."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import threading
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.drawing import StyledCamera
from vd4rl_loader.simulators.opengl import check_rendering, load_suite
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.suite import EPISODE_STEPS

__all__ = ["EPISODE_STEPS", "PixelEnv", "Step", "check_rendering", "split_task"]


class Step(NamedTuple):
    """An observation and what came with it: entry t of a stored episode.

    Attributes:
      image: uint8 [S, S, 3], or None from an environment that does not render.
      reward: sum over the repeated action that led here; 0 at is_first.
      is_first, is_last: ends of the episode.
      is_terminal: the episode ended because the task did, not because of the clock.
    """

    image: np.ndarray | None
    reward: float
    is_first: bool
    is_last: bool
    is_terminal: bool


class PixelEnv:
    """A dm_control suite task with action repeat, rendered in one style, seeded.

    Attributes:
      action_size: number of action components A.
      observation_size: number of state observation components D.
      observation: float32 [D], the task's state observation, flattened in its order.
    """

    action_size: int
    observation_size: int
    observation: np.ndarray

    def __init__(
        self, task: str, render: RenderStyle | None, seed: int, action_repeat: int = 2
    ) -> None:
        """Loads the task.

        Args:
          task: domain and task of the suite, such as "walker_walk".
          render: how images are rendered; None renders none (physics only).
          seed: seed of the initial states.
          action_repeat: control steps per action.

        Raises:
          DataError: there is no such task, or it has no such camera or image size.
        """
        self._env = _load(task, seed)
        self._task, self._render = task, render
        self._cameras: dict[int, StyledCamera] = {}  # by image size
        self._action_repeat = action_repeat
        self._control_steps = EPISODE_STEPS  # over until reset
        self._scale, self._shift = _action_range(self._env.action_spec())
        self.action_size = len(self._scale)
        spec = self._env.observation_spec()
        self.observation_size = sum(int(np.prod(part.shape)) for part in spec.values())
        if render:
            _require_camera(task, self._env.physics.model, render)

    def reset(self) -> Step:
        """Starts the next episode of this environment's seed."""
        self._control_steps = 0
        timestep = self._env.reset()
        self.observation = _flatten(timestep.observation)
        return Step(self._image(), 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """Repeats an action, clipped to [-1, 1] and scaled to the task's range.

        Args:
          action: float32 [A].

        Raises:
          RuntimeError: the episode is over.
        """
        if self._control_steps >= EPISODE_STEPS:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        control = np.clip(action, -1.0, 1.0) * self._scale + self._shift
        reward = 0.0
        for _ in range(self._action_repeat):
            timestep = self._env.step(control)
            reward += timestep.reward
            self._control_steps += 1
            if timestep.last():
                self._control_steps = EPISODE_STEPS
            if self._control_steps >= EPISODE_STEPS:
                break
        self.observation = _flatten(timestep.observation)
        over = self._control_steps >= EPISODE_STEPS
        return Step(self._image(), reward, False, over, timestep.discount == 0.0)

    def render(self, size: int | None = None) -> np.ndarray:
        """The present view, uint8 [S, S, 3], in the environment's style.

        Args:
          size: S; by default the style's.

        Raises:
          RuntimeError: the environment was made without a render style.
        """
        if self._render is None:
            raise RuntimeError("this environment has no render style")
        size = size or self._render.size
        if size not in self._cameras:
            style = dataclasses.replace(self._render, size=size)
            self._cameras[size] = _camera(self._task, style, threading.get_ident())
        return self._cameras[size].draw(self._env.physics)

    def get_state(self) -> np.ndarray:
        """The physics' whole state, float64 [P], for `set_state`."""
        return self._env.physics.get_state(_whole_state())

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. The episode's clock is not touched."""
        import mujoco

        physics = self._env.physics
        physics.set_state(state, _whole_state())
        # Positions and velocities of everything that is seen and rewarded follow from
        # the state. (mj_forward would do that and disturb the solver's warm start.)
        mujoco.mj_step1(physics.model.ptr, physics.data.ptr)
        self.observation = _flatten(self._env.task.get_observation(physics))

    def close(self) -> None:
        """Frees the simulation."""
        self._cameras.clear()
        self._env.close()

    def _image(self) -> np.ndarray | None:
        return self.render() if self._render else None


def split_task(task: str) -> tuple[str, str]:
    """Domain and task: "ball_in_cup_catch" -> ("ball_in_cup", "catch").

    Raises:
      DataError: dm_control has no such task; names the nearest ones.
    """
    tasks = {f"{domain}_{name}": (domain, name) for domain, name in _all_tasks()}
    if task in tasks:
        return tasks[task]
    near = difflib.get_close_matches(task, tasks, n=3) or sorted(tasks)
    raise DataError(f"unknown dm_control task {task!r}: did you mean {_list(near)}?")


def _load(task: str, seed: int) -> Any:
    domain, name = split_task(task)
    return load_suite().load(domain, name, task_kwargs={"random": seed})


# A context takes as long to make as a hundred frames to draw and holds the task's
# textures: the environments of a process share it, also one after the other.
@functools.lru_cache(maxsize=2)  # an episode may be drawn at two sizes
def _camera(task: str, style: RenderStyle, thread: int) -> StyledCamera:
    return StyledCamera(_load(task, seed=0).physics.model, style)


def _require_camera(task: str, model: Any, style: RenderStyle) -> None:
    if style.camera >= model.ncam:
        raise DataError(
            f"task {task} has no camera {style.camera}: "
            f"its cameras are 0 to {model.ncam - 1}"
        )
    largest = min(model.vis.global_.offwidth, model.vis.global_.offheight)
    if style.size > largest:
        raise DataError(f"size is {style.size}: {task} renders at most {largest}")


def _action_range(spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift [A] from [-1, 1] to the spec's range, if it has one."""
    from mujoco import mjMAXVAL  # dm_control's bound of actions that have none

    bounded = np.maximum(-spec.minimum, spec.maximum) < mjMAXVAL
    scale = np.where(bounded, (spec.maximum - spec.minimum) / 2, 1.0)
    return scale, np.where(bounded, (spec.maximum + spec.minimum) / 2, 0.0)


def _all_tasks() -> tuple[tuple[str, str], ...]:
    return load_suite().ALL_TASKS


def _list(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _whole_state() -> int:
    import mujoco

    return mujoco.mjtState.mjSTATE_INTEGRATION.value


def _flatten(observation: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(v) for v in observation.values()]).astype("float32")
