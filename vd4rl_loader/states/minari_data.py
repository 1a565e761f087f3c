"""Minari's datasets, through the library `minari`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vd4rl_loader.errors import shown
from vd4rl_loader.files.untrusted import Stored, reading
from vd4rl_loader.files.validation import (
    GO_ON,
    ROUNDING,
    BadFileError,
    Findings,
    range_problems,
    refuse,
)
from vd4rl_loader.states import columns
from vd4rl_loader.states.columns import VECTOR
from vd4rl_loader.states.transitions import Rows

if TYPE_CHECKING:
    from gymnasium.spaces import Space
    from minari import EpisodeData, MinariDataset

_FIELDS = {
    "observations": VECTOR,
    "actions": columns.ACTION,
    "rewards": columns.REWARD,
    "terminations": columns.FLAG,
}
_PLACE = "achieved_goal"
GOAL_KEYS = {"observation", _PLACE, "desired_goal"}


def read(dataset_id: str, skip_bad: bool = False) -> tuple[Rows, int]:
    """Reads all episodes of a local dataset, and its size in bytes.

    Observations are vectors, or a goal environment's: then `achieved_goal` (a maze's
    xy) stands in front of `observation` unless that begins with it, which is D4RL's
    order. Where time ran out the true next state is stored, so nothing is dropped.

    Args:
      dataset_id: the dataset's name.
      skip_bad: leave out episodes that cannot be used, and say how many.

    Raises:
      BadFileError: the library or the dataset is missing, the dataset is damaged, has
        to be converted, or is of discrete actions.
    """
    dataset = _load(dataset_id)
    refuse_actions(dataset)
    if trouble := why_converted(dataset):
        raise BadFileError(
            f"{trouble}: python -m vd4rl_loader info minari:{dataset_id} says how to "
            "convert it"
        )
    episodes, findings = [], Findings()
    for stored in _stored(dataset):
        try:
            episodes.append(_episode(stored))
        except BadFileError as error:
            findings.problems.append((f"episode {stored.id}", str(error)))
    notes = _left_out(findings, len(episodes), skip_bad)
    if not episodes:
        refuse(["holds no episodes"])
    _refuse_other_sizes(episodes)
    return _joined(episodes, notes), _size(dataset)


def refuse_actions(dataset: MinariDataset) -> None:
    """Raises a BadFileError if actions aren't vectors of numbers."""
    with reading():
        space = dataset.spec.action_space
    if space.dtype is None or space.dtype.kind != "f":
        kind = "discrete, or of several parts"
        raise BadFileError(
            f"actions: {kind}, {shown(str(space))}: algorithms here play vectors of "
            "numbers (Box, of a float type)"
        )


def why_converted(dataset: MinariDataset) -> str | None:
    """What has to be converted before `read` takes it: observations that aren't
    vectors, or actions beyond [-1, 1]; None if nothing has.
    """
    with reading():
        spec = dataset.spec
    seen, actions = dict(_parts(spec.observation_space)), spec.action_space
    if seen.keys() not in ({""}, GOAL_KEYS):
        return f"observations: a dictionary of {shown(', '.join(seen))}, not vectors"
    if any(s.dtype == np.uint8 and len(s.shape or ()) in (2, 3) for s in seen.values()):
        return "observations: images, not vectors"
    low, high = getattr(actions, "low", -np.inf), getattr(actions, "high", np.inf)
    if not np.isfinite([low, high]).all():
        return next(filter(None, map(_too_large, _stored(dataset))), None)
    if max(-np.min(low), np.max(high)) <= 1 + ROUNDING:
        return None
    return f"actions: of {np.min(low):g} to {np.max(high):g}, not [-1, 1]"


def _too_large(episode: EpisodeData) -> str | None:
    actions = np.asarray(episode.actions, np.float64)
    rows = actions.reshape(len(actions), math.prod(actions.shape[1:]))
    return next(iter(range_problems("actions", rows)), None)


