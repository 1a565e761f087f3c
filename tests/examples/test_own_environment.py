"""The example of docs/own-environment.md: its data, and what others may do with a run
on them. `.ci/run` trains and films it, as the README does.
"""

import runpy

import pytest
import vd4rl_files
from untrained import write_run
from workplace import ROOT, Workplace, refused, run_here

import dreamer_leq as dl
from dreamer_leq import cli

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")
ENV = "examples.own_environment:make"
FLAGS = ("--configs", "maze", "td3_bc", "debug", "--env", ENV)
FLAGS += ("--data", "pendulum.hdf5", "--logdir", "run")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the example's data lie, and a run on them that nothing has trained."""
    place = Workplace(tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.path)
        patch.syspath_prepend(str(ROOT))
        runpy.run_path(ROOT / "examples/own_environment.py")["main"](episodes=4)
        presets = ("maze", "td3_bc")
        folder = write_run(place.path / "run", "pendulum.hdf5", *presets, env=ENV)
    vd4rl_files.write_folder(place.path / "images", [vd4rl_files.episode(0)])
    assert folder.facts.reward == {"scale": 1.0, "bias": 0.0}  # and not AntMaze's
    return place


def test_a_shared_run_imports_nothing_by_itself(place):
    pytest.importorskip("safetensors")
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
