"""Opens a dataset as contiguous, memory-mapped arrays."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader import arrays, cache, recording
from vd4rl_loader.episodes import Episodes
from vd4rl_loader.errors import DataError
from vd4rl_loader.files import formats
from vd4rl_loader.files.episode import Episode
from vd4rl_loader.files.layout import Source, find_source
from vd4rl_loader.files.validation import Findings, length_problems
from vd4rl_loader.recording import Recording
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators import suite
from vd4rl_loader.simulators.render import RenderStyle

_FORMAT_VERSION = 1  # of the cached arrays; another number makes caches be rebuilt


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Facts about a dataset of images.

    Attributes:
      task: dm_control task, such as "walker_walk", if known; or OGBench's environment.
      level: such as "medium_expert", if known; or the kind of OGBench's data.
      image_size: height and width of `Dataset.image`, in pixels.
      action_size: numbers in an action, each in [-1, 1].
      alignment: "arrival": entry t holds the action that led to image t.
      render: how dm_control rendered the source's images; None: they aren't its.
      action_repeat: control steps per action; None: nobody says it.
      source_image_size: height and width of the images in the files, in pixels.
      guessed: which of `action_repeat` and `render` no `dataset.json` says.
      vector_size: numbers of the vector beside each image; 0: there is none.
      source: what the data were converted from, as `recording.provenance` has it; of
        OGBench's data their "format" alone.
    """

    task: str | None
    level: str | None
    image_size: int
    action_size: int
    alignment: str
    render: RenderStyle | None
    action_repeat: int | None
    source_image_size: int
    guessed: tuple[str, ...] = ()
    vector_size: int = 0
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def fit(self, frames: np.ndarray) -> np.ndarray:
        """Makes rendered frames what they would be in the dataset.

        Args:
          frames: uint8 [..., H, W, 3], rendered in the style `render`.

        Returns:
          uint8 [..., image_size, image_size, 3].
        """
        return resize_images(
            resize_images(frames, self.source_image_size), self.image_size
        )


@dataclasses.dataclass(frozen=True)
class Dataset(Episodes):
    """All episodes, one after the other; N entries, E episodes.

    Entry t holds image t, the action that led to it and the reward that came with it.
    Where `is_first`, both are zero; the transition t -> t+1 is valid iff not
    `is_first[t + 1]`. The arrays are read-only maps of files.

    Attributes:
      image: uint8 [N, H, W, 3].
      action: float32 [N, A], in [-1, 1].
      reward: float32 [N].
      is_first: bool [N], an episode begins here.
      is_last: bool [N], an episode ends here.
      is_terminal: bool [N], it ends because the task does, not for a time limit.
      offsets: int64 [E + 1]; episode e is the entries `offsets[e]:offsets[e + 1]`.
      spec: what the data is of.
      source_bytes: size of the source files.
      vector: float32 [N, D] beside the images; None where there is none.
    """

    image: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    is_first: np.ndarray
    is_last: np.ndarray
    is_terminal: np.ndarray
    offsets: np.ndarray
    spec: DatasetSpec
    source_bytes: int
    vector: np.ndarray | None = None

    def without_vector(self) -> Dataset:
        """The same data, seen as images alone."""
        spec = dataclasses.replace(self.spec, vector_size=0)
        return dataclasses.replace(self, vector=None, spec=spec)


def open_dataset(
    path: str | Path,
    task: str | None = None,
    level: str | None = None,
    image_size: int = 64,
    min_length: int = 64,
    skip_bad: bool = False,
    cache_dir: str | Path | None = None,
    log: Callable[[str], None] = print,
    alignment: str = "auto",
    own: bool = False,
) -> Dataset:
    """Opens a V-D4RL dataset, or OGBench's images, by its cache if the files have not
    changed.

    Args:
      path: the root of datasets (then `task` and `level` choose one), a level's folder,
        its `64px` or `84px` folder, or one .npz or .hdf5 file.
      task: such as "walker_walk"; or of OGBench's single tasks the one whose rewards
        are meant, such as "visual-cube-single-play-singletask-task1-v0".
      level: such as "medium_expert", or "expert/easy" in `distracting`.
      image_size: size of the images in memory; others are resized, in pixels.
      min_length: fewest entries of an episode (the batch length).
      skip_bad: leave out unusable files and episodes, and say how many.
      cache_dir: where the cache goes; by default beside the data if that is writable,
        else into the user's cache folder.
      log: receives lines for the user.
      alignment: "arrival" where entry t holds what led to image t, "departure" where it
        holds what was done in it; "auto" is what `dataset.json` says, or arrival.
      own: the task is the user's, and none of dm_control's: no guess is made.

    Raises:
      DataError: there is no such dataset, it is another task's, or files are unusable:
        all are listed.
    """
    source = find_source(path, task, level, image_size, alignment)
    if own:
        source = dataclasses.replace(source, task=None, level=None)
    recording.refuse_other_size(source, formats.action_size(source))
    mapped, summary = cache.obtain(
        cache.homes(source.folder, cache_dir),
        # Without skip_bad, min_length decides on acceptance, not on the arrays.
        slot=_slot(source, image_size, min_length if skip_bad else None),
        key=_key(source),
        load=arrays.open_arrays,
        build=lambda to: _build(to, source, image_size, min_length, skip_bad, log),
        log=log,
    )
    _refuse_short(source, mapped["offsets"], summary["origins"], min_length)
    if source.ogbench:
        dataset, notes = _of_single_task(source, mapped, summary)
    else:
        dataset, notes = _assembled(source, mapped, summary, own)
    for note in notes:
        log(note)
    return dataset


