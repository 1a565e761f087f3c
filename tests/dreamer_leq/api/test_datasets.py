"""Datasets of either kind, opened from Python."""

import numpy as np
import pytest
import vd4rl_files

import dreamer_leq as dl
from vd4rl_loader.collection.pointmaze import collect_pointmaze


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    episodes = [vd4rl_files.episode(seed, length=5 + seed) for seed in (0, 1)]
    vd4rl_files.write_folder(place / "main/walker_walk/expert/64px", episodes)
    collect_pointmaze("umaze", 100, 0, place / "maze.hdf5")
    return place


def opened(*arguments, **options):
    return dl.open_dataset(*arguments, log=lambda line: None, **options)


@pytest.mark.parametrize("task", [None, "walker_walk-expert"])
def test_pixels(place, task):
    dataset = opened(place / "main" if task else place / "main/walker_walk", task)
    assert dataset.image.shape == (11, 64, 64, 3)
    last = dataset.episode(-1)
    assert last.keys() >= {"image", "action", "reward", "is_first"}
    assert {len(array) for array in last.values()} == {6}
    np.testing.assert_array_equal(last["action"], vd4rl_files.episode(1, 6)["action"])
    assert opened(place / "main/walker_walk", image_size=16).image.shape[1] == 16


@pytest.mark.parametrize("task", [None, "pointmaze-umaze"])
def test_states(place, task):
    dataset = opened(place / "maze.hdf5", task)
    returns = [
        dataset.episode(i)["reward"].sum() for i in range(len(dataset.returns()))
    ]
    np.testing.assert_allclose(returns, dataset.returns())
    assert "vector" in dataset.episode(0) and "offsets" not in dataset.episode(0)


def test_episodes_that_there_are_not(place):
    dataset = opened(place / "main/walker_walk")
    for index in (2, -3):
        with pytest.raises(
            dl.DataError, match=f"no episode {index}: the dataset has 2"
        ):
            dataset.episode(index)


def test_data_that_there_are_not(place):
    with pytest.raises(dl.UserError, match="task 'walker': expected"):
        opened(place, "walker")
    with pytest.raises(dl.DataError, match="nowhere"):
        opened(place / "nowhere")
    with pytest.raises(dl.DataError, match="nowhere"):
        opened(place / "nowhere", "hopper-medium")
