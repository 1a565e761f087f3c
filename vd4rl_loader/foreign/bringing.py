"""Brings another project's data into this one's formats."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.validation import BadFileError, Findings, refuse
from vd4rl_loader.foreign import FORMATS, TITLES
from vd4rl_loader.foreign.pictures import prepared, refuse_shape
from vd4rl_loader.foreign.reading import (
    NO_REWARDS,
    NO_SUCCESS,
    Found,
    Holdings,
    Notes,
    Wanted,
)
from vd4rl_loader.foreign.scaling import Scaling
from vd4rl_loader.given_episodes import Played, departed, refuse_other_sizes
from vd4rl_loader.writing import write_played

_SHORT = "episodes of one observation left out"
_GO_ON = "--skip-bad goes on without"


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user may say of a source.

    Attributes:
      image_key: which of several images.
      vector_keys: what vectors are made of; None: all that there is.
      size: of the written images, in pixels; None: that of the source.
      crop: take the middle of images that are not square.
      action_low, action_high: bounds of the actions, a number or one for each of them;
        None: those of the source's action space, or the least and greatest that occur.
      reward, end_is_terminal: as in `Wanted`.
      skip_bad: leave out episodes that cannot be used, and say how many.
    """

    image_key: str | None = None
    vector_keys: Sequence[str] | None = None
    size: int | None = None
    crop: bool = False
    action_low: Sequence[float] | None = None
    action_high: Sequence[float] | None = None
    reward: str | None = None
    end_is_terminal: bool = False
    skip_bad: bool = False


