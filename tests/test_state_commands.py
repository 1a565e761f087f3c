"""The commands on state vectors, D4RL's and AntMaze's. NeoRL, the RSSM, mazes, grids
and what they are compared with are among the README's commands: `.ci/run` runs them
and then .ci/test_readme_runs.py.
"""

import re
import shutil
import signal
from functools import partial

import h5py
import numpy as np
import pytest
from workplace import (
    PHASES,
    Workplace,
    assert_same,
    assert_trained,
    parameters,
    records,
    refused,
    run_here,
    scores,
)

from dreamer_leq.cli import eval_main, train_main
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.metrics import read_metrics
from vd4rl_loader.__main__ import main as loader_main

HOPPER = ("--configs", "d4rl_mujoco", "debug", "--task", "hopper-medium-replay")
HOPPER += ("--data", "hopper.hdf5", "--expansion.interval", "8", "--eval.episodes", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A workplace with a file of Hopper."""
    folders = (tmp_path_factory.mktemp(name) for name in ("states", "cache"))
    place = Workplace(*folders)
    collect(place, "medium", "hopper.hdf5")
    return place


def collect(place, level, out):
    flags = ("--suite", "gymnasium", "--task", "Hopper-v4", "--level", level)
    flags += ("--steps", 400, "--workers", 1, "--out", out)
    code, _, errors = run_here(place, loader_main, "collect", *flags)
    assert code == 0, errors


# --- Hopper: trained, scored, stopped and gone on with


@pytest.fixture(scope="module")
def whole(place):
    """The folder of an undisturbed run on D4RL's layout."""
    run = place.run("train_offline.py", *HOPPER, "--logdir", "whole")
    code, place.stdout, errors = run
    assert code == 0, errors
    return place.path / "whole"


def test_hopper_is_trained_and_scored(place, whole):
    assert_trained(whole)
    scale = RunFolder(whole).facts.reward["scale"]
    assert scale > 1 and f"rewards: reward × {scale:.4g} +0 (returns " in place.stdout
    assert "imagined ends: the rule of hopper; rewards by the ensemble" in place.stdout
    for score in scores(whole).values():
        # Fu et al. 2020: from the random policy's return to the expert's
        expected = (score["mean"] + 20.272305) / (3234.3 + 20.272305) * 100
        assert score["normalized"] == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def disturbed(place, whole):
    """The same run in another folder, stopped twice: how each try ended."""
    folder = place.path / "disturbed"

    def recorded(phase, step):
        return lambda: any(
            (record["phase"], record["step"]) == (phase, step) and len(record) > 8
            for record in read_metrics(folder / "metrics.jsonl")
        )

    def printed():
        return "transitions and" in place.output.read_text()

    command = ("train_offline.py", *HOPPER, "--logdir", folder)
    stopped = place.stop(place.start(*command), signal.SIGTERM, printed)
    kept = Checkpoints(folder / "checkpoints").steps("world_model")
    reached = recorded("leq", 15)
    killed = place.stop(place.start(*command), signal.SIGKILL, reached)
    return folder, (*stopped, kept), killed, place.run(*command)


def test_sigterm_saves_and_exits(disturbed):
    _, (code, output, errors, kept), *_ = disturbed
    assert (code, errors) == (143, "")
    (step,) = re.findall(
        r"stopped by SIGTERM at world_model update (\d+); saved", output
    )
    assert kept[-1] == int(step)


def test_the_disturbed_run_ends_like_the_undisturbed_one(whole, disturbed):
    folder, _, killed, (code, output, errors) = disturbed
    assert killed[0] == -signal.SIGKILL and (code, errors) == (0, "")
    assert "world_model" not in output  # finished before; not run again
    for found in (records, scores):
        assert found(folder) == found(whole)
    for phase in PHASES:
        assert_same(parameters(folder, phase), parameters(whole, phase))


# --- AntMaze


def write_antmaze(path, episodes=6, steps=60):
    """D4RL's layout without next observations: 29 numbers, not cut at the goal."""
    rng, n = np.random.default_rng(0), episodes * steps
    vector = rng.normal(size=(episodes, steps, 29)).astype(np.float32)
    walk = np.cumsum(rng.uniform(-0.3, 0.3, (episodes, steps, 2)), 1)
    vector[:, :, :2] = walk
    reached = rng.random(n) < 0.05
    with h5py.File(path, "w") as file:
        file["observations"] = vector.reshape(n, 29)
        file["actions"] = rng.uniform(-1, 1, (n, 8)).astype(np.float32)
        file["rewards"] = reached.astype(np.float32)
        file["terminals"] = reached
        file["timeouts"] = np.arange(n) % steps == steps - 1
        file["infos/goal"] = np.zeros((n, 2), np.float32)


def test_antmaze(place):
    write_antmaze(place.path / "ant.hdf5")
    flags = ("--task", "antmaze-umaze", "--data", "ant.hdf5", "--logdir", "ant")
    flags += ("--bc.updates", 0, "--fqe.updates", 0, "--eval.episodes", 1)
    flags = ("--configs", "d4rl_antmaze", "debug", *flags)
    code, output, errors = run_here(place, train_main, *flags, filmed=0)
    assert code == 0, errors
    folder = RunFolder(place.path / "ant")
    assert_trained(folder.path, ("world_model", "leq"))
    assert folder.facts.reward == {"scale": 1.0, "bias": -1.0}
    assert "imagined ends: within 0.25 m of (0.75, 8.75)" in output
    assert scores(folder.path)["20"]["lengths"] == [700]


# --- what users get wrong


@pytest.fixture
def said(place):
    """The one line with which a command is refused."""
    return partial(refused, place)


def test_data_of_another_environment(said):
    flags = ("--configs", "d4rl_mujoco", "debug", "--task", "walker2d-medium")
    line = said(train_main, *flags, "--data", "hopper.hdf5", "--logdir", "no")
    assert "hopper.hdf5: states of 11 and actions of 3 numbers" in line
    assert "walker2d-medium has 17 and 6" in line


@pytest.mark.parametrize(
    ("preset", "file", "suite"),
    [
        ("d4rl_mujoco", "hopper_medium_replay-v2.hdf5", "d4rl"),
        ("d4rl_antmaze", "Ant_maze_big-maze_noisy", "d4rl"),
        ("neorl", "Hopper-v3-low", "neorl"),
    ],
)
def test_no_data(said, preset, file, suite):
    line = said(train_main, "--configs", preset, "debug", "--logdir", "no")
    assert "no dataset: give its file with --data" in line and file in line
    assert f"download --suite {suite} --task" in line


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--ensemble.units", "17"], "another ensemble.units"),
        (["--precision", "bfloat16"], "another precision"),
        (["--data", "random.hdf5"], "return_mean"),
    ],
)
def test_another_runs_pretraining(place, whole, said, flags, complaint):
    if not (place.path / "random.hdf5").exists():
        collect(place, "random", "random.hdf5")
    line = said(train_main, *HOPPER, "--pretrained", "whole", "--logdir", "no", *flags)
    assert "--pretrained whole: it has another" in line and complaint in line


def test_a_run_that_another_process_trains(place, whole, said):
    with RunFolder(whole).in_use():
        line = said(train_main, *HOPPER, "--logdir", "whole")
    assert "whole is in use by pid" in line


def test_pretraining_that_is_not_over(place, whole, said):
    shutil.copytree(whole, place.path / "early")
    for phase in ("leq", "world_model"):
        shutil.rmtree(place.path / "early/checkpoints" / phase)
    flags = (*HOPPER, "--logdir", "no", "--pretrained")
    line = said(train_main, *flags, "early")
    assert "its world model is still to be trained: let its own command" in line
    assert "nowhere is not a run's folder" in said(train_main, *flags, "nowhere")


@pytest.mark.parametrize("flag", ["--imagine", "--open-loop"])
def test_states_have_no_imagined_pictures(whole, said, flag):
    line = said(eval_main, "--logdir", "whole", flag, "dream.mp4")
    assert "hopper-medium-replay has state vectors" in line and "--video" in line


def test_pixels_are_no_ensembles(said):
    flags = ("--configs", "debug", "--world_model", "mlp_ensemble")
    assert "mlp_ensemble reads state vectors" in said(train_main, *flags)
