"""Checks episodes that people give from Python, in either order.

Problems are texts of the form "field: what is wrong", as in `files.validation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files import validation
from vd4rl_loader.files.validation import BadFileError, Field, refuse

_OBSERVATIONS = {
    "image": Field("uint8", ("T", "H", "W", "3")),
    "vector": Field("a number type", ("T", "D")),
}
_STEPS = {
    "action": Field("a float type", ("T", "A")),
    "reward": Field("a number type", ("T",)),
}
_ENDS = ("terminated", "is_terminal")  # of an action, of an observation
_FLAGS = {  # and whose rows they have
    **dict.fromkeys(("terminated", "truncated"), "action"),
    **dict.fromkeys(("is_terminal", "is_first", "is_last"), "observation"),
}
_APPEND = "append the observation that it led to: T + 1 observations for T actions"


class Played(NamedTuple):
    """An episode of T transitions.

    Attributes:
      kind: "image" or "vector".
      observation: uint8 [T + 1, S, S, 3] or float32 [T + 1, D].
      action: float32 [T, A], played in the observation of the same row.
      reward: float64 [T], what came of it.
      terminal: whether the task ended in the last observation.
      vector: float32 [T + 1, D] beside images; None where there is none.
    """

    kind: str
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminal: bool
    vector: np.ndarray | None = None

    def observations(self) -> dict[str, np.ndarray]:
        """ "image", "vector", or both."""
        beside = {} if self.vector is None else {"vector": self.vector}
        return {self.kind: self.observation, **beside}


class _Given(NamedTuple):
    """An episode in arrays of the right kinds, as it was given; flags: [] or [T]."""

    kind: str
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    flags: dict[str, np.ndarray]
    vector: np.ndarray | None  # beside images

    def set_at_end(self, name: str) -> bool:
        return bool(self.flags.get(name, np.False_).reshape(-1)[-1])

    @property
    def misses_last(self) -> bool:
        """Whether nobody says what the last action led to, in order of departure."""
        return len(self.observation) == len(self.action)

    @property
    def begins_empty(self) -> bool:
        """Whether nothing seems to have led to the first row, but to the last one."""
        first_is_empty = not (self.action[0].any() or self.reward[0])
        return self.misses_last and first_is_empty and bool(self.action[-1].any())


def checked(episodes: Iterable[Any], departure: bool) -> Iterator[Played]:
    """Yields the episodes.

    Args:
      episodes: dictionaries, as `write_dataset` takes them.
      departure: whether row t holds what was played in observation t.

    Raises:
      DataError: naming the first bad episode; or all of them are in the other order.
    """
    first, lost, kept, all_begin_empty = None, 0, 0, True
    for index, episode in enumerate(episodes):
        try:
            given = _read(episode)
            played = _departed(given) if departure else _arrived(given)
            first = first or played
            refuse_other_sizes(first, played)
        except BadFileError as error:
            raise DataError(f"episode {index}: {error}") from error
        lost += bool(departure and given.misses_last and given.reward[-1])
        kept += np.count_nonzero(played.reward)
        all_begin_empty &= given.begins_empty
        yield played
    if first and departure and all_begin_empty:
        raise DataError(
            "action, reward: zero in the first row of every episode, as in the order "
            "of arrival: give alignment='arrival', or else leave out the last action "
            "and reward of every episode"
        )
    if lost > kept:
        raise DataError(
            f"reward: {lost:,} of {lost + kept:,} belong to the last action of an "
            f"episode, but it is not said where that led: {_APPEND}"
        )


def departed(episode: Any) -> Played:
    """An episode as `write_dataset` takes it in the order of departure.

    Raises:
      BadFileError: it cannot be used.
    """
    return _departed(_read(episode))


def _departed(given: _Given) -> Played:
    """An episode whose row t holds what was played in observation t."""
    _refuse_values(given)
    observation, action, reward = given.observation, given.action, given.reward
    if given.misses_last:
        if given.set_at_end("terminated"):
            refuse([f"terminated: set, but not where the last action led: {_APPEND}"])
        action, reward = action[:-1], reward[:-1]
    if len(observation) != len(action) + 1:
        refuse(
            [
                f"{given.kind}: {len(observation):,} rows where action has "
                f"{len(given.action):,}, expected as many or one more"
            ]
        )
    return _played(given, action, reward)


def _arrived(given: _Given) -> Played:
    """An episode whose row t holds what led to observation t."""
    rows, actions = len(given.observation), len(given.action)
    if rows != actions:
        hint = ": that is the order of departure, give alignment='departure'"
        refuse(
            [
                f"{given.kind}: {rows:,} rows where action has {actions:,}"
                + (hint if rows == actions + 1 else "")
            ]
        )
    first = np.arange(rows) == 0
    action, reward = (
        validation.without_filler(array, first)
        for array in (given.action, given.reward)
    )
    _refuse_values(given._replace(action=action, reward=reward))
    for name, array in {"action": action, "reward": reward}.items():
        if array[0].any():
            refuse(
                [
                    f"{name}: not zero in row 0, to which nothing led: if row t holds "
                    f"what was done in {given.kind} t, give alignment='departure'"
                ]
            )
    return _played(given, action[1:], reward[1:])


def _played(given: _Given, action: np.ndarray, reward: np.ndarray) -> Played:
    if len(action) == 0:
        refuse([f"{given.kind}: 1 row, expected at least 2: a transition"])
    observation = given.observation
    if given.kind == "vector":
        observation = observation.astype(np.float32)
    return Played(
        given.kind,
        observation,
        action.astype(np.float32).clip(-1, 1),
        reward,
        any(map(given.set_at_end, _ENDS)),
        None if given.vector is None else given.vector.astype(np.float32),
    )


def refuse_other_sizes(first: Played, played: Played) -> None:
    """Raises a BadFileError if episodes of one dataset differ in kind or size."""
    before, now = first.observations(), played.observations()
    if before.keys() != now.keys():
        held = [" and ".join(sorted(names)) for names in (now, before)]
        refuse([f"holds {held[0]}, but the episodes before {held[1]}"])
    for name in ("observation", "action", "vector"):
        expected, got = (np.shape(getattr(x, name))[1:] for x in (first, played))
        if expected != got:
            name = played.kind if name == "observation" else name
            refuse([f"{name}: {got} per row, but {expected} in the episodes before"])


def _read(episode: Any) -> _Given:
    """The arrays of an episode, each of the right kind and shape."""
    if not isinstance(episode, Mapping):
        refuse([f"is a {type(episode).__name__}, expected a dictionary of arrays"])
    kind = _kind(episode)
    beside = kind == "image" and "vector" in episode
    fields = {kind: _OBSERVATIONS[kind], **_STEPS}
    fields |= {"vector": _OBSERVATIONS["vector"]} if beside else {}
    arrays = {name: _array(name, episode[name]) for name in fields}
    for name, field in fields.items():
        for problem in validation.layout_problems(arrays, {name: field}):
            refuse([problem + _layout_hint(name, arrays[name])])
    empty = [name for name, array in arrays.items() if 0 in array.shape]
    refuse([f"{name}: no numbers per row" for name in empty])
    action, reward = (arrays[name].astype(np.float64) for name in _STEPS)
    if len(action) != len(reward):
        refuse([f"reward: {len(reward):,} rows where action has {len(action):,}"])
    rows = {"observation": len(arrays[kind]), "action": len(action)}
    vector = arrays["vector"] if beside else None
    if beside and len(vector) != rows["observation"]:
        images = rows["observation"]
        refuse([f"vector: {len(vector):,} rows where image has {images:,}"])
    flags = {
        name: _flag(name, _array(name, episode[name]), rows[owner])
        for name, owner in _FLAGS.items()
        if name in episode
    }
    return _Given(kind, arrays[kind], action, reward, flags, vector)


def _kind(episode: Mapping[str, Any]) -> str:
    """Whether it has images, maybe with vectors, or vectors; and it has all that an
    episode needs.
    """
    kinds = [name for name in _OBSERVATIONS if name in episode]
    missing = ["image or vector"] if not kinds else []
    missing += [name for name in _STEPS if name not in episode]
    if not any(name in episode for name in _ENDS):
        missing.append("terminated (True if the task ended it, False if time ran out)")
    if missing:
        held = shown(", ".join(map(str, episode)), 300) or "nothing"
        refuse([f"{', '.join(missing)}: missing (it holds {held})"])
    return kinds[0]


def _array(name: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise BadFileError(f"{name}: makes no array ({shown(str(error))})") from error


def _layout_hint(name: str, array: np.ndarray) -> str:
    """What to do about an array of another kind or shape."""
    if name == "action" and array.dtype.kind in "iu":
        return ": discrete actions cannot be used, others need .astype(np.float32)"
    if name != "image":
        return ""
    if array.dtype.kind == "f":
        return (
            ": from 0 to 1, they need np.uint8(255 * image); from 0 to 255, "
            ".astype(np.uint8)"
        )
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and array.ndim == 4:
        return ": from 0 to 255, they need .astype(np.uint8)"
    if array.ndim == 4 and array.shape[1] == 3:
        return ": image.transpose(0, 2, 3, 1) puts channels last"
    if array.ndim == 3 or array.shape[-1:] == (1,):
        return ": of grey images, np.repeat(image.reshape(T, H, W, 1), 3, axis=3)"
    if array.ndim == 4 and array.shape[3] % 3 == 0:
        return ": of stacked frames give one, such as image[..., -3:]"
    return ": give RGB, such as image[..., :3]"


def _flag(name: str, flag: np.ndarray, rows: int) -> np.ndarray:
    """A flag, which is one bool, or set where the episode begins or ends at most."""
    if flag.dtype != bool:
        refuse([f"{name}: dtype {flag.dtype}, expected bool"])
    if flag.shape not in ((), (rows,)):
        refuse([f"{name}: shape {flag.shape}, expected one bool or [{rows}]"])
    place = 0 if name == "is_first" else rows - 1
    inside = np.flatnonzero(flag & (np.arange(rows) != place)) if flag.ndim else []
    if len(inside):
        refuse([f"{name}: set at row {inside[0]}: make an episode of each part"])
    return flag


def _refuse_values(given: _Given) -> None:
    """Refuses numbers that are not finite, other actions, and images of other forms."""
    problems = validation.value_problems(given.action, given.reward)
    if any("outside" in problem for problem in problems):
        problems[-1] += ": scale them, 2 * (action - low) / (high - low) - 1"
    if given.kind == "vector":
        problems += validation.finite_problems("vector", given.observation)
    else:
        if given.vector is not None:
            problems += validation.finite_problems("vector", given.vector)
        height, width = given.observation.shape[1:3]
        if height != width:
            problems.append(
                f"image: {height}×{width} pixels, expected square images: crop them, "
                "or vd4rl_loader.resize_images(image, 64)"
            )
    refuse(problems)
