"""What the readers of other projects' formats have in common."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.files.untrusted import Stored
from vd4rl_loader.files.validation import BadFileError

Notes = Counter[str]  # texts for the user, which their numbers are put before
# The name of an episode, and what reads it or raises a BadFileError.
Found = Iterator[tuple[str, Callable[[], dict[str, Any]]]]

NO_REWARDS = (
    "holds no rewards: --reward last gives 1 for the last action of an episode, "
    "--reward success where the source says so, --reward zero none"
)
NO_SUCCESS = (
    "--reward success: nothing in it says which actions led to success: --reward last "
    "gives 1 for the last action of an episode, --reward zero none"
)
REWARDS = ("last", "success", "zero")
_REPEATED = (
    "episodes end with their last observation once more: nobody says where the last "
    "action led"
)
_FAILED = "episodes without a success: their rewards are all 0"
_AFTER = "observations left out, which come after an end of the task"


class Holdings(NamedTuple):
    """What is in a source.

    Attributes:
      observations: by name, as one episode has them, [T, ...].
      rewards: whether it has rewards.
      about: facts that are kept with the data: frames per second, names of actions.
      bounds: of the actions, [A] each, where the source has them.
      success: whether it says which actions led to success.
      missing: names of its files that aren't there.
    """

    observations: dict[str, Stored]
    rewards: bool
    about: dict[str, Any]
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    success: bool = False
    missing: Sequence[str] = ()

    def images(self) -> list[str]:
        """Names of what may be images."""
        return [name for name, array in self.observations.items() if _is_image(array)]

    def vectors(self) -> list[str]:
        """Names of what make a state vector, in its order."""
        return sorted(n for n, array in self.observations.items() if _is_vector(array))

    def size(self, image: str) -> tuple[int, int]:
        """Height and width of images [T, H, W], [T, H, W, C] or [T, C, H, W]."""
        shape = self.observations[image].shape[1:]
        if len(shape) == 3 and shape[0] < min(shape[1:]):
            return shape[1], shape[2]
        return shape[0], shape[1]


def _is_image(array: Stored) -> bool:
    return array.dtype == np.uint8 and len(array.shape) in (3, 4)


def _is_vector(array: Stored) -> bool:
    return array.dtype.kind in "fiu" and len(array.shape) in (1, 2)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the user wants of a source.

    Attributes:
      image: name of the images; None: none.
      vectors: names of what a vector is made of, which may stand beside images.
      reward: what stands in for the source's rewards: "last" is 1 for the last action
        of an episode, "success" 1 where the source says so, "zero" 0; None: nothing.
      end_is_terminal: the task ended wherever an episode does.
      fit: what images [T, H, W, 3] are written as; readers of large ones use it early.
    """

    image: str | None
    vectors: Sequence[str]
    reward: str | None = None
    end_is_terminal: bool = False
    fit: Callable[[np.ndarray], np.ndarray] = np.asarray

    @property
    def names(self) -> list[str]:
        """Names of all observations."""
        return [*([self.image] if self.image else []), *self.vectors]

    def refuse_layout(self, stored: Mapping[str, Stored]) -> None:
        """Raises a BadFileError if an episode's observations aren't what they are in
        others.
        """
        for name in self.names:
            array, is_image = stored.get(name), name == self.image
            if array is None:
                raise BadFileError(f"{name}: missing, other episodes have it")
            if not (_is_image if is_image else _is_vector)(array):
                expected = "uint8 images" if is_image else "one or more numbers per row"
                raise BadFileError(
                    f"{name}: {array.dtype} {array.shape}, expected {expected}"
                )

    def observed(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The images, and the vectors side by side: "image", "vector", or both."""
        seen = {"image": arrays[self.image]} if self.image else {}
        columns = [arrays[name].reshape(len(arrays[name]), -1) for name in self.vectors]
        return seen | ({"vector": np.concatenate(columns, axis=1)} if columns else {})


def finished(
    wanted: Wanted,
    notes: Notes,
    observed: dict[str, np.ndarray],
    action: np.ndarray,
    reward: np.ndarray | None,
    success: np.ndarray | None,
    terminal: np.ndarray,
    done: bool = False,
) -> dict[str, Any]:
    """An episode in the order of departure, with N + 1 observations for N actions.

    It ends at the first row in which the task does. Where the observation after the
    last row isn't stored, that row's action is left out, unless there is something to
    lose: an end or a reward. Then the last observation is repeated.

    Args:
      wanted: rewards and ends.
      notes: receives what was left out or repeated.
      observed: as from `Wanted.observed`, [N, ...] or [N + 1, ...].
      action: [N, A], row t played in observation t.
      reward: [N], what came of it; None where the source has none.
      success: bool [N], it led to success; None where the source does not say.
      terminal: bool [N], the task ended there.
      done: whether the source marks the last row as an end of any kind.
    """
    terminal = terminal.copy()
    terminal[-1:] |= wanted.end_is_terminal
    reward = _rewards(wanted.reward, reward, success, len(action))
    notes[_FAILED] += wanted.reward == "success" and not reward.any()
    if terminal.any():
        last = int(terminal.argmax())
        notes[_AFTER] += max(0, _rows(observed) - last - 2)
        action, reward = action[: last + 1], reward[: last + 1]
        observed = {name: array[: last + 2] for name, array in observed.items()}
    if _rows(observed) == len(action):
        if terminal.any() or done or reward[-1:].any():
            notes[_REPEATED] += 1
            observed = {n: np.append(a, a[-1:], axis=0) for n, a in observed.items()}
        else:
            action, reward = action[:-1], reward[:-1]
    return {
        **observed,
        "action": action,
        "reward": reward,
        "terminated": bool(terminal.any()),
    }


def _rows(observed: dict[str, np.ndarray]) -> int:
    return len(next(iter(observed.values())))


def _rewards(
    instead: str | None,
    reward: np.ndarray | None,
    success: np.ndarray | None,
    count: int,
) -> np.ndarray:
    if instead == "last":
        return (np.arange(count) == count - 1).astype(np.float64)
    if instead == "zero":
        return np.zeros(count)
    if instead == "success":
        if success is None:
            raise BadFileError(NO_SUCCESS)
        return success.astype(np.float64)
    if reward is None:
        raise BadFileError(NO_REWARDS)
    return reward
