"""The example of docs/own-environment.md from its data to a film, at debug size; and
what others may do with the run.
"""

import json
import runpy
import shutil

import imageio.v3 as imageio
import pytest
import vd4rl_files
from workplace import ROOT, Workplace, refused, run_here

import dreamer_leq as dl
from dreamer_leq import cli

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")
ENV = "examples.own_environment:make"
FLAGS = ("--configs", "maze", "td3_bc", "debug", "--env", ENV)
FLAGS += ("--data", "pendulum.hdf5", "--logdir", "run")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the example's data lie, and a run on them."""
    place = Workplace(tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.path)
        patch.syspath_prepend(str(ROOT))
        runpy.run_path(ROOT / "examples/own_environment.py")["main"](episodes=4)
    vd4rl_files.write_folder(place.path / "images", [vd4rl_files.episode(0)])
    code, said, errors = run_here(place, cli.train_main, *FLAGS)
    assert not errors and code == 0
    assert "rewards: reward × 1 +0" in said  # and not as AntMaze's
    return place


def test_it_is_scored_and_filmed_without_being_named_again(place):
    info = json.loads((place.path / "run/info.json").read_text())["dataset"]
    assert info["environment"]["make"] == ENV
    assert (info["vector_size"], info["action_size"]) == (3, 1)
    flags = ("--logdir", "run", "--episodes", "2", "--video", "out.mp4")
    code, said, _ = run_here(place, cli.eval_main, *flags)
    assert code == 0, said
    scores = json.loads((place.path / "run/eval.json").read_text())["policy"]
    assert scores["lengths"] == [100, 100] and 0 <= scores["success"] <= 1
    assert scores["normalized"] == pytest.approx(scores["mean"])
    assert len(imageio.imread(place.path / "out.mp4")) == 101
    assert (place.path / "run/videos/policy.mp4").exists()
    assert "success" in (place.path / "run/report.html").read_text()


def test_a_shared_run_imports_nothing_by_itself(place):
    pytest.importorskip("safetensors")
    shutil.rmtree(place.path / "shared", ignore_errors=True)
    code, _, errors = run_here(
        place, cli.eval_main, "--logdir", "run", "--share", "./shared"
    )
    assert code == 0, errors
    said = refused(place, cli.eval_main, "--logdir", "shared", "--episodes", "2")
    assert f"as {ENV}: give its environment with --env MODULE:FUNCTION" in said
    with pytest.raises(dl.DataError, match="nothing is imported"):
        dl.load_run(place.path / "shared").make_env(seed=0)
    with dl.load_run(place.path / "shared", env=ENV).make_env(seed=0) as env:
        assert env.reset()["vector"].shape == (3,)


def test_nothing_is_imported_from_a_runs_own_folder(place, monkeypatch):
    monkeypatch.chdir(place.path / "run")
    with pytest.raises(dl.DataError, match="nothing is imported"):
        dl.load_run(place.path / "run").make_env(seed=0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--env", "own_environments:make"), "has vectors of 2 numbers, but the data"),
        (("--task", "swing", "--env", ""), "--env MODULE:FUNCTION, or train without"),
        (("--data", "images"), "holds images: give a preset for them"),
        (("--data", ""), "no dataset: give that of own_environment-make with --data"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(place, flags, said):
    flags = (*FLAGS, *flags, "--logdir", "other")
    assert said in refused(place, cli.train_main, *flags)
