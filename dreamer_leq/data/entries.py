"""A dataset's entries as the arrays that LEQ's transitions are made of."""

from collections.abc import Sequence

import numpy as np

from vd4rl_loader import Dataset
from vd4rl_loader.states import StateDataset


def entry_arrays(
    dataset: Dataset | StateDataset,
    observations: Sequence[str],
    reward: np.ndarray,
    returns_gamma: float | None,
) -> dict[str, np.ndarray]:
    """Arrays [N, ...] in arrival order, `reward` [N] as LEQ sees it. With
    `returns_gamma`, `return` too: the discounted return that follows each entry.
    """
    names = (*observations, "action", "is_first", "is_terminal")
    arrays = {name: getattr(dataset, name) for name in names}
    arrays["reward"] = reward
    if returns_gamma is not None:
        arrays["return"] = monte_carlo_returns(
            reward, dataset.is_first, dataset.is_terminal, returns_gamma
        )
    return arrays


def monte_carlo_returns(
    reward: np.ndarray, is_first: np.ndarray, is_terminal: np.ndarray, gamma: float
) -> np.ndarray:
    """Discounted returns that follow each entry, in arrival order: float32 [N].

    R_t = r_{t+1} + γ (1 - is_terminal_{t+1}) R_{t+1}: what comes after a terminal
    inside an episode, as AntMaze's walks go on at the goal, is worth nothing before it.
    Where an episode was cut off, its last state is worth the episode's mean reward for
    ever, r̄ / (1 - γ), a fair guess for the continuing tasks of dm_control.
    """
    starts = np.flatnonzero(is_first)
    lengths = np.diff(starts, append=len(reward))
    last = starts + lengths - 1
    following = np.where(is_first, 0.0, reward)
    mean = np.add.reduceat(following, starts) / np.maximum(lengths - 1, 1)
    # R_t = value_t + share_t R_{t+1}, over twice as many entries each time
    value = np.append(following[1:], 0.0)
    share = gamma * ~np.append(is_terminal[1:], True)
    value[last] = np.where(is_terminal[last], 0.0, mean / (1 - gamma))
    share[last] = 0.0
    reach = 1
    while reach < lengths.max():
        value[:-reach] += share[:-reach] * value[reach:]
        share[:-reach] *= share[reach:]
        reach *= 2
    return value.astype(np.float32)
