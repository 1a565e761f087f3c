"""OGBench's single tasks as environments to be scored in: those of its own package."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamer_leq.envs import physics
from dreamer_leq.envs.observation import Observation, make_observation
from dreamer_leq.envs.picture import IMAGE_SIZE
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.ogbench import load_ogbench


class OGBench:
    """A single task; observations are dicts whose vector is float32 [D], or whose image
    is uint8 [S, S, 3] where the task is a visual one.

    Reward and ends are by the state in which an action is taken, as in the package from
    1.2.0 on: minus the number of conditions that are not met, so that 0 is success,
    after which the episode ends. `success` is 1 with that last step, else 0. Visual
    ones count by the state that is reached, as the package did before, and their data
    do here.

    Environments of a process share one simulation of their task, which may take
    hundreds of megabytes; each has its own state, and the package's dice (NumPy's
    global ones) to itself.

    Attributes:
      action_size: number of action components A.
    """

    def __init__(
        self, task: str, seed: int, image: bool = False, image_size: int = 64
    ) -> None:
        """Makes the environment.

        Args:
          task: name of an environment, such as "cube-single-singletask-task1-v0".
          seed: seed of the initial states.
          image: whether observations hold a picture; visual ones always do.
          image_size: S, of visual ones; the package's pictures are resized to it.

        Raises:
          DataError: the package ogbench is not installed.
        """
        self._simulation = _simulation(task)
        self._fields = self._simulation.fields()
        self._dice = np.random.RandomState(seed).get_state()
        self._seed: int | None = seed  # until the first reset
        self._steps = self._simulation.limit  # over until reset
        self._image, self._size = image, image_size
        self.action_size = self._simulation.env.action_space.shape[0]

    def reset(self) -> Observation:
        """Starts the next episode of this environment's seed."""
        with self._own() as env:
            vector, _ = env.reset(seed=self._seed)
            self._seed, self._steps = None, 0
            return self._observed(vector, success=False, first=True)

    def step(self, action: np.ndarray) -> Observation:
        """Takes an action, float32 [A], clipped to [-1, 1].

        Raises:
          RuntimeError: the episode is over.
        """
        limit = self._simulation.limit
        if self._steps >= limit:
            raise RuntimeError("the episode is over, or has not begun: call reset()")
        action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        with self._own() as env:
            vector, reward, terminal, _, info = env.step(action)
            self._steps = limit if terminal else self._steps + 1
            return self._observed(
                vector,
                success=bool(info["success"]),
                reward=float(reward),
                last=self._steps >= limit,
                terminal=bool(terminal),
            )

    def get_state(self) -> np.ndarray:
        """The physics' whole state and that of the buttons, float64 [P], for
        `set_state`.
        """
        with self._own() as env:
            state = physics.get_state(env.model, env.data)
            return np.append(state, getattr(env, "_cur_button_states", []))

    def set_state(self, state: np.ndarray) -> None:
        """Puts the physics into a state. The episode's clock is not touched."""
        with self._own() as env:
            buttons = len(getattr(env, "_cur_button_states", []))
            whole = len(state) - buttons
            if buttons:
                env._cur_button_states[:] = state[whole:]
            physics.set_state(env.model, env.data, np.asarray(state[:whole]))
            self._simulation.refresh()

    def close(self) -> None:
        """Nothing: the simulation is the process's."""

    @contextlib.contextmanager
    def _own(self) -> Iterator[Any]:
        """The simulation and NumPy's dice as this environment left them."""
        others = np.random.get_state()
        np.random.set_state(self._dice)
        env = self._simulation.env
        vars(env).update(self._fields)
        if hasattr(env, "_apply_button_states"):
            env._apply_button_states()  # locks and colours, which the model holds
        try:
            yield env
        finally:
            self._fields, self._dice = dict(vars(env)), np.random.get_state()
            np.random.set_state(others)

    def _observed(self, seen: np.ndarray, success: bool, **others: Any) -> Observation:
        others["success"] = success
        if self._simulation.visual:
            return make_observation(None, resize_images(seen, self._size), **others)
        image = self._simulation.draw() if self._image else None
        return make_observation(seen, image, **others)


class _Simulation:
    """The package's environment of a task, once per process.

    Attributes:
      env: without wrappers.
      limit: steps of an episode at most.
      visual: whether it is observed as images, drawn as those of the data.
    """

    def __init__(self, task: str) -> None:
        gymnasium = load_ogbench()
        self.visual = task.startswith("visual-")
        timing = {"success_timing": "post"} if self.visual else {}
        made = gymnasium.make(task, disable_env_checker=True, **timing)
        self.limit = made.spec.max_episode_steps
        self.env = made.unwrapped
        if hasattr(self.env, "maze_map"):
            os.unlink(self.env.fullpath)  # the package leaves it behind
        self.env.reset(seed=0)  # builds the model
        if not self.visual:
            self.env.model.vis.quality.shadowsize = 0  # in software most of the time
        self._renderer: Any = None

    def fields(self) -> dict[str, Any]:
        """What an environment calls its own, with a new state of the physics."""
        import mujoco

        copied = {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in vars(self.env).items()
        }
        data = "_data" if "_data" in copied else "data"
        return copied | {data: mujoco.MjData(self.env.model)}

    def refresh(self) -> None:
        """What follows from a state that was set."""
        import mujoco

        mujoco.mj_forward(self.env.model, self.env.data)
        if hasattr(self.env, "post_step"):
            if hasattr(self.env, "_apply_button_states"):
                self.env._apply_button_states()
            self.env.pre_step()
            self.env.post_step()

    def draw(self) -> np.ndarray:
        """The scene as uint8 [S, S, 3]."""
        import mujoco

        if self._renderer is None:
            size = (IMAGE_SIZE, IMAGE_SIZE)
            self._renderer = mujoco.Renderer(self.env.model, *size)
            atexit.register(self._renderer.close)
        camera = getattr(self.env, "custom_camera", "front")  # of mazes, of the arm
        self._renderer.update_scene(self.env.data, camera=camera)
        return self._renderer.render()


@functools.cache
def _simulation(task: str) -> _Simulation:
    return _Simulation(task)