def bring(
    src: str | Path,
    dst: str | Path,
    format: str,
    options: Options,
    write: Callable[[Any, Iterator[Played], dict[str, Any]], Any] | None = None,
    log: Callable[[str], None] = print,
) -> int:
    """The number of episodes that are written, of images to a folder or of vectors.

    Args:
      src: file or folder of the other project.
      dst: new folder for images, or new file that ends in .hdf5 for vectors.
      format: name of a format, of `FORMATS`.
      options: what the user says.
      write: writes another project's format to `dst`; None: this project's.
      log: receives lines for the user.

    Raises:
      DataError: `src` cannot be used, or `dst` is taken.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    if dst.exists() and not (dst.is_dir() and not any(dst.iterdir())):
        raise DataError(f"{dst}: exists already: delete it, or give another name")
    reader, notes, findings = FORMATS[format], Counter(), Findings()
    try:
        holdings = reader.holdings(src)
        wanted = _wanted(holdings, dst, options, notes, either=write is not None)
        scaling = _scaling(holdings, options, reader.actions(src))
        record = {"format": format, **holdings.about, **scaling.record()}
        found = _prepared(
            reader.episodes(src, wanted, notes), scaling, wanted.fit, notes
        )
        written = Counted(_usable(src, found, findings, options.skip_bad))
        if write:
            write(dst, iter(written), record)
        else:
            write_played(dst, iter(written), {"source": record})
    except BadFileError as error:
        raise DataError(f"{src}: {error}") from error
    for text in [*_lines(scaling if not write else None, notes), *findings.notes]:
        log(f"{TITLES[format]}: {text}")
    return written.count


def _wanted(
    holdings: Holdings, dst: Path, options: Options, notes: Notes, either: bool
) -> Wanted:
    """Vectors for a file, images with the vectors beside them for a folder; where
    `either` goes, images if there are any.
    """
    images = holdings.images()
    vectors = _vectors(holdings.vectors(), options.vector_keys)
    file = dst.suffix == ".hdf5" if not either else not images
    if file and not vectors:
        raise BadFileError("holds no state vectors: give a folder for its images")
    image = None if file else _image(images, vectors, options.image_key)
    if image:
        refuse_shape(*holdings.size(image), options.crop)
    if not (holdings.rewards or options.reward):
        raise BadFileError(NO_REWARDS)
    if options.reward == "success" and not holdings.success:
        raise BadFileError(NO_SUCCESS)
    fit = partial(prepared, size=options.size, crop=options.crop, notes=notes)
    return Wanted(image, vectors, options.reward, options.end_is_terminal, fit)


def _scaling(
    holdings: Holdings, options: Options, actions: Iterator[np.ndarray]
) -> Scaling:
    given = [options.action_low, options.action_high]
    if given == [None, None]:
        return Scaling(*holdings.bounds) if holdings.bounds else Scaling.of(actions)
    if None in given:
        raise BadFileError("give --action-low and --action-high, or neither")
    size = next((array.shape[-1] for array in actions if array.ndim == 2), 0)
    low, high = (np.asarray(numbers, float) for numbers in given)
    if {len(low), len(high)} - {1, size} or not (low < high).all():
        raise BadFileError(
            f"--action-low, --action-high: give one number, or {size}, for each of the "
            "actions', the low ones below the high ones"
        )
    return Scaling(*(np.broadcast_to(numbers, size) for numbers in (low, high)))


def _vectors(there: list[str], keys: Sequence[str] | None) -> list[str]:
    if keys is None:
        return there
    if unknown := [key for key in keys if key not in there]:
        held = shown(", ".join(there), 300) or "none"
        raise BadFileError(
            f"no vectors of that name: {', '.join(unknown)}: choose with "
            f"--vector-keys, of {held}"
        )
    return list(keys)


def _image(images: list[str], vectors: list[str], key: str | None) -> str:
    if not images:
        hint = "give a new file that ends in .hdf5 for its vectors" if vectors else ""
        refuse([": ".join(filter(None, ["holds no images", hint]))])
    names = shown(", ".join(images), 300)
    fitting = [name for name in images if key in (None, name, name.split(".")[-1])]
    if len(fitting) != 1:
        trouble = f"no images of that name: {key}" if key else "several images"
        refuse([f"{trouble}: choose with --image-key, of {names}"])
    return fitting[0]


def _prepared(
    found: Found, scaling: Scaling, fit: Callable, notes: Notes
) -> Iterator[tuple[str, Callable[[], Played | None]]]:
    """The episodes as they are written."""
    for origin, load in found:
        yield origin, partial(_made, load, scaling, fit, notes)


def _made(
    load: Callable[[], dict[str, Any]], scaling: Scaling, fit: Callable, notes: Notes
) -> Played | None:
    """An episode as it is written; None for one without a transition."""
    episode = load()
    if len(episode["action"]) == 0:
        notes[_SHORT] += 1
        return None
    if "image" in episode:
        episode["image"] = fit(episode["image"])
    return departed({**episode, "action": scaling.scaled(episode["action"])})


def _usable(
    src: Path,
    found: Iterator[tuple[str, Callable[[], Played | None]]],
    findings: Findings,
    skip_bad: bool,
) -> Iterator[Played]:
    """The episodes that can be used; at the end the others are refused, or noted."""
    first, total = None, 0
    for origin, made in found:
        total += 1
        try:
            played = made()
            if played is None:
                continue
            first = first or played
            refuse_other_sizes(first, played)
        except BadFileError as error:
            findings.problems.append((origin, str(error)))
            continue
        if skip_bad or not findings.problems:
            yield played
    if bad := len(findings.problems):
        text = f"{bad:,} of {total:,} episodes cannot be used"
        if not skip_bad:
            raise DataError(f"{src}: {text} ({_GO_ON}):\n{findings.report()}")
        findings.notes.append(f"{text}, and are left out:\n{findings.report()}")


class Counted:
    """Counts what passes, and shows the count on a terminal."""

    def __init__(self, played: Iterator[Played]) -> None:
        self._played, self.count = played, 0

    def __iter__(self) -> Iterator[Played]:
        from rich.console import Console

        with Console(stderr=True).status("converting …") as shown:
            for episode in self._played:
                self.count += 1
                shown.update(f"converting … {self.count:,} episodes")
                yield episode


def _lines(scaling: Scaling | None, notes: Notes) -> Iterator[str]:
    """What the user is told; without a `scaling`, actions are as they were."""
    if scaling and len(changed := scaling.changed):
        some = ", ".join(map(str, changed))
        which = f"number{'s' * (len(changed) > 1)} {some}"
        which = "all numbers" if len(changed) == len(scaling.low) else which
        yield (
            f"{which} of an action scaled to [-1, 1]; action_low and action_high are "
            "kept with the data: a = low + (a' + 1) / 2 · (high - low)"
        )
    yield from (f"{count:,} {text}" for text, count in notes.items() if count)
