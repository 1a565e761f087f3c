"""What public code in torch needs to be timed: data, and one thread."""

import sys
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import torch

OBSERVATION, ACTION, ROWS = 17, 6, 100_000


def facts(size: str) -> dict[str, str]:
    """Of an update with so many rows; called once, before it is timed."""
    torch.set_num_threads(1)
    return {"size": size, "library": f"torch {torch.__version__}"}


def halfcheetah() -> None:
    """`gym` and `d4rl` with an environment of these sizes and random data for it."""
    gym, d4rl = MagicMock(name="gym"), ModuleType("d4rl")
    gym.make = lambda *_, **__: _environment()
    for wrapper in ("TransformObservation", "TransformReward"):
        setattr(gym.wrappers, wrapper, lambda env, _: env)
    d4rl.qlearning_dataset = lambda *_, **__: _dataset()
    sys.modules |= {"gym": gym, "d4rl": d4rl}
    for name in ("spaces", "envs", "envs.mujoco", "envs.registration", "wrappers"):
        sys.modules[f"gym.{name}"] = MagicMock(name=name)


def _environment() -> MagicMock:
    one = np.ones(ACTION, np.float32)
    spaces = {
        "observation_space": MagicMock(shape=(OBSERVATION,)),
        "action_space": MagicMock(shape=(ACTION,), high=one, low=-one),
    }
    episodes = {"get_dataset": lambda *_, **__: _dataset(), "_max_episode_steps": 1000}
    env = MagicMock(**spaces, **episodes)
    env.unwrapped = env
    return env


def _dataset() -> dict[str, np.ndarray]:
    """In D4RL's layout, episodes of 1000 steps."""
    draw = np.random.default_rng(0)
    states, following = draw.standard_normal((2, ROWS, OBSERVATION), np.float32)
    return {
        "observations": states,
        "next_observations": following,
        "actions": draw.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        "rewards": draw.uniform(size=ROWS).astype(np.float32),
        "terminals": np.zeros(ROWS, bool),
        "timeouts": np.arange(ROWS) % 1000 == 999,
    }
