"""What a refusal of data advises works: each key is tried."""

from pathlib import Path

import numpy as np
import pytest
import vd4rl_files
from states import layouts

from dreamer_leq.config import files as configs
from dreamer_leq.data.opening import open_data, reward_transform
from dreamer_leq.system.errors import UserError
from vd4rl_loader import DataError, open_dataset, resize_images


def opened(path, task="hopper-medium", **keys):
    presets = ("debug",) if "_" in task else ("d4rl_mujoco", "debug")
    values = {"task": task, "data.path": str(path), **keys}
    config = configs.from_presets(*presets, **values)
    dataset, _ = open_data(config, lambda line: None)
    return dataset, reward_transform(config, dataset)


def refused(advice, path, task="hopper-medium", **keys):
    """The refusal names the key; with it, there is none."""
    with pytest.raises((UserError, DataError)) as caught:
        opened(path, task, **keys)
    key, _, value = advice.partition(" ")
    assert f"--{advice}" in str(caught.value)
    return opened(path, task, **{**keys, key: value or True})


def hopper(path, **changes):
    rows = layouts.rows([(40, "timeout"), (40, "timeout")], size=11, actions=3)
    return layouts.write_d4rl(path, {**rows, **changes})


def test_rewards_that_cannot_be_scaled(tmp_path):
    rewards = np.tile(np.linspace(0, 1, 40), 2)
    path = hopper(tmp_path / "a.hdf5", rewards=rewards)
    dataset, transform = refused("data.rewards raw", path)
    np.testing.assert_array_equal(transform(dataset.reward), dataset.reward)


@pytest.mark.parametrize("reward", [0, 1, -1])
def test_rewards_that_are_all_the_same(tmp_path, reward):
    path = hopper(tmp_path / "a.hdf5", rewards=np.full(80, float(reward)))
    keys = {"data.rewards": "raw"}
    for advice in ("data.skip_bad", "algorithm bc"):
        dataset, _ = refused(advice, path, **keys)
        assert (dataset.reward[~dataset.is_first] == reward).all()
    with pytest.raises(UserError, match=f"every reward is {reward}, there is nothing"):
        opened(path, **keys)


def test_cloning_takes_rewards_that_cannot_be_scaled(tmp_path):
    path = hopper(tmp_path / "a.hdf5", rewards=np.zeros(80))
    assert opened(path, algorithm="bc")[1].scale == 1
    with pytest.raises(UserError, match="every reward is 0"):
        opened(path, algorithm="td3_bc")


def test_an_alive_bonus_is_no_reason_to_stop(tmp_path):
    rows = layouts.rows([(40, "terminal"), (30, "terminal")], size=11, actions=3)
    path = layouts.write_d4rl(tmp_path / "a.hdf5", {**rows, "rewards": np.ones(70)})
    assert opened(path)[0].is_terminal.sum() == 2


def test_rows_that_held_all_terminals(tmp_path):
    rows = layouts.rows([(40, "terminal"), (30, "terminal")], size=11, actions=3)
    fields = layouts.without(rows, "next_observations")
    path = layouts.write_d4rl(tmp_path / "a.hdf5", fields)
    refused("data.skip_bad", path)


def episodes(**changes):
    return [{**vd4rl_files.episode(s, 20, 64), **changes} for s in range(3)]


def test_images_in_departure_order(tmp_path):
    found = episodes()
    for fields in found:
        for name in ("action", "reward"):
            fields[name] = np.roll(fields[name], -1, axis=0)
    vd4rl_files.write_folder(tmp_path, found)
    task = "walker_walk-mine"
    dataset, _ = refused("data.alignment departure", tmp_path, task)
    right = np.concatenate([fields["action"] for fields in episodes()])
    np.testing.assert_array_equal(dataset.action, right)


def test_a_bad_file(tmp_path):
    vd4rl_files.write_folder(tmp_path, episodes())
    (tmp_path / "x.npz").write_bytes(b"PK")
    dataset, _ = refused("data.skip_bad", tmp_path, "walker_walk-mine")
    assert len(dataset.offsets) == 4


def test_images_without_a_reward(tmp_path):
    vd4rl_files.write_folder(tmp_path, episodes(reward=np.zeros(20)))
    refused("data.skip_bad", tmp_path, "walker_walk-mine")
    refused("algorithm bc", tmp_path, "walker_walk-mine")
    frames = {"world_model": "frames"}
    refused("algorithm bc", tmp_path, "walker_walk-mine", algorithm="acro", **frames)


def test_images_of_another_task(tmp_path):
    found = [vd4rl_files.episode(s, 20, 64, actions=4) for s in range(2)]
    vd4rl_files.write_folder(tmp_path, found)
    with pytest.raises(DataError, match=r"walker_walk has 6.*\(4 have hopper_stand"):
        opened(tmp_path, "walker_walk-mine")
    assert opened(tmp_path, "hopper_stand-mine")[0].spec.action_size == 4


def test_states_and_images_taken_for_each_other(tmp_path):
    path = hopper(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match="such as --configs d4rl_mujoco --task hopper-"):
        opened(path, "walker_walk-mine")
    opened(path, "hopper-medium-replay")
    vd4rl_files.write_folder(tmp_path / "b", episodes())
    with pytest.raises(DataError, match="such as --configs vd4rl --task walker_walk-"):
        opened(next((tmp_path / "b").glob("*.npz")))
    opened(tmp_path / "b", "walker_walk-medium")


def test_a_file_of_another_version(tmp_path):
    path = hopper(tmp_path / "hopper_medium-v1.hdf5")
    with pytest.raises(DataError, match="is published as 'hopper-medium-v1', not 'hop"):
        opened(path)
    opened(path.rename(tmp_path / "mine.hdf5"))


def test_own_data_of_another_kind_than_the_world_model_sees(tmp_path):
    path = hopper(tmp_path / "a.hdf5")
    dataset, transform = refused(
        "data.observations vector", path, "my_arm", env="arms:make"
    )
    assert dataset.vector.shape[1] == 11 and transform.scale == 1


def test_nothing_is_known_of_an_own_task_whatever_its_file_is_called(tmp_path):
    path = hopper(tmp_path / "hopper_medium-v2.hdf5")
    dataset, transform = opened(path, "walker2d-mine", env="arms:make")
    assert dataset.is_last.sum() == 2 and (transform.scale, transform.bias) == (1, 0)


def test_small_images_are_resized_from_larger_ones(tmp_path, monkeypatch):
    """Made here, too: drawn with fewer pixels, thin limbs would come and go."""
    monkeypatch.chdir(tmp_path)
    keys = {"task": "walker_walk-expert", "data.image_size": 32, "latent.mults": (2, 4)}
    keys |= {"collect.episodes": 1}
    dataset, path = open_data(configs.from_presets("demo", "debug", **keys), print)
    assert dataset.image.shape[1:] == (32, 32, 3) and Path(path).name == "64px"
    drawn = open_dataset(path, image_size=64).image[:5]
    assert drawn.shape[1:] == (64, 64, 3)
    np.testing.assert_array_equal(dataset.image[:5], resize_images(drawn, 32))
