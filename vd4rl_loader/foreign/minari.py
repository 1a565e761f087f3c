"""Minari's datasets, through the library `minari`: images, and dictionaries of vectors.

An episode of T rows has T + 1 observations. Images were stored as JPEG unless the
dataset says otherwise.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.untrusted import Stored, read_json, reading
from vd4rl_loader.files.validation import BadFileError, refuse
from vd4rl_loader.foreign.reading import Found, Holdings, Notes, Wanted, finished
from vd4rl_loader.foreign.scaling import Scaling
from vd4rl_loader.given_episodes import Played
from vd4rl_loader.states.minari_data import refuse_actions, why_converted

if TYPE_CHECKING:
    from gymnasium.spaces import Space
    from minari import EpisodeData, MinariDataset

_ID = "minari:"
# Namespaces may lie in one another, and have two letters at least.
_FORM = re.compile(r"([\w-][\w/-]*[\w-]/)?[\w-]+-v\d+", re.ASCII)
_METADATA = Path("data/metadata.json")
_NAMESPACE = "namespace_metadata.json"
_NEEDED = "it needs minari: pip install 'dreamer-leq[minari]'"
_JPEG = "episodes of images that were stored as JPEG, which has changed them"


def recognise(path: Path) -> bool:
    """Whether it is a dataset that has to be converted, or any one's folder.

    The others are read as they are: `--data minari:DATASET_ID`.
    """
    if not is_id(path):
        return (path / _METADATA).is_file()
    return why_converted(_load(path)) is not None


def is_id(path: str | Path) -> bool:
    """Whether it is the id of one of Minari's datasets, "minari:DATASET_ID"."""
    return str(path).startswith(_ID)


def holdings(path: Path) -> Holdings:
    """What is in the first episode."""
    dataset = _load(path)
    refuse_actions(dataset)
    with reading():
        spec = dataset.spec
    about: dict[str, Any] = {"dataset": spec.dataset_id}
    if spec.env_spec is not None:
        about["environment"] = spec.env_spec.id
    seen, space = _stored(_observed(_first(dataset).observations)), spec.action_space
    bounds = tuple(np.asarray(getattr(space, name, np.inf)) for name in ("low", "high"))
    return Holdings(seen, True, about, bounds if np.isfinite(bounds).all() else None)


def actions(path: Path) -> Iterator[np.ndarray]:
    """The actions of every episode, [T, A]."""
    for _, episode in _episodes(_load(path)):
        yield np.asarray(episode.actions)


def episodes(path: Path, wanted: Wanted, notes: Notes) -> Found:
    """Every episode."""
    dataset = _load(path)
    for number, episode in _episodes(dataset):
        notes[_JPEG] += bool(wanted.image) and dataset.storage.jpeg_encoding
        yield f"episode {number}", partial(_episode, episode, wanted, notes)


def write(path: str | Path, played: Iterator[Played], record: Mapping) -> None:
    """Writes episodes as one of Minari's datasets on this machine, without loss.

    Args:
      path: "minari:DATASET_ID".
      played: the episodes.
      record: facts that are kept as its description; actions are scaled back to its
        "action_low" and "action_high".

    Raises:
      DataError: there is such a dataset, the library is missing, or no episode.
    """
    folder = new_folder(path)
    minari, spaces = _libraries()
    first = next(played, None)
    if first is None:
        raise DataError(f"{path}: there are no episodes to write")
    scaling = Scaling.kept(record, first.action.shape[1])
    bounds = (bound.astype(np.float32) for bound in (scaling.low, scaling.high))
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an author, code, an environment
            minari.create_dataset_from_buffers(
                str(path).removeprefix(_ID),
                # One in memory at a time.
                _buffers(minari, chain([first], played), scaling),
                observation_space=_space(spaces, first),
                action_space=spaces.Box(*bounds, dtype=np.float32),
                description=json.dumps(dict(record)),
                jpeg_encoding=False,
            )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_namespaces(new)
        if isinstance(error, ValueError) and not isinstance(error, DataError):
            raise DataError(f"{path}: {error}") from error  # what no id may be
        raise


def new_folder(path: str | Path) -> Path:
    """The folder that a new dataset will lie in, on this machine.

    Args:
      path: "minari:DATASET_ID".

    Raises:
      DataError: it can be no dataset's, there is such a dataset, or the library is
        missing.
    """
    dataset_id = str(path).removeprefix(_ID)
    if not _FORM.fullmatch(dataset_id):
        raise DataError(
            f"{path}: can be no dataset of Minari's: give minari:NAMESPACE/NAME-vN, "
            "such as minari:my/data-v0"
        )
    minari, _ = _libraries()
    folder = minari.storage.get_dataset_path(dataset_id)
    if folder.exists():
        raise DataError(f"{path}: exists already: minari delete {dataset_id}")
    return folder


