"""Keeps derived folders: found again by a key, published whole or not at all.

A home is a folder that holds entries. An entry `<slot>.<key>` is a folder; the slot
says what it is for, the key what it was made from. A home keeps one entry per slot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vd4rl_loader.errors import DataError

T = TypeVar("T")


def digest(value: Any) -> str:
    """16 hexadecimal digits that identify a JSON-able value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def homes(folder: Path, cache_dir: str | Path | None) -> list[Path]:
    """Places for the cache of the data in `folder`, the best first.

    `cache_dir` if given, else `.cache` beside the data, else the user's cache folder,
    else the user's own among the temporary ones.
    """
    shared = digest(str(folder.resolve()))
    if cache_dir is not None:
        return [Path(cache_dir).expanduser() / shared]
    users = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    temporary = Path(tempfile.gettempdir(), f"dreamer_leq-{os.getuid()}")
    places = [folder / ".cache"]
    if users.is_absolute():  # else nobody knows a home
        places.append(users / "dreamer_leq" / shared)
    if not temporary.exists() or temporary.stat().st_uid == os.getuid():
        places.append(temporary / shared)
    return places


def obtain(
    places: list[Path],
    slot: str,
    key: str,
    load: Callable[[Path], T | None],
    build: Callable[[Path], None],
    log: Callable[[str], None],
) -> T:
    """Loads the entry `<slot>.<key>`, building it first if nobody has.

    Builders of a slot wait for each other; what a killed one left is removed. The new
    entry replaces those of the slot's other keys.

    Args:
      places: homes, as from `homes`.
      slot: letters, digits and underscores.
      key: as from `digest`.
      load: opens an entry's folder; None if it is missing or not whole.
      build: fills an empty folder.
      log: receives lines for the user.

    Raises:
      DataError: no home is writable.
    """
    for home in places:
        if (loaded := load(home / f"{slot}.{key}")) is not None:
            return loaded
    home = _first_writable(places)
    with _lock(home / f"{slot}.lock", log) as alone:
        entry = home / f"{slot}.{key}"
        if (loaded := load(entry)) is None:
            if alone:
                _remove(home.glob(f"{slot}.part-*"))
            _publish(entry, build)
            _remove(set(home.glob(f"{slot}.{'[0-9a-f]' * 16}")) - {entry})
            loaded = load(entry)
    assert loaded is not None
    return loaded


def _first_writable(places: list[Path]) -> Path:
    for home in places:
        probe = home / f".probe-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            home.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            return home
    tried = " or ".join(map(str, places))
    raise DataError(f"cannot write a cache to {tried}: give a writable cache_dir")


@contextlib.contextmanager
def _lock(path: Path, log: Callable[[str], None]) -> Iterator[bool]:
    """Holds the lock of a slot; gives False where the file system has no locks."""
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(path, "a"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log(f"waiting for another process that builds {path.with_suffix('')}")
                sys.stdout.flush()  # a pipe would keep it until the wait is over
                fcntl.flock(stream, fcntl.LOCK_EX)
            alone = True
        except OSError:  # also a lock file of another user
            alone = False
        yield alone  # closing the stream, or the death of the process, releases it


def _publish(entry: Path, build: Callable[[Path], None]) -> None:
    temporary = entry.with_name(f"{entry.stem}.part-{uuid.uuid4().hex}")
    _remove([entry])  # it is there only if it is damaged
    temporary.mkdir()
    try:
        build(temporary)
        try:
            os.rename(temporary, entry)
        except OSError:
            # Without locks, another process may have published the same entry.
            if not entry.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove(entries: Iterator[Path] | set[Path] | list[Path]) -> None:
    for entry in entries:
        if entry.exists():
            # Renamed first: a half-deleted entry must not look like a whole one.
            doomed = entry.with_name(f"{entry.stem}.part-{uuid.uuid4().hex}")
            os.rename(entry, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
