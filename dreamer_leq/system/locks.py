"""A folder for one process at a time, on this machine or another that shares it."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dreamer_leq.system.errors import UserError

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK)


@contextlib.contextmanager
def only_user(folder: str | Path, use: str) -> Iterator[None]:
    """Nobody else can have the folder for this use in the meantime.

    The kernel holds the lock, and lets go of it whatever ends the process. A file in
    the folder says who has it. Where a file system has no locks, a living process of
    this machine that the file names counts as a user; where the folder can't be written
    to, nobody does.

    Raises UserError where the folder is in use: by which process, on which host.
    """
    path = Path(folder) / f".{use}.lock"
    try:
        file = _opened(path)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        yield
        return
    with file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> IO[str]:
    """The lock's file, empty and ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path.parent, file) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if _is_alive(_user(file)):
                raise _in_use(path.parent, file) from None
        # else its last user has removed it since it was opened
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            return file
        file.close()


def _user(file: IO[str]) -> dict[str, object]:
    """Who has written into the file: host and pid, or nothing."""
    file.seek(0)
    with contextlib.suppress(ValueError):
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def _is_alive(user: dict[str, object]) -> bool:
    """Whether it is a process of this machine, and another one."""
    pid = user.get("pid")
    here = user.get("host") == socket.gethostname()
    return here and isinstance(pid, int) and pid > 0 and Path(f"/proc/{pid}").exists()


def _in_use(folder: Path, file: IO[str]) -> UserError:
    with file:
        user = _user(file)
    who = f"pid {user['pid']} on host {user['host']}" if user else "another process"
    return UserError(
        f"{folder} is in use by {who}: wait for it, or choose another --logdir"
    )
