"""The errors that a user of the loader can cause, or the machine."""

from __future__ import annotations

import errno
import os

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EROFS: "make it writable, or choose another folder",
    errno.EACCES: "give yourself the right to it, or choose another folder",
    errno.EPERM: "give yourself the right to it, or choose another folder",
    errno.EIO: "look at the disk",
}

LONGEST = 600  # characters of a line


class DataError(ValueError):
    """A file, folder, option or missing library that the user can put right.

    The message says what is wrong, where (file and field) and what to do. It is one
    line, or one line per bad file. Commands print it as `error: ...` and exit with 2.
    """


def require_at_least(least: int, name: str, value: int | None) -> None:
    """Raises a DataError if a number that the user gave is too small."""
    if value is not None and value < least:
        raise DataError(f"{name} is {value}: give at least {least}")


def shown(text: str, most: int = 80) -> str:
    """A text from a file as a part of a line: printable, and not too long."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def told(error: Exception) -> str:
    """An error's message for a terminal, which nothing in it can confuse or flood."""
    return "\n".join(shown(line, LONGEST) for line in str(error).split("\n"))


def disk_trouble(error: BaseException) -> str | None:
    """One line for the OSError of a disk that is full, read-only or broken, or of a
    missing permission; None for any other exception.
    """
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{os.strerror(error.errno)}: {_REMEDIES[error.errno]}"
