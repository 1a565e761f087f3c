"""One episode in memory, in the stored ("arrival") order of V-D4RL."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Episode:
    """Entry t holds image t, the action that led to it and the reward with it.

    Attributes:
      image: uint8 [T, H, W, 3].
      action: float32 [T, A], zero at entry 0.
      reward: float64 [T], as V-D4RL stores it, zero at entry 0.
      discount: float64 [T].
      terminal: whether the task ended in the last entry (not a time limit).
      origin: file and first row it came from, for messages.
      vector: float32 [T, D] beside the images; None where there is none.
      task_rewards: float32 [T, K] where the file serves K tasks, what each gives for
        being in the state of an entry; `reward` is then zero.
    """

    image: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    terminal: bool
    origin: str
    vector: np.ndarray | None = None
    task_rewards: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.action)

    def flags(self) -> dict[str, np.ndarray]:
        """`is_first`, `is_last` and `is_terminal`, each bool [T]."""
        flags = {
            name: np.zeros(len(self), bool)
            for name in ("is_first", "is_last", "is_terminal")
        }
        flags["is_first"][0] = flags["is_last"][-1] = True
        flags["is_terminal"][-1] = self.terminal
        return flags


def from_departure(episode: Episode) -> Episode:
    """Arrival order of an episode whose entry t holds what was done in image t.

    What was done in the last image leads nowhere and is left out.
    """
    later = {
        name: np.concatenate([np.zeros_like(values[:1]), values[:-1]])
        for name, values in (("action", episode.action), ("reward", episode.reward))
    }
    return dataclasses.replace(episode, **later)


def split(episode: Episode, longest: int) -> list[Episode]:
    """The episodes that one of more than `longest` entries consists of, if it shows
    where they begin: nothing led to an episode's first entry, so that its action and
    reward are zero.
    """
    empty = ~episode.action.any(axis=1) & (episode.reward == 0)
    starts = np.flatnonzero(empty) if len(episode) > longest else []
    if len(starts) < 2 or np.diff(starts, append=len(episode)).min() < 2:
        return [episode]
    bounds = zip(starts, [*starts[1:], len(episode)], strict=True)
    parts = [slice(start, stop) for start, stop in bounds]
    return [
        dataclasses.replace(
            episode,
            **{
                name: getattr(episode, name)[rows]
                for name in ("image", "action", "reward", "discount", "vector")
                if getattr(episode, name) is not None
            },
            terminal=episode.terminal and rows.stop == len(episode),
        )
        for rows in parts
    ]


def join(parts: list[Episode]) -> Episode:
    """The episode that `parts`, in order, are pieces of."""
    if len(parts) == 1:
        return parts[0]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("image", "action", "reward", "discount")
    }
    return Episode(**arrays, terminal=parts[-1].terminal, origin=parts[0].origin)
