"""Data of other projects: recognised, and docs/data.md's lines make datasets of them.

The files are made from the formats' descriptions. Rewards are a function of the action
or the state before, so that a shift of one against the other is seen.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.states import open_states

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()


def run(mark):
    """Runs the page's lines that begin after `mark`."""
    lines = PAGE.partition("### Data of other projects")[2].partition(mark)[2]
    exec(lines.split("```")[1].removeprefix("python"), {})


def quiet(line):
    pass


def test_ogbench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at = np.array([0, 0.01, 0.02, 0.03, 1, 1.01, 1.02])  # episodes of 4 and 3 rows
    position = np.stack([at, at], 1)
    position[2] = 20.1  # at the goal of the page's reward
    name = "pointmaze-medium-navigate-v0.npz"
    ends = np.isin(np.arange(7), (3, 6)).astype(np.float32)
    np.savez(name, observations=position, actions=position * 0.01, terminals=ends)
    with pytest.raises(DataError, match="OGBench's, which has no rewards: write_datas"):
        open_states(name, log=quiet)
    run("OGBench has a row more")
    data = open_states("ogbench.hdf5", log=quiet)
    assert data.offsets.tolist() == [0, 4, 7]
    np.testing.assert_allclose(
        data.action[~data.is_first], position[~data.is_last] / 100
    )
    assert np.flatnonzero(data.reward).tolist() == [2]


def test_lerobots_folder(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0"}))
    for opened in (open_dataset, open_states):
        with pytest.raises(DataError, match="looks like LeRobot's: python -m vd4rl_lo"):
            opened(tmp_path)
