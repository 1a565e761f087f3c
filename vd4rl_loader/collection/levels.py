"""V-D4RL's levels: which policy plays which episode, and how."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vd4rl_loader.collection.policies import Policy, PolicyFolder, open_policies
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.simulate import PixelEnv

LEVELS = ("random", "medium", "medium_replay", "expert", "medium_expert")


@dataclass(frozen=True)
class Behaviour:
    """One episode's choice of actions.

    Attributes:
      checkpoint: agent steps of the policy; None for uniformly random actions.
      mode: "uniform", or the policy's "mean" or "sampled" action.
      noise: standard deviation of Gaussian noise on the action.
    """

    checkpoint: int | None
    mode: str
    noise: float = 0.0


def behaviours(
    task: str, level: str, policies: str | Path | None, noise: float | None
) -> tuple[Behaviour, ...]:
    """The behaviours of a level: episode i is played by number i modulo their count.

    Args:
      task: the dm_control or Gymnasium task.
      level: one of LEVELS. "medium_replay" goes through all checkpoints up to medium,
        "medium_expert" alternates between the two.
      policies: a folder of policies, by default the package's own.
      noise: by default every policy plays sampled actions, as V-D4RL's did. With a
        number, half of the episodes do, and the other half play the mean action plus
        Gaussian noise of this standard deviation, clipped.

    Raises:
      DataError: unknown level, no policies for the task, noise on random actions.
    """
    if level not in LEVELS:
        near = difflib.get_close_matches(level, LEVELS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise DataError(
            f"unknown level {level!r}: give one of {', '.join(LEVELS)}{hint}"
        )
    if level == "random":
        if noise is not None:
            raise DataError("level random takes no noise: its actions are uniform")
        return (Behaviour(None, "uniform"),)
    if noise is not None and not noise >= 0:
        raise DataError(f"noise is {noise}: give a standard deviation of at least 0")
    checkpoints = _checkpoints(level, open_policies(task, policies))
    sampled = tuple(Behaviour(steps, "sampled") for steps in checkpoints)
    if noise is None:
        return sampled
    return sampled + tuple(Behaviour(steps, "mean", noise) for steps in checkpoints)


def actor(
    behaviour: Behaviour,
    task: str,
    policies: str | Path | None,
    env: PixelEnv,
    rng: np.random.Generator,
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from observation float32 [D] to action float32 [A] in [-1, 1].

    Raises:
      DataError: the policy was trained on something else than `env`.
    """
    if behaviour.checkpoint is None:
        size = env.action_size
        return lambda observation: rng.uniform(-1, 1, size).astype(np.float32)
    sizes = env.observation_size, env.action_size
    policy = load_policy(behaviour.checkpoint, task, policies, sizes)
    return lambda observation: policy.act(
        observation, rng, behaviour.mode, behaviour.noise
    )


def load_policy(
    checkpoint: int, task: str, policies: str | Path | None, sizes: tuple[int, int]
) -> Policy:
    """Reads a checkpoint of a task with these observation and action sizes.

    Raises:
      DataError: the policy was trained on something of other sizes.
    """
    folder = open_policies(task, policies)
    policy = folder.load(checkpoint)
    if policy.sizes != sizes:
        raise DataError(
            f"{folder.path}: checkpoint {checkpoint} maps {policy.sizes[0]} "
            f"observations to {policy.sizes[1]} actions, but {task} has "
            f"{sizes[0]} and {sizes[1]}"
        )
    return policy


def _checkpoints(level: str, policies: PolicyFolder) -> tuple[int, ...]:
    return {
        "medium": (policies.medium,),
        "expert": (policies.expert,),
        "medium_expert": (policies.medium, policies.expert),
        "medium_replay": tuple(
            steps for steps in policies.checkpoints if steps <= policies.medium
        ),
    }[level]
