"""The library as its page and the README show it: every name, every example."""

import inspect
import re
from pathlib import Path

import pytest
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import config as configs
from vd4rl_loader.collection.pointmaze import collect_pointmaze

pytestmark = pytest.mark.usefixtures("quick_compilation")

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
    assert "member 99: the world model has members 0 to 1" in capsys.readouterr().out
    members, entries = names["run"].members, len(names["latents"])
    assert names["imagined"].reward.shape == (members, 4)
    assert names["dream"].action.shape == (entries, 5, 2)
    assert names["disagreement"].shape == (entries, 5)
    assert names["scores"]["episodes"] == 2


def test_so_does_the_readmes(here):
    (example,) = examples(README)
    names = {}
    exec(example, names)
    assert names["entry"]["is_last"]


def test_every_public_name_is_on_the_page():
    described = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(set(dl.__all__) - {"__version__"})
    assert all(getattr(dl, name) for name in described)


@pytest.mark.parametrize(
    "kind", [dl.LoadedRun, dl.Latents, dl.Imagined, dl.Environment]
)
def test_and_so_is_what_each_of_them_has(kind):
    section = re.search(rf"^### `{kind.__name__}`$(.*?)(^##|\Z)", PAGE, re.M | re.S)
    described = set(re.findall(r"`(?:run\.)?(\w+)(?:\(|`)", section[1]))
    public = {name for name in vars(kind) if not name.startswith("_")}
    public |= set(re.findall(r"^  (\w+):", inspect.getdoc(kind), re.MULTILINE))
    assert public and public <= described, public - described


def test_nothing_else_is_public():
    names = {}
    exec("from dreamer_leq import *", names)
    assert names.keys() - {"__builtins__"} == set(dl.__all__) == set(dir(dl))
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        dl.load_runs("x")
