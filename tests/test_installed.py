"""The package as a wheel brings it: no checkout, no home, a poor terminal."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import SHARED

from dreamer_leq import config as configs

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("dreamer_leq", "vd4rl_loader", "pyproject.toml", "README.md")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
DEBUG = ("--configs", "maze", "debug", "--task", "pointmaze-umaze")
DEBUG += ("--eval.episodes", "1", "--analysis.sequences", "0")
DEBUG += ("--analysis.episodes", "0", "--expansion.interval", "0")

pytest.importorskip("setuptools", "77", reason="pyproject.toml needs it for a wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages with nothing but ours in it."""
    source, packages = (tmp_path_factory.mktemp(name) for name in ("source", "new"))
    for name in (*SOURCES, "configs.yaml", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        links = {"symlinks": True} if copy is shutil.copytree else {}
        copy(ROOT / name, source / name, **links)
    install = [*PIP, "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", packages, source], check=True)
    return packages


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose name a shell has to be told with quotes."""
    return tmp_path_factory.mktemp("some where")


def run(installed, place, command, *flags):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed),
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "XDG_CACHE_HOME": str(place / "cache"),
        **{k: os.environ[k] for k in (*SHARED, "XLA_FLAGS") if k in os.environ},
        **{k: v for k, v in os.environ.items() if k.startswith("MUJOCO")},
    }
    words = [sys.executable, installed / "bin" / command, *flags]
    options = dict(cwd=place, env=environment, capture_output=True, text=True)
    done = subprocess.run(words, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_it_has_the_presets_of_the_checkout(installed):
    copy = installed / "dreamer_leq/config/configs.yaml"
    assert copy.read_bytes() == (ROOT / "configs.yaml").read_bytes()
    assert configs.CONFIGS == ROOT / "configs.yaml"


def test_it_trains_and_scores_from_anywhere(installed, place):
    """Each command that is printed is one that is there."""
    logdir = "my runs/a"
    said = run(installed, place, "dreamer-leq-train", *DEBUG, "--logdir", logdir)
    score, curves, keys = map(shlex.split, said[-3:])
    assert score[:3] == ["dreamer-leq-eval", "--logdir", logdir]
    assert curves == ["tensorboard", "--logdir", f"{logdir}/tensorboard"]
    assert shutil.which("tensorboard") and keys[0] == "dreamer-leq-train"
    run(installed, place, score[0], "--logdir", logdir, "--episodes", "1")
    assert (place / logdir / "eval.json").exists()
