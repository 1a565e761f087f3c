"""Files that are either complete or not there, whatever kills the process; reading
them back; and the version of what a run leaves.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamer_leq.system.errors import UserError

# Of configuration, facts and checkpoints of a run. It goes up with every change after
# which a run of before can't be read any more; the first runs have none, which counts
# as 0.
FORMAT = 2


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes its place on success.

    The suffix is kept, since writers choose a format by it. If the body raises,
    the temporary file goes and `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """As `replacing`, for a folder that is not there yet."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_bytes(path: str | Path) -> bytes:
    """What a file holds.

    Raises:
        UserError: it is no file (a FIFO would keep its reader waiting), or can't be
            read.
    """
    if os.path.lexists(path) and not os.path.isfile(path):
        raise UserError(f"{path}: is not a file: remove it")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def read_text(path: str | Path) -> str:
    """A file's text. Raises UserError as `read_bytes`, and where it is not UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text: {error}") from None


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it can't be read, or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None


def refuse_newer(found: Any, where: str) -> None:
    """Raise UserError where `where` is of a later version than this one reads."""
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(
            f"{where} is of format {found}, and this version of dreamer-leq reads up "
            f"to {FORMAT}: update dreamer-leq"
        )


def remove_leftovers(folder: str | Path) -> None:
    """Delete what killed processes left of `replacing` and `replacing_folder`."""
    for path in Path(folder).rglob(".*.tmp*"):
        writer = path.name.rpartition(".tmp")[0].rpartition(".")[2]
        if not writer.isdecimal() or _is_another(int(writer)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_another(pid: int) -> bool:
    """Whether a process other than this one has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return pid != os.getpid()


def link_or_copy(source: str, target: str) -> None:
    """Another name for a file that is never written again, or else a copy."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def write_json(path: str | Path, data: Any) -> None:
    """Writes `data` as indented JSON, atomically. Floats are kept exactly."""
    text = json.dumps(data, indent=2) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text)
