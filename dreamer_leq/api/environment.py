"""The environments that policies are scored in, one at a time. No JAX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_leq.api import checks
from dreamer_leq.api.datasets import parse_task
from dreamer_leq.envs.own import is_registered
from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.system.errors import UserError
from vd4rl_loader import RenderStyle


class Environment:
    """One seeded environment in this process.

    What it shows is a dict, entry t of an episode: `image` uint8 [S, S, 3] or `vector`
    float32 [D], `reward` float32, and `is_first`, `is_last` and `is_terminal`; of
    OGBench's tasks `success` float32, too: 1 with the episode's last step, or 0. The
    next episode of a seed differs from the one before.

    Attributes:
      action_size: A, numbers of an action.

    Example:
      rng = np.random.default_rng(0)
      with dl.make_env("pointmaze-umaze", seed=0) as env:
          entries = [env.reset() | {"action": np.zeros(env.action_size)}]
          for _ in range(10):
              action = rng.uniform(-1, 1, env.action_size)
              entries.append(env.step(action) | {"action": action})
      walk = {name: np.stack([entry[name] for entry in entries]) for name in entries[0]}
      run.encode(walk).shape  # (11,)
    """

    def __init__(
        self, description: Mapping[str, Any], seed: int, image: bool = False
    ) -> None:
        """The environment of a description as `envs.suites` reads it."""
        seed = checks.at_least(0, "seed", seed)
        self._inner = environment_factory(description, seed, image)()
        self.action_size: int = self._inner.action_size
        self._over = True  # until reset

    def reset(self) -> dict[str, np.ndarray | np.generic]:
        """The first entry of the next episode."""
        self._over = False
        return self._inner.reset()

    def step(self, action: Any) -> dict[str, np.ndarray | np.generic]:
        """The entry to which an action leads, [A] in [-1, 1].

        Raises:
          UserError: it is no such action, or the episode is over.
        """
        if self._over:
            raise UserError("the episode is over, or has not begun: call reset()")
        action = checks.actions("action", action, self.action_size)
        if action.ndim != 1:
            raise UserError(
                f"action: shape {action.shape}, expected ({self.action_size},)"
            )
        entry = self._inner.step(action)
        self._over = bool(entry["is_last"])
        return entry

    def get_state(self) -> np.ndarray:
        """All that moves, float64 [P], for `set_state` of this environment or another
        one of its seed. An episode's goal and clock are not in it.
        """
        return self._inner.get_state()

    def set_state(self, state: np.ndarray) -> None:
        """Goes on from where `get_state` was called, within the present episode."""
        self._inner.set_state(state)

    def close(self) -> None:
        """The end: simulation and rendering are freed, as by leaving `with`."""
        self._inner.close()

    def __enter__(self) -> "Environment":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_env(task: str, seed: int, *, image: bool = False) -> Environment:
    """The environment of a task, in this process; that of a run, rendered as its
    dataset was, is `run.make_env`.

    Args:
      task: such as "hopper-medium-replay"; dm_control's are rendered as V-D4RL's, at
        64 px. The dataset's level changes nothing here. Or an environment of your own,
        "module:function" or a registered name (docs/own-environment.md).
      seed: of initial states and goals.
      image: add `image` uint8 [192, 192, 3] to the entries of a state environment.

    Raises:
      UserError: there is no such task.
      DataError: it can't be made here, and why.
    """
    if is_registered(task) or ":" in task:
        return Environment({"suite": "own", "make": task}, seed, image)
    about = parse_task(task)
    description = dict(about.environment)
    if about.suite == "dm_control":
        description["render"] = RenderStyle.named("vd4rl").to_json()
    return Environment(description, seed, image)
