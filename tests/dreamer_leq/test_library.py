"""The library as its page and the README show it: every name, every example."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import config as configs
from vd4rl_loader.collection.pointmaze import collect_pointmaze

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/api.md").read_text()
README = (ROOT / "README.md").read_text()


def examples(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the examples name: two runs and a dataset."""
    place = tmp_path_factory.mktemp("library")
    (place / "datasets").mkdir()
    data = collect_pointmaze("umaze", 300, 0, place / "datasets/pointmaze-umaze.hdf5")
    for name in ("maze", "walker"):
        write_run(place / "runs" / name, data, "maze", task="pointmaze-umaze")
    return place


@pytest.fixture
def here(place, monkeypatch):
    """In that folder nothing is trained again: its settings are looked at only."""

    def train_offline(*presets, logdir, **keys):
        return configs.from_presets(*presets, logdir=logdir, **keys).folder

    monkeypatch.chdir(place)
    monkeypatch.setattr(dl, "train_offline", train_offline, raising=False)


def test_the_pages_examples_run(here, capsys):
    found, names = examples(PAGE), {}
    assert len(found) > 6
    for example in found:
        exec(example, names)
    assert "horizon is 0: give a whole number from 1 on" in capsys.readouterr().out
    members, entries = names["run"].members, len(names["latents"])
    assert names["imagined"].reward.shape == (members, 4)
    assert names["dream"].action.shape == (entries, 5, 2)
    assert names["disagreement"].shape == (entries, 5)
    assert names["scores"]["episodes"] == 2


def test_so_does_the_readmes(here):
    own, example = examples(README)
    states, actions, rewards = np.zeros((6, 2)), np.zeros((5, 2)), np.ones(5)
    exec(own, {"states": states, "actions": actions, "rewards": rewards})
    assert len(dl.open_dataset("data/mine.hdf5").reward) == 6
    names = {}
    exec(example, names)
    assert names["entry"]["is_last"]


def test_the_page_says_what_the_docstrings_say_now():
    """If not: python docs/make_api.py"""
    maker = runpy.run_path(str(ROOT / "docs/make_api.py"))
    assert maker["page"](PAGE) == PAGE
    described = [name for names in maker["CONTENTS"].values() for name in names]
    assert sorted(described) == sorted(set(dl.__all__) - {"__version__"})


def test_nothing_else_is_public():
    names = {}
    exec("from dreamer_leq import *", names)
    assert names.keys() - {"__builtins__"} == set(dl.__all__) == set(dir(dl))
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        dl.load_runs("x")
