"""A dataset's entries as the arrays that transitions are made of, in arrival order:
entry t holds an observation, the action that led to it and the reward that came then.
"""

from collections.abc import Sequence

import numpy as np

from vd4rl_loader import Dataset
from vd4rl_loader.states import StateDataset


def entry_arrays(
    dataset: Dataset | StateDataset, observations: Sequence[str], reward: np.ndarray
) -> dict[str, np.ndarray]:
    """Observations, action, reward, is_first, is_terminal [N, ...] of a dataset, its
    reward [N] as the algorithms see it.
    """
    names = (*observations, "action", "is_first", "is_terminal")
    return {name: getattr(dataset, name) for name in names} | {"reward": reward}


def extra_arrays(
    entries: dict[str, np.ndarray], reads: Sequence[str], gamma: float
) -> dict[str, np.ndarray]:
    """What some algorithms read beside the transitions themselves, of those `reads`:

    return [N]: the discounted return that follows each entry.
    next_action [N, A]: the action of the entry after each one, 0 at an episode's end.
    rank [N]: the share of episodes that have a higher return than each one's.
    chunk [N]: the last entry of each one's episode, with which batches have the single
    steps of transitions.
    """
    extra = {}
    if "return" in reads:
        ends = entries["is_first"], entries["is_terminal"]
        extra["return"] = monte_carlo_returns(entries["reward"], *ends, gamma)
    if "next_action" in reads:
        after = np.roll(np.asarray(entries["action"]), -1, 0)
        after[np.roll(np.asarray(entries["is_first"]), -1)] = 0
        extra["next_action"] = after
    if "rank" in reads:
        extra["rank"] = episode_ranks(entries["reward"], entries["is_first"])
    if "chunk" in reads:
        extra["chunk"] = episode_lasts(entries["is_first"])
    return extra


def transition_starts(
    is_first: np.ndarray,
    is_terminal: np.ndarray,
    reads: Sequence[str] = (),
    steps: int = 1,
) -> np.ndarray:
    """All i whose successor i + `steps` belongs to the same episode: int32. With
    next_action, without those whose successor is the last of an episode that was cut
    off: no action followed it that the dataset knows. With chunk also those after which
    fewer steps lead to a terminal state, where everything stays as it is.
    """
    if "chunk" in reads:
        left = episode_lasts(is_first) - np.arange(len(is_first))
        ended = np.asarray(is_terminal)[episode_lasts(is_first)]
        return np.flatnonzero((left >= steps) | ended & (left > 0)).astype(np.int32)
    inside = episode_firsts(is_first)[steps:] <= np.arange(len(is_first) - steps)
    if "next_action" in reads:
        last = np.roll(np.asarray(is_first), -1)[steps:]
        inside &= ~last | np.asarray(is_terminal)[steps:]
    return np.flatnonzero(inside).astype(np.int32)


def episode_firsts(is_first: np.ndarray) -> np.ndarray:
    """The first entry of each entry's episode: int32 [N]."""
    firsts = np.flatnonzero(is_first).astype(np.int32)
    return firsts[np.cumsum(is_first) - 1]


def episode_lasts(is_first: np.ndarray) -> np.ndarray:
    """The last entry of each entry's episode: int32 [N]."""
    lasts = np.append(np.flatnonzero(is_first)[1:], len(is_first)).astype(np.int32) - 1
    return lasts[np.cumsum(is_first) - 1]


def episode_ranks(reward: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """The share of episodes whose undiscounted return is above that of each entry's
    episode, 0 in the best one: float32 [N].
    """
    starts = np.flatnonzero(is_first)
    returns = np.add.reduceat(np.where(is_first, 0.0, reward), starts)
    above = len(returns) - np.searchsorted(np.sort(returns), returns, "right")
    return (above / len(returns)).astype(np.float32)[np.cumsum(is_first) - 1]


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


def training_data(
    dataset: StateDataset, holdout: int, holdout_share: float, seed: int
) -> dict[str, np.ndarray]:
    """The dataset with raw rewards, and which transitions train and which validate.

    `train` and `holdout` list the entries i whose transition i -> i+1 is meant, a
    random split: int32.
    """
    starts = transition_starts(dataset.is_first, dataset.is_terminal)
    starts = np.random.default_rng(seed).permutation(starts)
    held = max(1, min(int(holdout_share * len(starts)), holdout))
    names = ("vector", "action", "reward", "is_terminal")
    arrays = {name: getattr(dataset, name) for name in names}
    return arrays | {"holdout": starts[:held], "train": starts[held:]}
