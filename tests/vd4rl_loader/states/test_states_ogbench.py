"""OGBench's files: departure order with a row more, rewards by the task, validation."""

import numpy as np
import pytest
from states.layouts import assert_in_order, transitions, write_npz

from vd4rl_loader.__main__ import main
from vd4rl_loader.errors import DataError
from vd4rl_loader.states import open_states

TASK = "pointmaze-medium-navigate-singletask-task1-v0"  # its goal is (20, 20)
NAME = "pointmaze-medium-navigate-v0"


def rows(lengths=(5, 4), seed=0):
    """Episodes of so many rows near the goal; every second row is at the goal."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    at = rng.uniform(10, 15, (n, 2))
    at[1::2] = 20 + rng.uniform(-0.5, 0.5, (len(at[1::2]), 2))
    last = np.zeros(n, bool)
    last[np.cumsum(lengths) - 1] = True
    return {
        "observations": at.astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        "terminals": last,
        "qpos": at.astype(np.float32),
        "qvel": np.zeros((n, 2), np.float32),
    }


def opened(path, task=TASK):
    lines = []
    dataset = open_states(path, task, log=lines.append)
    assert_in_order(dataset)
    return dataset, lines


def test_entries_are_those_of_the_package(tmp_path):
    """Its loader's regular form, made by its own rule: whole rows but the last."""
    fields = rows()
    dataset, lines = opened(write_npz(tmp_path / f"{NAME}.npz", fields))
    seen = fields["observations"]
    expected = [
        (seen[i], fields["actions"][i], i % 2 - 1.0, seen[i + 1], i % 2 == 1)
        for i in (0, 1, 2, 3, 5, 6, 7)
    ]
    found = transitions(dataset)
    assert len(found) == len(expected) == 7
    for one, other in zip(found, expected, strict=True):
        for value, true in zip(one, other, strict=True):
            np.testing.assert_array_equal(value, true)
    assert dataset.offsets.tolist() == [0, 5, 9]
    assert dataset.spec.format == "ogbench"
    assert lines == [
        f"{NAME}.npz: 7 transitions in 2 episodes; rewards of {TASK}, by the state in "
        "which each action is taken: 4 at the goal"
    ]


def test_rewards_are_the_tasks(tmp_path):
    path = write_npz(tmp_path / f"{NAME}.npz", rows())
    there = opened(path, TASK.replace("task1", "task2"))[0].reward
    assert set(there) == {0.0, -1.0} and there.sum() == -7
    default, lines = opened(path, None)
    assert f"rewards of {TASK}" in lines[0] and default.is_terminal.sum() == 4
    mine = path.rename(tmp_path / "mine.npz")
    with pytest.raises(DataError, match="has no rewards: give a single task of its"):
        opened(mine, None)
    mine = mine.rename(tmp_path / f"{NAME}_new.npz")
    with pytest.raises(DataError, match=f"such as --task {NAME[:-3]}-singletask-v0"):
        opened(mine, None)
    assert opened(mine)[0].is_terminal.sum() == 4


def test_validation_is_not_trained_on(tmp_path, capsys):
    write_npz(tmp_path / f"{NAME}.npz", rows())
    val = write_npz(tmp_path / f"{NAME}-val.npz", rows((3,)))
    write_npz(tmp_path / "cube-single-play-v0.npz", rows((3,)))
    for task in (TASK, "pointmaze-medium-navigate-singletask"):
        assert len(opened(tmp_path, task)[0].offsets) == 3
    with pytest.raises(DataError, match="is published as \"OGBench's pointmaze-medium"):
        opened(val)
    with pytest.raises(DataError, match="is published as 'cube-single-play-v0', not"):
        opened(tmp_path / "cube-single-play-v0.npz")
    assert main(["info", str(val), "--json"]) == 0
    assert '"steps": 2' in capsys.readouterr().out


def test_ends(tmp_path):
    """An episode of one row is no transition; the file's end is an episode's."""
    fields = rows((1, 4, 1, 3))
    fields["terminals"][-1] = False
    dataset, lines = opened(write_npz(tmp_path / "mine.npz", fields))
    assert dataset.offsets.tolist() == [0, 4, 7]
    assert "the last row's end is not marked" in lines[0]
    assert "2 episodes of one row left out" in lines[0]


BROKEN = {
    "qpos: missing": lambda f: f.pop("qpos"),
    "qpos: 3 numbers per row, pointmaze-medium has 2": lambda f: f.update(
        qpos=np.zeros((9, 3), np.float32)
    ),
    "states of 3 and actions of 2 numbers": lambda f: f.update(
        observations=np.zeros((9, 3), np.float32)
    ),
    "expected 0 or 1": lambda f: f.update(terminals=np.full(9, 2)),
    "qpos: not finite": lambda f: f.update(qpos=np.full((9, 2), np.nan)),
}


@pytest.mark.parametrize("said", BROKEN)
def test_what_is_wrong_is_said(tmp_path, said):
    fields = rows()
    BROKEN[said](fields)
    with pytest.raises(DataError, match=said):
        opened(write_npz(tmp_path / "mine.npz", fields))


def test_buttons_are_needed_where_there_are(tmp_path):
    rng = np.random.default_rng(0)
    fields = {
        "observations": rng.normal(size=(9, 40)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (9, 5)).astype(np.float32),
        "terminals": np.arange(9) == 8,
        "qpos": np.zeros((9, 25), np.float32),
    }
    task = "scene-play-singletask-task4-v0"  # the buttons have to be 1 and 0
    with pytest.raises(DataError, match="button_states: missing"):
        opened(write_npz(tmp_path / "a.npz", fields), task)
    fields["button_states"] = np.int64([[1, 0]] * 4 + [[0, 1]] * 5)
    reward = opened(write_npz(tmp_path / "b.npz", fields), task)[0].reward
    assert reward[1:].tolist() == [-1.0] * 4 + [-3.0] * 4