def _parts(space: Space, name: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces in a dictionary, which may lie deeper, by their names."""
    parts = getattr(space, "spaces", None)
    if not isinstance(parts, Mapping):
        yield name, space
        return
    for key, part in parts.items():
        yield from _parts(part, f"{name}.{key}" if name else str(key))


def _left_out(findings: Findings, others: int, skip_bad: bool) -> tuple[str, ...]:
    bad = len(findings.problems)
    if not bad:
        return ()
    counted = f"{bad:,} of {bad + others:,} episodes"
    if not (skip_bad and others):
        raise BadFileError(f"{counted} cannot be used ({GO_ON}):\n{findings.report()}")
    return (f"{counted} left out:\n{findings.report()}",)


def _load(dataset_id: str) -> MinariDataset:
    try:
        import minari
    except ImportError as error:
        raise BadFileError(
            "reading it needs minari: pip install 'dreamer-leq[minari]'"
        ) from error
    with reading():
        try:
            return minari.load_dataset(dataset_id)
        except FileNotFoundError as error:
            raise BadFileError(
                f"no such dataset on this machine: minari download {dataset_id}"
            ) from error
        except ImportError as error:  # a library for its storage
            raise BadFileError(str(error).splitlines()[0]) from error


def _stored(dataset: MinariDataset) -> Iterator[EpisodeData]:
    with reading():  # one after the other: their infos may be large
        yield from dataset.iterate_episodes()


def _size(dataset: MinariDataset) -> int:
    files = Path(dataset.storage.data_path).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _episode(episode: EpisodeData) -> dict[str, np.ndarray]:
    """The columns of one episode of T transitions; `observations` has T + 1 rows."""
    arrays = {
        "observations": _vectors(episode.observations),
        "actions": np.asarray(episode.actions),
        "rewards": episode.rewards,
        "terminations": episode.terminations,
    }
    stored = {name: Stored(a.dtype, a.shape) for name, a in arrays.items()}
    steps = {name: field for name, field in _FIELDS.items() if field is not VECTOR}
    columns.refuse_layout(stored, {"observations": VECTOR})
    columns.refuse_layout(stored, steps)
    entries, count = len(arrays["observations"]), len(arrays["actions"])
    if entries != count + 1:
        refuse([f"observations: {entries} rows where actions has {count}"])
    return columns.convert(arrays, _FIELDS)


def _vectors(observations: Any) -> np.ndarray:
    if not isinstance(observations, Mapping):
        return np.asarray(observations)
    if set(observations) != GOAL_KEYS:
        keys = ", ".join(sorted(observations))
        refuse([f"observations: a dictionary of {keys}, expected vectors"])
    state, goal = (np.asarray(observations[k]) for k in ("observation", _PLACE))
    if state.ndim != 2 or goal.ndim != 2 or len(state) != len(goal):
        refuse([f"observations: observation {state.shape}, {_PLACE} {goal.shape}"])
    if np.array_equal(state[:, : goal.shape[1]], goal):
        return state
    return np.concatenate([goal, state], axis=1)


def _refuse_other_sizes(episodes: list[dict[str, np.ndarray]]) -> None:
    for name in ("observations", "actions"):
        sizes = sorted({episode[name].shape[1] for episode in episodes})
        if len(sizes) > 1:
            refuse([f"{name}: {sizes[0]} and {sizes[1]} numbers per row"])


def _joined(episodes: list[dict[str, np.ndarray]], notes: tuple[str, ...]) -> Rows:
    observations = [episode["observations"] for episode in episodes]
    lengths = [len(episode["actions"]) for episode in episodes]
    ends = np.zeros(sum(lengths), bool)
    ends[np.cumsum(lengths) - 1] = True
    actions, rewards, terminations = (
        np.concatenate([episode[name] for episode in episodes])
        for name in ("actions", "rewards", "terminations")
    )
    return Rows(
        state=np.concatenate([vectors[:-1] for vectors in observations]),
        next_state=np.concatenate([vectors[1:] for vectors in observations]),
        action=actions,
        reward=rewards,
        terminal=terminations,
        ends=ends,
        dropped=np.zeros_like(ends),
        notes=notes,
    )
