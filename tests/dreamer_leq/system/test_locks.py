"""Locks of folders: held by one process, and by none that has ended."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_leq import UserError
from dreamer_leq.system import locks
from dreamer_leq.system.locks import only_user

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
from dreamer_leq.system.locks import only_user
with only_user(sys.argv[1], "train"):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has the folder."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"here\n"
        yield process
        process.kill()


def test_a_folder_in_use_says_by_whom(tmp_path, other):
    said = rf"{tmp_path} is in use by pid {other.pid} on host {socket.gethostname()}:"
    for _ in range(2):
        with pytest.raises(UserError, match=said), only_user(tmp_path, "train"):
            pytest.fail("two at once")
    with only_user(tmp_path, "report"):
        pass


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_what_ends_a_process_frees_its_folder(tmp_path, other, signum):
    other.send_signal(signum)
    other.wait()
    with only_user(tmp_path, "train"):
        assert json.loads((tmp_path / ".train.lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_twice_in_one_process_is_twice(tmp_path):
    used = pytest.raises(UserError, match=f"in use by pid {os.getpid()} on")
    with only_user(tmp_path, "train"):
        with used, only_user(tmp_path, "train"):
            pytest.fail("two at once")
        with used, only_user(tmp_path, "train"):  # the refused one left it
            pytest.fail("two at once")


@pytest.mark.parametrize(
    ("user", "taken"),
    [
        ({"host": socket.gethostname(), "pid": os.getppid()}, True),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "pid": os.getppid()}, False),
        ("torn", False),
    ],
)
def test_without_locks_a_living_neighbour_counts(tmp_path, monkeypatch, user, taken):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    (tmp_path / ".train.lock").write_text(json.dumps(user))
    if taken:
        with pytest.raises(UserError, match="in use"), only_user(tmp_path, "train"):
            pytest.fail("two at once")
    else:
        with only_user(tmp_path, "train"):
            pass


def test_a_folder_that_can_not_be_written_to_has_no_users(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with only_user(tmp_path, "train"):
        pass
