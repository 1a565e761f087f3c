"""Gymnasium's locomotion tasks of D4RL and NeoRL: the v4 environments.

v5 has other physics (Walker2d) and other rewards.
"""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vd4rl_loader.errors import DataError

if TYPE_CHECKING:
    import gymnasium

TASKS = ("Hopper-v4", "Walker2d-v4", "HalfCheetah-v4")


def check_task(task: str) -> None:
    """Accepts the tasks of TASKS.

    Raises:
      DataError: it is another one; names the nearest.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise DataError(
            f"unknown Gymnasium task {task!r}: give one of {', '.join(TASKS)}{hint}"
        )


def make_locomotion(task: str, x_position: bool) -> gymnasium.Env:
    """One of TASKS, with episodes of at most 1000 steps, and without warnings.

    Args:
      task: its Gymnasium id.
      x_position: whether observations begin with x, as NeoRL's do and D4RL's do not.

    Raises:
      DataError: there is no such task, or gymnasium is not installed.
    """
    check_task(task)
    try:
        import gymnasium
    except ImportError as error:
        raise DataError(
            f"{task} needs gymnasium ({error}): pip install gymnasium"
        ) from error
    with _without_warnings():
        return gymnasium.make(
            task,
            exclude_current_positions_from_observation=not x_position,
            disable_env_checker=True,
        )


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Mutes what is said of every v4 environment, and of HalfCheetah's model."""
    import mujoco

    handler = mujoco.get_mju_user_warning()
    # MuJoCo's own handler would also leave a file MUJOCO_LOG.TXT in the working folder.
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(handler)
