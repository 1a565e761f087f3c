"""Compiled programs that are kept: the same numbers, whatever happens to the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_leq import cli

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
PROGRAM = """
from dreamer_leq import cli
cli._quiet_libraries()
cli._keep_compiled_programs()
import jax, jax.numpy as jnp
def work(x):
    return jax.lax.fori_loop(0, 9, lambda i, y: jnp.tanh(y @ x) + x[i], x)
print(jax.jit(lambda k: work(jax.random.normal(k, (16, 16))).sum())(jax.random.key(0)))
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that compiles something, with its cache in tmp_path."""
    clean = {k: v for k, v in os.environ.items() if k[:3] not in ("JAX", "TF_")}
    environment = clean | {"XDG_CACHE_HOME": str(tmp_path), VARIABLES[1]: "0"}

    def start(**more):
        command = [sys.executable, "-c", PROGRAM]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment | more, **pipes)

    return start


def finished(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return float(output), errors


def test_a_kept_program_gives_the_same_numbers(start, tmp_path):
    result, errors = finished(start())
    entries = {file: file.read_bytes() for file in tmp_path.glob("dreamer_leq/jax/*")}
    assert entries and not errors
    assert finished(start()) == (result, "")
    assert {file: file.read_bytes() for file in entries} == entries

    # a process killed while it wrote
    for file, content in entries.items():
        file.write_bytes(content[: len(content) // 2])
    again, warned = finished(start())
    assert again == result
    assert "Error reading persistent compilation cache" in warned


def test_processes_share_it_and_may_be_killed(start):
    expected, _ = finished(start(JAX_ENABLE_COMPILATION_CACHE="false"))
    processes = [start() for _ in range(3)]
    processes[0].kill()
    processes[0].communicate()
    assert [finished(process)[0] for process in processes[1:]] == [expected] * 2
    assert finished(start())[0] == expected


def test_a_cache_that_can_not_be_written_is_no_obstacle(start, tmp_path):
    (tmp_path / "file").write_text("")
    expected, _ = finished(start())
    assert finished(start(XDG_CACHE_HOME=str(tmp_path / "file")))[0] == expected


def test_it_is_where_the_user_says(monkeypatch):
    for name in VARIABLES:  # restored afterwards, also where they were not set
        monkeypatch.setenv(name, "theirs")
    cli._keep_compiled_programs()
    assert [os.environ[name] for name in VARIABLES] == ["theirs"] * 2
    for home, expected in (("/x", "/x/dreamer_leq/jax"), ("", "/h/.cache/dreamer_leq")):
        monkeypatch.setenv("HOME", "/h")
        monkeypatch.setenv("XDG_CACHE_HOME", home)
        monkeypatch.delenv(VARIABLES[0])
        cli._keep_compiled_programs()
        assert os.environ[VARIABLES[0]].startswith(expected)
