"""What a run says of where it comes from."""

import json
import platform
import subprocess
from pathlib import Path

import jax
import numpy
import pytest

from dreamer_leq.run.provenance import git_state, run_info


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "code.py").write_text("1")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_the_commit_and_whether_the_code_is_another(repository):
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert git_state(repository) == {"commit": commit, "dirty": False}
    (repository / "notes").write_text("not code")
    assert git_state(repository) == {"commit": commit, "dirty": False}
    (repository / "code.py").write_text("2")
    assert git_state(repository) == {"commit": commit, "dirty": True}


def test_outside_git_there_is_no_commit(repository, tmp_path):
    assert git_state(tmp_path) is None
    installed = repository / ".venv"  # inside somebody's repository, not of it
    installed.mkdir()
    (installed / "code.py").write_text("1")
    assert git_state(installed) is None


def test_run_info_says_what_one_needs_to_repeat_the_run():
    dataset = {"task": "walker_walk", "episodes": 3, "return_mean": 1 / 3}
    info = run_info(seed=7, dataset=dataset)
    assert info["seed"] == 7 and info["dataset"] == dataset
    assert info["packages"]["jax"] == jax.__version__
    assert info["packages"]["numpy"] == numpy.__version__
    assert info["packages"]["mujoco"] and info["packages"]["dm-control"]
    assert info["python"] == platform.python_version()
    assert info["devices"] == [device.device_kind for device in jax.devices()]
    assert json.loads(json.dumps(info)) == info


def test_run_info_names_no_path():
    text = json.dumps(run_info(seed=0, dataset={}))
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[3]) not in text