def is_image_data(path: str | Path) -> bool:
    """Whether `open_dataset` is the one to open this: by the first file's header."""
    try:
        source = find_source(path, None, None, 64)
        return formats.action_size(source) is not None
    except DataError:
        return False


def _slot(source: Source, image_size: int, shortest: int | None) -> str:
    """A cache's purpose, in a name that a person can read."""
    which = cache.digest(source.files[0].name) if source.single else "all"
    name = f"{which}_{source.suffix[1:]}_{image_size}px"
    name += "_departure" if source.departure else ""
    name += "" if recording.longest_episode(source.task) is None else "_limit"
    return name if shortest is None else f"{name}_min{shortest}"


def _key(source: Source) -> str:
    """A digest of all that a cache was made from."""
    stats = [(file.name, file.stat()) for file in source.files]
    # Time and size survive unzipping and copying, these do not.
    files = [
        (name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        for name, stat in stats
    ]
    vectors = formats.vector_size(source)
    return cache.digest([_FORMAT_VERSION, files, *([vectors] if vectors else [])])


def _build(
    folder: Path,
    source: Source,
    image_size: int,
    min_length: int,
    skip_bad: bool,
    log: Callable[[str], None],
) -> None:
    log(f"reading {len(source.files)} {source.suffix} files of {source.folder} …")
    findings = Findings()
    longest = recording.longest_episode(source.task)
    episodes = formats.read_episodes(source, min_length, findings, longest)
    # After the first problem nothing can come of the arrays, but all are to be listed.
    kept: Counter[str] = Counter()
    usable = (e for e in episodes if skip_bad or not findings.problems)
    usable = (_counted(episode, kept) for episode in usable)
    summary = arrays.write_arrays(folder, usable, image_size)
    formats.refuse_bad(source, findings, skip_bad)
    if not summary:
        formats.refuse_empty(source, findings)
    formats.refuse_losses(source, findings, kept, skip_bad)
    arrays.write_summary(folder, {**summary, "notes": findings.notes})


def _counted(episode: Episode, kept: Counter[str]) -> Episode:
    kept["rewards"] += np.count_nonzero(episode.reward)
    kept["terminals"] += episode.terminal
    return episode


def _refuse_short(
    source: Source, offsets: np.ndarray, origins: list[str], min_length: int
) -> None:
    """A cache may have been built for shorter batches."""
    findings = Findings()
    for origin, length in zip(origins, np.diff(offsets), strict=True):
        file, _, row = origin.partition(" row ")
        for problem in length_problems(int(length), min_length):
            where = f" (episode of row {row})" if row else ""
            findings.problems.append((file, problem + where))
    formats.refuse_bad(source, findings, skip_bad=False)


def _assembled(
    source: Source, mapped: dict[str, np.ndarray], summary: dict[str, Any], own: bool
) -> tuple[Dataset, list[str]]:
    """The dataset with what task and lengths tell of it; and lines for the user."""
    lengths = np.diff(mapped["offsets"])
    recorded = Recording.of(source, summary["source_image_size"], lengths)
    terminals = mapped["is_terminal"], []
    if not (own or "source" in source.record):
        terminals = recording.true_terminals(source.task, terminals[0], lengths)
    spec = DatasetSpec(
        task=source.task,
        level=source.level,
        image_size=mapped["image"].shape[1],
        action_size=mapped["action"].shape[1],
        alignment="arrival",
        render=recorded.render,
        action_repeat=recorded.action_repeat,
        source_image_size=summary["source_image_size"],
        guessed=recorded.guessed,
        vector_size=mapped["vector"].shape[1] if "vector" in mapped else 0,
        source=recording.provenance(source.record),
    )
    notes = [
        *summary["notes"],
        *recording.unusual_lengths(lengths, summary["origins"]),
        *terminals[1],
        *recording.alignment_hints(
            mapped["action"], mapped["offsets"], source.departure
        ),
        *(recorded.notes(lengths) if suite.known(source.task) else []),
    ]
    arrays = {**mapped, "is_terminal": terminals[0]}
    source_bytes = sum(file.stat().st_size for file in source.files)
    return Dataset(**arrays, spec=spec, source_bytes=source_bytes), notes


def _of_single_task(
    source: Source, mapped: dict[str, np.ndarray], summary: dict[str, Any]
) -> tuple[Dataset, list[str]]:
    """The dataset with the rewards of one of the tasks that its file serves."""
    single, mapped = source.ogbench, dict(mapped)
    reward = np.array(mapped.pop("task_rewards")[:, single.number - 1])
    reached = (reward == 0) & ~mapped["is_first"]
    reward[mapped["is_first"]] = 0
    spec = DatasetSpec(
        task=source.task,
        level=source.level,
        image_size=mapped["image"].shape[1],
        action_size=mapped["action"].shape[1],
        alignment="arrival",
        render=None,
        action_repeat=1,
        source_image_size=summary["source_image_size"],
        source={"format": "ogbench"},
    )
    notes = [
        *summary["notes"],
        f"rewards of {single.name}, by the state that an action leads to (as OGBench "
        f"before 1.2.0): {np.count_nonzero(reached):,} of {len(reward):,} entries at "
        "the goal",
    ]
    arrays = {**mapped, "reward": reward, "is_terminal": reached}
    source_bytes = source.files[0].stat().st_size
    return Dataset(**arrays, spec=spec, source_bytes=source_bytes), notes
