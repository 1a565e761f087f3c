"""What files that nobody vouches for say of their arrays, before any is read."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vd4rl_loader.files.validation import BadFileError

# Reading holds the stored array, its float32 copy and the episodes' arrays at once.
_COPIES = 3


class Stored(NamedTuple):
    """What a file declares of an array: nothing of its content has been read."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the array in memory; Python's integers do not overflow."""
        count = 1
        for length in self.shape:
            count *= int(length)
        return count * self.dtype.itemsize


def refuse_size(arrays: Iterable[Stored]) -> None:
    """Refuses what the memory cannot hold.

    Raises:
      BadFileError: it needs more.
    """
    needed, there = _COPIES * sum(array.nbytes for array in arrays), _memory()
    if needed > there:
        raise BadFileError(
            f"reading it needs {needed / 1e9:,.1f} GB of memory, this machine has "
            f"{there / 1e9:,.1f} GB"
        )


def _memory() -> int:
    """Bytes of the machine, or of what it allows its containers and processes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(limits if soft == resource.RLIM_INFINITY else [*limits, soft])


def refuse_no_file(path: Path) -> None:
    """Refuses folders, FIFOs, devices and links to nothing, which may block a reader.

    Raises:
      BadFileError: it is not a file.
    """
    if not path.is_file():
        raise BadFileError("is not a file: remove it, or give it another name")


@contextlib.contextmanager
def reading(
    damage: tuple[type[Exception], ...], field: str | None = None
) -> Iterator[None]:
    """Says of errors in its block, which reads a file or a field, what they mean.

    Args:
      damage: what the library raises that reads.
      field: the array that is read, if it is one.

    Raises:
      BadFileError: the block raised one of `damage`, or there was no memory.
    """
    where = f"{field}: " if field else ""
    try:
        yield
    except BadFileError:
        raise
    except MemoryError as error:
        raise BadFileError(f"{where}does not fit into the memory") from error
    except damage as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFileError(
            f"{where}cannot be read, truncated or damaged ({reason})"
        ) from error
