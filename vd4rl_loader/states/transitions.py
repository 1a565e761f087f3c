"""From rows of (s, a, r, s') to episodes in arrival order."""

from __future__ import annotations

import dataclasses

import numpy as np

from vd4rl_loader.files.validation import refuse
from vd4rl_loader.states.dataset import StateDataset, StateSpec

# The paper's: rows whose states differ by more do not follow one another.
_SAME_STATE = 1e-6


@dataclasses.dataclass(frozen=True)
class Rows:
    """R rows of a source in its order, before they are cut into episodes.

    Attributes:
      state, next_state: float32 [R, D].
      action: float32 [R, A], in [-1, 1].
      reward: float32 [R].
      terminal: bool [R], the task ends in `next_state`.
      ends: bool [R], the source says that an episode ends with the row.
      dropped: bool [R], rows that end an episode and are no transitions.
      stored: whether the source has next states. If not, `next_state` is the next row's
        state, which is another episode's where one ends.
      goals: whether terminals are reached goals, after which an episode may go on.
      whole: whether ends are certain, and no row is to be dropped.
      notes: what the source's reader noticed, in words for the user.
    """

    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    ends: np.ndarray
    dropped: np.ndarray
    stored: bool = True
    goals: bool = False
    whole: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of a state and of an action."""
        return self.state.shape[1], self.action.shape[1]


@dataclasses.dataclass(frozen=True)
class Transitions:
    """K transitions in the source's order; row k follows row k - 1 unless it begins.

    Attributes:
      state, next_state: float32 [K, D].
      action: float32 [K, A], in [-1, 1].
      reward: float32 [K].
      terminal: bool [K], the task ends in `next_state`.
      begins: bool [K], the row is the first of an episode.
      notes: what was left out, in words for the user.
    """

    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    begins: np.ndarray
    notes: tuple[str, ...] = ()


def follows(state: np.ndarray, next_state: np.ndarray) -> np.ndarray:
    """Whether row i + 1 goes on where row i arrived, bool [K - 1]."""
    with np.errstate(over="ignore"):
        return np.linalg.norm(state[1:] - next_state[:-1], axis=1) <= _SAME_STATE


def select(rows: Rows, keep: np.ndarray, begins: np.ndarray) -> Transitions:
    """Drops rows, each of which ends an episode.

    Args:
      rows: R rows.
      keep: bool [R].
      begins: bool [R], an episode begins with the row.
    """
    arrays = {
        name: getattr(rows, name)[keep]
        for name in ("state", "next_state", "action", "reward", "terminal")
    }
    return Transitions(**arrays, begins=begins[keep], notes=rows.notes)


def to_dataset(rows: Transitions, format: str, source_bytes: int) -> StateDataset:
    """Lays out T transitions of an episode as T + 1 entries.

    Raises:
      BadFileError: there is no transition.
    """
    if len(rows.begins) == 0:
        refuse(["no transition is left, every row ends an episode"])
    episode = np.cumsum(rows.begins) - 1
    departure = np.arange(len(episode)) + episode
    arrival = departure + 1
    firsts = np.flatnonzero(rows.begins)
    lasts = np.append(firsts[1:], len(episode)) - 1
    entries = len(episode) + len(firsts)
    vector = np.empty((entries, rows.state.shape[1]), np.float32)
    vector[departure] = rows.state
    vector[arrival[lasts]] = rows.next_state[lasts]
    return StateDataset(
        vector=vector,
        action=_scattered(rows.action, arrival, entries),
        reward=_scattered(rows.reward, arrival, entries),
        is_first=_marked(departure[firsts], entries),
        is_last=_marked(arrival[lasts], entries),
        is_terminal=_scattered(rows.terminal, arrival, entries),
        offsets=np.append(departure[firsts], entries).astype(np.int64),
        spec=StateSpec(format, rows.state.shape[1], rows.action.shape[1]),
        source_bytes=source_bytes,
    )


def _scattered(values: np.ndarray, to: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, *values.shape[1:]), values.dtype)
    out[to] = values
    return out


def _marked(where: np.ndarray, size: int) -> np.ndarray:
    return _scattered(np.ones(len(where), bool), where, size)
