"""Data in OGBench's layout, collected with what its package holds."""

import numpy as np
import pytest

from vd4rl_loader.__main__ import main
from vd4rl_loader.collection.ogbench import _family, _Player, collect_ogbench
from vd4rl_loader.errors import DataError
from vd4rl_loader.ogbench_tasks import FAMILIES
from vd4rl_loader.states import open_states

pytest.importorskip("ogbench")


def test_a_points_walks(tmp_path, capsys):
    out = tmp_path / "pointmaze-medium-stitch-v0.npz"
    arguments = ["--suite", "ogbench", "--task", "pointmaze-medium-stitch"]
    arguments += ["--episodes", "2", "--seed", "3", "--out", str(out)]
    assert main(["collect", *arguments, "--workers", "2"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    again = collect_ogbench(
        "pointmaze-medium-stitch-singletask-v0", 2, 3, tmp_path / "x.npz", 1, False
    )
    assert again.read_bytes() == out.read_bytes()
    data = np.load(out)
    validation = np.load(tmp_path / "pointmaze-medium-stitch-v0-val.npz")
    assert np.flatnonzero(data["terminals"]).tolist() == [200, 401]
    assert validation["qpos"].shape == (201, 2)
    np.testing.assert_array_equal(data["observations"], data["qpos"])
    dataset = open_states(out, log=lambda line: None)
    assert dataset.offsets.tolist() == [0, 201, 402]
    moved = np.diff(dataset.vector[:201], axis=0) / 0.2
    free = np.abs(moved - dataset.action[1:201]).max(1) < 1e-3  # no wall in the way
    assert free.mean() > 0.5 and len(np.unique(dataset.vector[:, 0])) > 100


def test_an_arms_tasks(monkeypatch):
    monkeypatch.setattr(_Player, "rows", 30)
    player = _Player("scene", "noisy", 0)
    rows, again = player((0, 0)), player((0, 0))
    for name in rows:
        np.testing.assert_array_equal(rows[name], again[name])
    cube = (rows["qpos"][:, 14:17] - [0.425, 0, 0]) * 10
    np.testing.assert_allclose(rows["observations"][:, 19:22], cube, atol=1e-5)
    assert rows["button_states"].shape == (30, 2) and rows["terminals"].sum() == 1
    assert np.abs(rows["actions"]).max() <= 1 and rows["actions"].std() > 0.1
    assert (player((0, 1))["qpos"][0] != rows["qpos"][0]).any()


def test_an_ant_begins_at_a_goal(monkeypatch):
    monkeypatch.setattr(_Player, "rows", 3)
    player = _Player("antmaze-medium", "navigate", 0)
    goals = np.array([(20, 20), (20, 0), (4, 12), (0, 20), (0, 0)])
    for index in range(3):
        start = player((0, index))["qpos"][0, :2]
        assert np.abs(goals - start).max(1).min() < 1.2


@pytest.mark.parametrize("family", FAMILIES)
def test_episodes_are_as_long_as_the_published_ones(family):
    published = {
        ("antmaze-giant", "navigate"): 2001,
        ("pointmaze-giant", "navigate"): 2001,
        ("humanoidmaze-giant", "navigate"): 4001,
        ("humanoidmaze-medium", "navigate"): 2001,
        ("humanoidmaze-large", "stitch"): 401,
        ("antsoccer-medium", "stitch"): 501,
        ("antsoccer-arena", "stitch"): 201,
        ("antmaze-teleport", "explore"): 501,
    }
    for kind in FAMILIES[family]:
        rows = _Player(family, kind, 0).rows
        assert rows == published.get((family, kind), rows)
        assert rows in (1001, 2001, 4001, 201, 401, 501)


@pytest.mark.parametrize(
    ("task", "meant"),
    [
        ("cube-single", ("cube-single", "play", False)),
        ("visual-cube-single", ("cube-single", "play", True)),
        ("visual-antmaze-large-explore-v0", ("antmaze-large", "explore", True)),
        ("visual-scene-noisy-singletask-v0", ("scene", "noisy", True)),
    ],
)
def test_names_of_data(task, meant):
    assert _family(task) == meant


@pytest.mark.parametrize(
    "task", ["cube", "cube-octuple", "scene-navigate", "x", "visual-pointmaze-large"]
)
def test_names_that_are_none(tmp_path, task):
    with pytest.raises(DataError, match="give a family of OGBench's"):
        collect_ogbench(task, 1, 0, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
