"""Data that go on after a terminal are cut there, and keep every transition."""

import numpy as np
import pytest
import test_ogbench_images as ogbench

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.convert import convert

TASK = "visual-cube-single-play-singletask-task3-v0"


def quiet(line):
    pass


@pytest.mark.parametrize("to", ["folder", "lerobot"])
def test_ogbenchs_images_get_a_tasks_rewards(tmp_path, to, capsys):
    if to == "lerobot":
        pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")
    path = tmp_path / ogbench.NAME
    np.savez_compressed(path, **ogbench.rows())
    out = tmp_path / "out"
    more = ["--to", to] if to == "lerobot" else []
    assert main(["convert", str(path), str(out), "--task", TASK, *more]) == 0
    if to == "lerobot":
        assert main(["convert", str(out), str(tmp_path / "back")]) == 0
        out = tmp_path / "back"
    data, _ = ogbench.opened(path, 3)
    other = open_dataset(out, min_length=2, log=quiet)
    assert len(other.offsets) > len(data.offsets)
    assert "trajectories go on after a terminal: cut there" in capsys.readouterr().out
    came, same = ~data.is_first, ~other.is_first
    for name in ("image", "action", "reward", "is_terminal"):
        one, two = getattr(data, name), getattr(other, name)
        np.testing.assert_array_equal(one[came], two[same], name)
    begun, begins = np.roll(came, -1), np.roll(same, -1)
    np.testing.assert_array_equal(data.image[begun], other.image[begins])
    assert not other.is_terminal[~other.is_last].any()


def test_without_a_task_it_is_the_default_one(tmp_path):
    path = tmp_path / ogbench.NAME
    np.savez_compressed(path, **ogbench.rows())
    assert main(["convert", str(path), str(tmp_path / "out")]) == 0
    data, _ = ogbench.opened(path, 2)
    other = open_dataset(tmp_path / "out", min_length=2, log=quiet)
    assert other.reward.sum() == data.reward.sum() != 0
    with pytest.raises(DataError, match="its rewards are a task's"):
        convert(path, tmp_path / "b")
