"""Compiled programs that are kept: the same numbers, whatever happens to the cache."""

import os
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import pytest

from dreamer_leq.system import compiled_programs

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
PROGRAM = """
from dreamer_leq import cli
cli.keep_compiled_programs()
import jax, jax.numpy as jnp
def work(x):
    return jax.lax.fori_loop(0, 9, lambda i, y: jnp.tanh(y @ x) + x[i], x)
print(jax.jit(lambda k: work(jax.random.normal(k, (16, 16))).sum())(jax.random.key(0)))
"""


def started(cache, **more):
    """A process that compiles something, with a folder for its cache."""
    clean = {k: v for k, v in os.environ.items() if k[:3] not in ("JAX", "TF_")}
    environment = clean | {"XDG_CACHE_HOME": str(cache), VARIABLES[1]: "0"}
    command = [sys.executable, "-c", PROGRAM]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment | more, **pipes)


@pytest.fixture
def start(tmp_path):
    """Starts such a process with its cache in tmp_path."""
    return partial(started, tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What it gives without a cache."""
    nowhere = tmp_path_factory.mktemp("none")
    return finished(started(nowhere, JAX_ENABLE_COMPILATION_CACHE="false"))[0]


def finished(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return float(output), errors


def test_a_kept_program_gives_the_same_numbers(start, expected, tmp_path):
    assert finished(start()) == (expected, "")
    folder = tmp_path / "dreamer_leq/jax"
    entries = {file: file.read_bytes() for file in folder.glob("*-cache")}
    assert entries and finished(start()) == (expected, "")
    assert {file: file.read_bytes() for file in entries} == entries

    # a process killed while it wrote
    for file, content in entries.items():
        file.write_bytes(content[: len(content) // 2])
    assert finished(start()) == (expected, "")
    assert all(zlib.decompress(file.read_bytes()) for file in entries)


def test_processes_share_it_and_may_be_killed(start, expected):
    processes = [start() for _ in range(3)]
    processes[0].kill()
    processes[0].communicate()
    assert [finished(process)[0] for process in processes[1:]] == [expected] * 2
    assert finished(start())[0] == expected


def test_a_cache_that_can_not_be_written_is_no_obstacle(start, expected, tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    assert finished(start(**nowhere)) == (expected, "")
    assert finished(start(XDG_CACHE_HOME="", HOME="~")) == (expected, "")
    assert not (ROOT / "~").exists()


@pytest.fixture
def unset(monkeypatch):
    for name in VARIABLES:  # restored afterwards, also where they were not set
        monkeypatch.setenv(name, "theirs")
        monkeypatch.delenv(name)


def test_it_is_where_the_user_says(monkeypatch, unset, tmp_path):
    x, home = tmp_path / "x", tmp_path / "home"
    for cache, expected in ((x, x), ("", home / ".cache")):
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.delenv(VARIABLES[0], raising=False)
        compiled_programs.keep_compiled_programs()
        assert os.environ[VARIABLES[0]] == str(expected / "dreamer_leq/jax")
    for name in VARIABLES:
        monkeypatch.setenv(name, "theirs")
    compiled_programs.keep_compiled_programs()
    assert [os.environ[name] for name in VARIABLES] == ["theirs"] * 2


def test_only_torn_programs_go_and_only_what_is_new_is_read(tmp_path):
    whole = zlib.compress(os.urandom(1000))
    contents = {"whole": whole, "torn": whole[:-1], "empty": b"", "old": whole[:10]}
    for name, content in contents.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    os.utime(tmp_path / "old-cache", (0, 0))
    (tmp_path / ".checked").touch()
    os.utime(tmp_path / ".checked", (1000, 1000))
    compiled_programs.remove_torn(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {
        "whole-cache",
        "old-cache",
    }
    assert (tmp_path / ".checked").stat().st_mtime > time.time() - 600


def entry(folder, name, size, hours):
    """A stored program that was last used so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-cache"
    path.write_bytes(zlib.compress(b"").ljust(size))
    past = time.time() - 3600 * hours
    os.utime(path, (past, past))
    return path


def test_what_was_used_longest_ago_goes_first(monkeypatch, unset, tmp_path):
    folder = tmp_path / "dreamer_leq/jax"
    sizes_and_hours = [(100, 3), (100, 1), (100, 4), (100, 2)]
    third, first, last, second = (
        entry(folder, name, *how)
        for name, how in zip("abcd", sizes_and_hours, strict=True)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled_programs.keep_compiled_programs()
    assert len(list(folder.glob("*-cache"))) == 4  # they fit
    monkeypatch.setattr(compiled_programs, "LIMIT", 299)
    monkeypatch.delenv(VARIABLES[0])
    compiled_programs.keep_compiled_programs()
    assert set(folder.glob("*-cache")) == {first, second}
    assert not third.exists() and not last.exists()


def test_a_program_counts_as_used_when_it_is_read_or_written(tmp_path):
    read, written, idle = (entry(tmp_path, name, 100, 5) for name in "abc")
    now, past = time.time(), time.time() - 3600 * 9
    os.utime(read, (now, past))
    os.utime(written, (past, now))
    compiled_programs.trim(tmp_path, 200)
    assert set(tmp_path.iterdir()) == {read, written} and not idle.exists()


def test_other_files_and_other_folders_are_left_alone(monkeypatch, unset, tmp_path):
    monkeypatch.setattr(compiled_programs, "LIMIT", 0)
    theirs = entry(tmp_path / "theirs", "a", 100, 1)
    monkeypatch.setenv(VARIABLES[0], str(tmp_path / "theirs"))
    compiled_programs.keep_compiled_programs()
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/notes.txt").write_text("ours")
    compiled_programs.trim(tmp_path / "ours", 0)
    assert theirs.exists() and (tmp_path / "ours/notes.txt").exists()
