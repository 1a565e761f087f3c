"""The state vectors of a dataset's episodes in arrival order."""

from __future__ import annotations

import dataclasses

import numpy as np

from vd4rl_loader.episodes import Episodes


@dataclasses.dataclass(frozen=True)
class StateSpec:
    """Facts about a dataset of state vectors.

    Attributes:
      format: "d4rl", "neorl", "ogbench" or "minari".
      vector_size: numbers in a state vector.
      action_size: numbers in an action, each in [-1, 1].
    """

    format: str
    vector_size: int
    action_size: int


@dataclasses.dataclass(frozen=True)
class StateDataset(Episodes):
    """All episodes, one after the other; N entries, E episodes.

    Entry t holds the state vector of step t, the action that led to it and the reward
    that came with it. Where `is_first`, both are zero; the transition t -> t+1 is valid
    iff not `is_first[t + 1]`.

    Attributes:
      vector: float32 [N, D].
      action: float32 [N, A], in [-1, 1].
      reward: float32 [N], as the source has it.
      is_first: bool [N], an episode begins here.
      is_last: bool [N], an episode ends here.
      is_terminal: bool [N], the task ends here. AntMaze's trajectories are not cut at
        the goal, so that it may be set inside an episode.
      offsets: int64 [E + 1]; episode e is the entries `offsets[e]:offsets[e + 1]`.
      spec: what the data is.
      source_bytes: size of the source files.
    """

    vector: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    is_first: np.ndarray
    is_last: np.ndarray
    is_terminal: np.ndarray
    offsets: np.ndarray
    spec: StateSpec
    source_bytes: int
