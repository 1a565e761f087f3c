"""Reads the episodes of either format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import ModuleType

from vd4rl_loader.errors import DataError
from vd4rl_loader.files import npz, ogbench_images, shards
from vd4rl_loader.files.episode import Episode, split
from vd4rl_loader.files.layout import Source
from vd4rl_loader.files.validation import GO_ON, Expected, Findings

_READERS = {".npz": npz, ".hdf5": shards}


def _reader(source: Source) -> ModuleType:
    return ogbench_images if source.ogbench else _READERS[source.suffix]


def read_episodes(
    source: Source, min_length: int, findings: Findings, longest: int | None = None
) -> Iterator[Episode]:
    """Yields the usable episodes, one in memory at a time, in the files' order.

    Args:
      source: the files.
      min_length: fewest entries of a usable episode.
      findings: receives what is wrong with the other files and episodes.
      longest: entries of the task's longest episodes; longer ones are several, whose
        beginnings were not marked. None: nobody knows.
    """
    reader = _reader(source)
    expected = _expect(source, reader, min_length)
    for episode in reader.read(source.files, expected, findings):
        parts = split(episode, longest) if longest else [episode]
        if len(parts) > 1:
            findings.notes.append(
                f"{episode.origin}: {len(parts):,} episodes whose beginnings are not "
                "marked, told by their empty first entries"
            )
        yield from parts


def action_size(source: Source) -> int | None:
    """Numbers in an action of the first readable file, by its header."""
    peek = _reader(source).peek
    return next((sizes[1] for sizes in map(peek, source.files) if sizes), None)


def vector_size(source: Source) -> int:
    """Numbers of a vector beside each image; 0: there is none."""
    return npz.vector_size(source.files[0]) if source.suffix == ".npz" else 0


def refuse_bad(source: Source, findings: Findings, skip_bad: bool) -> None:
    """Raises or, with `skip_bad`, notes how much is left out.

    Raises:
      DataError: listing every problem, one line each.
    """
    if not findings.problems:
        return
    bad, total = findings.bad_files(), len(source.files)
    counted = f"{bad} of {total} files" if total > 1 else "the file"
    if not skip_bad:
        ways = "; or ".join(filter(None, (findings.shorter_batches(), GO_ON)))
        raise DataError(
            f"{source.folder}: {counted} cannot be used ({ways}):\n{findings.report()}"
        )
    findings.notes.append(
        f"skip_bad: left out what is bad in {counted}:\n{findings.report()}"
    )


def refuse_losses(
    source: Source, findings: Findings, kept: Counter[str], skip_bad: bool
) -> None:
    """Raises or, with `skip_bad`, notes that what was dropped holds most of what
    matters.

    Args:
      source: the files.
      findings: what readers have dropped.
      kept: numbers of rewards and terminals in the episodes.
      skip_bad: go on all the same.

    Raises:
      DataError: it does.
    """
    for name, lost in findings.lost.items():
        if lost > kept[name]:
            text = f"what was dropped holds {lost:,} of {lost + kept[name]:,} {name}"
            if not skip_bad:
                notes = "".join(f"\n  {note}" for note in findings.notes)
                raise DataError(f"{source.folder}: {text} ({GO_ON}):{notes}")
            findings.notes.append(text)


def refuse_empty(source: Source, findings: Findings) -> None:
    """Raises a DataError: no episode remained."""
    lines = [findings.report()] if findings.problems else []
    lines += [f"  {note}" for note in findings.notes if "\n" not in note]
    way = f": {flag}" if (flag := findings.shorter_batches()) else ""
    raise DataError("\n".join([f"{source.folder}: no usable episode{way}", *lines]))


def _expect(source: Source, reader: ModuleType, min_length: int) -> Expected:
    """Sizes of most of the files: the others are the odd ones."""
    seen = [shape for shape in map(reader.peek, source.files) if shape]
    if not seen:  # reading will say what is wrong with them
        return Expected(0, 0, min_length, source.departure)
    image_sizes, action_sizes = (Counter(sizes) for sizes in zip(*seen, strict=True))
    return Expected(
        image_size=image_sizes.most_common(1)[0][0],
        action_size=action_sizes.most_common(1)[0][0],
        min_length=min_length,
        departure=source.departure,
    )