def _libraries() -> Any:
    try:
        import minari
        import minari.storage
        from gymnasium import spaces
    except ImportError as error:
        raise BadFileError(_NEEDED) from error
    return minari, spaces


def _remove_namespaces(folders: list[Path]) -> None:
    """Removes folders in which there is nothing but a namespace, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if [path.name for path in folder.iterdir()] == [_NAMESPACE]:
                (folder / _NAMESPACE).unlink()
            folder.rmdir()


def _space(spaces: Any, episode: Played) -> Space:
    found = {
        name: spaces.Box(0, 255, array.shape[1:], np.uint8)
        if name == "image"
        else spaces.Box(-np.inf, np.inf, array.shape[1:], np.float32)
        for name, array in episode.observations().items()
    }
    return spaces.Dict(found) if len(found) > 1 else found[episode.kind]


def _buffers(minari: Any, played: Iterable[Played], scaling: Scaling) -> Iterator[Any]:
    for episode in played:
        seen = episode.observations()
        last = np.arange(len(episode.action)) == len(episode.action) - 1
        yield minari.data_collector.EpisodeBuffer(
            observations=seen if len(seen) > 1 else episode.observation,
            actions=scaling.original(episode.action),
            rewards=episode.reward,
            terminations=last & episode.terminal,
            truncations=last & (not episode.terminal),
        )


def _load(path: Path) -> MinariDataset:
    minari, _ = _libraries()
    if not is_id(path):
        return _opened(minari, path)
    dataset_id = str(path).removeprefix(_ID)
    folder = minari.storage.get_dataset_path(dataset_id)
    if not folder.is_dir():
        raise BadFileError(
            f"no such dataset on this machine: minari download {dataset_id}"
        )
    return _opened(minari, folder)


def _opened(minari: Any, folder: Path) -> MinariDataset:
    if not (folder / _METADATA).is_file():
        raise BadFileError(f"is no Minari dataset, which has {_METADATA}")
    metadata = read_json(folder / _METADATA)
    with reading():
        dataset = minari.MinariDataset(str(folder / "data"))
        if "jpeg_encoding" in metadata or metadata["data_format"] != "hdf5":
            return dataset
        # Older versions stored images as they were, or as JPEG, and didn't say it.
        storage = dataset.storage
        raw = type(storage)(
            storage.data_path,
            storage.observation_space,
            storage.action_space,
            jpeg_encoding=False,
        )
        plain = minari.MinariDataset(raw)
        images = _observed(_first(plain).observations).values()
        shapes = {np.shape(array)[1:] for array in images}
        told = set(_shapes(storage.observation_space))
        return plain if shapes <= told else dataset


def _shapes(space: Space) -> Iterator[tuple[int, ...] | None]:
    for part in getattr(space, "spaces", {"": space}).values():
        if hasattr(part, "spaces"):
            yield from _shapes(part)
        else:
            yield part.shape


def _first(dataset: MinariDataset) -> EpisodeData:
    first = next((episode for _, episode in _episodes(dataset)), None)
    if first is None:
        raise BadFileError("holds no episodes")
    return first


def _episodes(dataset: MinariDataset) -> Iterator[tuple[int, EpisodeData]]:
    with reading():
        for number in dataset.episode_indices:
            yield number, next(iter(dataset.iterate_episodes([number])))


def _observed(observations: Any, name: str = "") -> dict[str, np.ndarray]:
    """The arrays of a dictionary, which may lie deeper, by their names."""
    if not isinstance(observations, Mapping):
        return {name or "observation": np.asarray(observations)}
    found: dict[str, np.ndarray] = {}
    for key, part in observations.items():
        found |= _observed(part, f"{name}.{key}" if name else str(key))
    return found


def _stored(arrays: Mapping[str, np.ndarray]) -> dict[str, Stored]:
    return {name: Stored(array.dtype, array.shape) for name, array in arrays.items()}


def _episode(episode: EpisodeData, wanted: Wanted, notes: Notes) -> dict[str, Any]:
    arrays = _observed(episode.observations)
    wanted.refuse_layout(_stored(arrays))
    action, reward = np.asarray(episode.actions), np.asarray(episode.rewards)
    terminal, seen = np.asarray(episode.terminations, bool), wanted.observed(arrays)
    rows = sorted({len(array) for array in seen.values()})
    if rows != [len(action) + 1] or len(reward) != len(action):
        refuse(
            [
                f"observations: {rows[0]:,} rows, actions: {len(action):,}, rewards: "
                f"{len(reward):,}"
            ]
        )
    return finished(wanted, notes, seen, action, reward, None, terminal)
