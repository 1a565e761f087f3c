"""Whole episodes of a policy in the real environment, with what it saw and got."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dreamer_leq.evaluation.rollouts import Agent, Environments
from dreamer_leq.world_models.interface import State


@dataclass(frozen=True)
class Played:
    """One episode of each of N environments; T is the length of the longest.

    Attributes:
      state: of the world model, in which each action was taken, [T, N, ...].
      action: float32 [T, N, A].
      reward: float64 [T, N], what came of the action; 0 after an episode's end.
      length: int64 [N], actions taken.
      terminal: bool [N], the task ended the episode, not the clock.
    """

    state: State
    action: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    terminal: np.ndarray


def play(
    agent: Agent, env: Environments, seed: int, transform: Callable[[Any], Any]
) -> Played:
    """One episode in each environment, with rewards as `transform` makes them.

    `agent`'s memory has a field `state`, the world model's.
    """
    obs = env.reset()
    n = len(obs["is_last"])
    carry = agent.initial(n, seed)
    running, terminal = np.ones(n, bool), np.zeros(n, bool)
    steps: list[tuple[Any, ...]] = []
    length = np.zeros(n, np.int64)
    while running.any():
        action, carry = agent.act(carry, obs)
        # copies: the next call reuses the memory's arrays
        state = jax.tree.map(np.array, carry.state)
        obs = env.step(np.asarray(action))
        reward = np.where(running, transform(obs["reward"]), 0.0)
        steps.append((state, np.array(action), reward))
        length += running
        ended = running & np.asarray(obs["is_last"])
        terminal |= ended & np.asarray(obs["is_terminal"])
        running &= ~ended
    stacked = jax.tree.map(lambda *x: np.stack(x), *steps)
    return Played(*stacked, length, terminal)
