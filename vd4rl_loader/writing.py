"""Writes episodes from Python as a dataset, in the formats that are read here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.episode_files import episode_name, new_folder, write_episode
from vd4rl_loader.files.layout import SUFFIXES
from vd4rl_loader.files.state_files import check_output, concatenate, write_d4rl
from vd4rl_loader.given_episodes import Played, checked
from vd4rl_loader.recording import given_repeat
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.states.d4rl import WHOLE


def write_dataset(
    path: str | Path,
    episodes: Iterable[Mapping[str, Any]],
    *,
    alignment: Literal["arrival", "departure"],
    task: str | None = None,
    level: str | None = None,
    action_repeat: int | None = None,
    render: RenderStyle | Mapping[str, Any] | None = None,
) -> Path:
    """The folder of images, or the file of vectors, that episodes from Python are
    written to (docs/data.md); `open_dataset` reads it. It appears whole or not at all.

    An episode is a dictionary of arrays or lists: `image` uint8 [T, S, S, 3] or
    `vector` [T, D], or both; `action` float [T, A] in [-1, 1]; `reward` [T]; and
    whether the task ended the episode, as `terminated`, of the last action, or
    `is_terminal`, of the last observation: one bool, or flags [T]. `truncated`,
    `is_first` and `is_last` are checked if they are there, other keys are ignored.

    Args:
      path: a new folder for images, a new file that ends in .hdf5 for vectors alone.
      episodes: the dictionaries. They may come from a generator: of images one episode
        is in memory at a time.
      alignment: "departure" if row t holds the action that was played in observation
        t, and the reward that followed. Then there may be T + 1 observations for T
        actions, as Gymnasium's loops have them; with T of them the last action led
        nowhere and is left out. "arrival" if it holds what led to observation t, so
        that its first row is zero.
      task: dm_control task of images, such as "walker_walk".
      level: such as "mine"; `--task walker_walk-mine` then trains on it.
      action_repeat: control steps of an action, for evaluation.
      render: how images were rendered, for evaluation, as `dataset.json` has it.

    Raises:
      DataError: an episode cannot be used (the line names it, and the field), there is
        none, `path` is taken, or what is said about them can't be.

    Example:
      best = [dataset.episode(index) for index in np.argsort(dataset.returns())[-9:]]
      dl.write_dataset("best.hdf5", best, alignment="arrival")
    """
    path = Path(path).expanduser()
    if alignment not in ("arrival", "departure"):
        raise DataError(f"alignment is {alignment!r}: give arrival or departure")
    record = _record(task, level, action_repeat, render)
    return write_played(path, checked(episodes, alignment == "departure"), record)


def _record(task: Any, level: Any, action_repeat: Any, render: Any) -> dict[str, Any]:
    """What is told about a dataset, as its reader takes it."""
    told = {"task": task, "level": level, "action_repeat": action_repeat}
    record = {name: value for name, value in told.items() if value is not None}
    for name in record.keys() & {"task", "level"}:
        if not isinstance(record[name], str):
            raise DataError(f"{name} is {shown(repr(record[name]))}, expected a text")
    if "action_repeat" in record:
        given_repeat(record)
    if render is not None:
        try:
            style = render if isinstance(render, RenderStyle) else dict(render)
            if isinstance(style, dict):
                style = RenderStyle.from_json(style)
        except (TypeError, ValueError) as error:
            raise DataError(f"render: {error}") from error
        record["render"] = style.to_json()
    return record


def write_played(path: Path, played: Iterator[Played], record: dict[str, Any]) -> Path:
    """The dataset of checked episodes, as from `write_dataset`.

    Args:
      path: a new folder for images, a new file that ends in .hdf5 for vectors.
      played: the episodes.
      record: JSON-able facts that are kept with them.

    Raises:
      DataError: there is no episode, or `path` is taken.
    """
    first = next(played, None)
    if first is None:
        raise DataError(f"{path}: there are no episodes to write")
    write = _write_images if first.kind == "image" else _write_vectors
    write(path, chain([first], played), record)
    return path


def _write_images(path: Path, played: Iterator[Played], record: dict) -> None:
    if path.suffix in SUFFIXES:
        raise DataError(f"{path}: images make a folder: leave out {path.suffix}")
    with new_folder(path) as folder:
        for index, episode in enumerate(played):
            name = episode_name(f"{record.get('task')}/{record.get('level')}", index)
            write_episode(folder, name, ".npz", _entries(episode))
        text = json.dumps({**record, "alignment": "arrival"}, indent=2) + "\n"
        (folder / "dataset.json").write_text(text)


def _entries(episode: Played) -> dict[str, np.ndarray]:
    """The entries of an episode in arrival order, as its file has them."""
    row = np.arange(len(episode.observation))
    last = row == row[-1]
    return {
        "image": episode.observation,
        **({} if episode.vector is None else {"vector": episode.vector}),
        "action": np.pad(episode.action, ((1, 0), (0, 0))),
        "reward": np.pad(episode.reward, (1, 0)),
        "discount": 1.0 - (last & episode.terminal),
        "is_first": row == 0,
        "is_last": last,
        "is_terminal": last & episode.terminal,
    }


def _write_vectors(path: Path, played: Iterator[Played], record: dict) -> None:
    if path.suffix != ".hdf5":
        raise DataError(f"{path}: vectors make one file: end its name in .hdf5")
    path = check_output(path, "d4rl")
    table = concatenate([_rows(episode) for episode in played])
    write_d4rl(path, {**table, WHOLE: np.True_}, record)


def _rows(episode: Played) -> dict[str, np.ndarray]:
    """The transitions of an episode by D4RL's names."""
    last = np.arange(len(episode.action)) == len(episode.action) - 1
    return {
        "observations": episode.observation[:-1],
        "next_observations": episode.observation[1:],
        "actions": episode.action,
        "rewards": episode.reward.astype(np.float32),
        "terminals": last & episode.terminal,
        "timeouts": last & (not episode.terminal),
    }
