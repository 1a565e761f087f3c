"""An algorithm of one's own has everything that the built-in ones have."""

import json
import shutil

import jax
import numpy as np
import pytest
from own_algorithm import MineSection

import dreamer_leq as dl
from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main
from dreamer_leq.config import learners
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.errors import UserError
from dreamer_leq.training.metrics import read_metrics

KEYS = {"algorithm": "mine", "mine.pull": [0.5, 2.0], "checkpoint.every": 10}
KEYS |= {"task": "pointmaze-umaze", "collect.steps": 500, "eval.episodes": 1}


@pytest.fixture(scope="module", autouse=True)
def known():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "_SECTIONS", dict(learners._SECTIONS))
        configs.register("mine", MineSection)
        patch.setattr("dreamer_leq.run.scores.FILMED", 0)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a grid of two coefficients has been trained, in the folder `grid`."""
    path = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        train("grid", **KEYS)
    return path


@pytest.fixture(scope="module")
def alone(place):
    """The keys of a run of one coefficient, trained in the folder `alone`."""
    keys = KEYS | {"mine.pull": 2.0, "pretrained": "grid"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        train("alone", **keys)
    return keys


def train(logdir, **keys):
    quiet = dict(log=lambda line: None)
    return dl.train_offline("maze", "debug", logdir=logdir, **keys, **quiet)


def state(folder, phase="mine"):
    return RunFolder(folder).checkpoints(1).restore(phase)[0]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_it_is_trained_after_what_it_needs(place):
    phases = [r["phase"] for r in read_metrics(place / "grid/metrics.jsonl")]
    assert list(dict.fromkeys(phases)) == ["world_model", "bc"]
    member = place / "grid/pull2-seed0"
    records = [r for r in read_metrics(member / "metrics.jsonl") if "actor_loss" in r]
    assert records[-1]["step"] == 20 and np.isfinite(records[-1]["critic_loss"])
    assert list(json.loads((member / "scores.json").read_text())) == ["0", "20"]


def test_a_member_of_its_grid_is_its_single_run(place, alone):
    alone, member = state(place / "alone"), state(place / "grid/pull2-seed0")
    assert alone["hyper"]["pull"] == 2.0
    equal = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(equal, alone["params"], member["params"])
    other = state(place / "grid/pull0.5-seed0")["params"]["actor"]
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), alone["params"]["actor"], other
    )
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_a_coefficient_more_is_trained_alone(place, monkeypatch):
    """As a run of its own; what is trained stays as it is, records and all."""
    monkeypatch.chdir(place)
    shutil.copytree("grid", "more")
    before = {file: file.read_bytes() for file in place.glob("more/pull2-*/m*.jsonl")}
    unscored = {"eval.episodes": 0, "analysis.episodes": 0}
    wider = KEYS | {"mine.pull": [0.5, 1.0, 2.0]} | unscored
    train("more", **wider)
    train("one", **KEYS | {"mine.pull": 1.0} | unscored, pretrained="grid")
    assert {file: file.read_bytes() for file in before} == before
    assert_equal(state("more/pull1-seed0")["params"], state("one")["params"])
    latest = RunFolder("more").checkpoints(1).extra("mine")
    assert latest["members"] == ["pull1-seed0"]
    with pytest.raises(UserError, match="were trained apart: go on with each in its o"):
        train("more", **wider | {"mine.updates": 30})
    narrower = KEYS | {"mine.pull": [0.5]} | unscored
    with pytest.raises(UserError, match=r"another mine\.pull: .* --pretrained more"):
        train("more", **narrower)


def test_it_goes_on_where_it_was_stopped(place, alone, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copytree("alone", "stopped")
    shutil.rmtree("stopped/checkpoints/mine/20")
    train("stopped", **alone)
    assert_equal(state("alone"), state("stopped"))


def test_it_is_scored_reported_and_compared(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    run = "grid/pull2-seed0"
    assert eval_main(["--logdir", run, "--episodes", "2", "--workers", "1"]) == 0
    report = (place / run / "report.html").read_text()
    assert "updates of Mine" in report and "updates of LEQ" not in report
    runs = ["grid/pull2-seed0", "grid/pull0.5-seed0"]
    assert eval_main(["--compare", *runs]) == 0
    said = capsys.readouterr().out
    assert "pull 0.5" in said and "pull 2" in said


def test_its_name_and_its_keys_are_checked():
    with pytest.raises(UserError, match="algorithm: has to be"):
        configs.from_presets("debug", algorithm="mime")
    with pytest.raises(UserError, match=r"mine\.pull: has to be"):
        configs.from_presets("debug", **{"mine.pull": -1.0})
    words = ["--configs", "debug", "--algorithm", "mine", "--mine.pull", "0.5", "2"]
    assert list(configs.load(words).members) == ["pull0.5-seed0", "pull2-seed0"]
