"""Conversion between the formats, and that V-D4RL's own readers take the result."""

import json

import h5py
import numpy as np
import pytest
from vd4rl_files import (
    assert_holds,
    episode,
    stream,
    write_folder,
    write_hdf5,
    write_npz,
)

from vd4rl_loader import DataError, RenderStyle, open_dataset, resize_images
from vd4rl_loader.__main__ import main
from vd4rl_loader.convert import convert

EPISODES = [episode(i, length) for i, length in enumerate((70, 501, 90))]


def read_npz_like_dreamer(folder):
    """Every key of every file, in the order of the names; they tell the length."""
    episodes = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            episodes.append({key: file[key] for key in file})
        assert int(path.name.split("-")[-1][:-4]) == len(episodes[-1]["action"])
    return episodes


def read_hdf5_like_drq(folder):
    """All rows, one by one, with the step types that dm_env knows."""
    rows = {key: [] for key in stream([episode(0)])}
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path) as file:
            shard = {key: file[key][:] for key in file}
        assert {len(values) for values in shard.values()} == {len(shard["reward"])}
        for index in range(len(shard["reward"])):
            assert {0: "FIRST", 1: "MID", 2: "LAST"}[shard["step_type"][index]]
        for key, values in shard.items():
            rows[key].append(values)
    return {key: np.concatenate(values) for key, values in rows.items()}


def test_npz_to_hdf5(tmp_path):
    write_folder(tmp_path / "64px", EPISODES)
    assert convert(tmp_path / "64px", tmp_path / "84px") == 3
    expected, found = stream(EPISODES), read_hdf5_like_drq(tmp_path / "84px")
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values, key)
        assert found[key].dtype == values.dtype or key == "step_type"
    assert_holds(open_dataset(tmp_path / "84px", image_size=16), EPISODES)


def test_hdf5_to_npz(tmp_path):
    rows = stream(EPISODES)
    write_hdf5(tmp_path / "84px" / "shard_1.hdf5", rows, 0, 100)
    write_hdf5(tmp_path / "84px" / "shard_2.hdf5", rows, 100)
    assert convert(tmp_path / "84px", tmp_path / "64px") == 3
    found = read_npz_like_dreamer(tmp_path / "64px")
    assert len(found) == 3
    for fields, expected in zip(found, EPISODES, strict=True):
        assert fields.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_array_equal(fields[key], values, key)
            assert fields[key].dtype == values.dtype, key


def test_there_and_back_changes_nothing(tmp_path):
    terminal = episode(5)
    terminal["is_terminal"] = terminal["is_last"]
    terminal["discount"] = 1.0 - terminal["is_last"]
    write_folder(tmp_path / "a", [*EPISODES, terminal])
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert main(["convert", str(tmp_path / "b"), str(tmp_path / "c")]) == 0
    found = read_npz_like_dreamer(tmp_path / "c")
    for fields, expected in zip(found, [*EPISODES, terminal], strict=True):
        for key, values in expected.items():
            np.testing.assert_array_equal(fields[key], values, key)


def test_resizing_keeps_how_the_images_were_rendered(tmp_path):
    write_folder(tmp_path / "a", EPISODES[:1])
    arguments = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--size", "24"]
    assert main(arguments) == 0
    images = read_hdf5_like_drq(tmp_path / "b")["observation"].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(images, resize_images(EPISODES[0]["image"], 24))
    spec = open_dataset(tmp_path / "b", image_size=24).spec
    assert spec.source_image_size == 24
    assert spec.render == RenderStyle.named("vd4rl", size=16)
    np.testing.assert_array_equal(spec.fit(EPISODES[0]["image"]), images)


def test_the_record_goes_along(tmp_path):
    write_folder(tmp_path / "a", EPISODES[:1])
    record = {"task": "walker_walk", "render": RenderStyle.named("fast").to_json()}
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(record))
    convert(tmp_path / "a", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "dataset.json").read_text()) == {
        **record,
        "alignment": "arrival",
    }


def test_the_destination_must_be_new(tmp_path):
    write_folder(tmp_path / "a", EPISODES[:1])
    with pytest.raises(DataError, match="is not an empty folder"):
        convert(tmp_path / "a", tmp_path / "a")
    (tmp_path / "b").mkdir()
    convert(tmp_path / "a", tmp_path / "b")
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    with pytest.raises(DataError, match="size is 0"):
        convert(tmp_path / "a", tmp_path / "c", size=0)


def test_bad_files_leave_nothing_behind(tmp_path):
    write_folder(tmp_path / "a", EPISODES)
    write_npz(tmp_path / "a" / "z.npz", {"image": EPISODES[0]["image"]})
    with pytest.raises(DataError, match=r"z\.npz: action, reward, is_first"):
        convert(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    logged = []
    convert(tmp_path / "a", tmp_path / "b", skip_bad=True, log=logged.append)
    assert "1 of 4 files" in "\n".join(logged)
    assert_holds(open_dataset(tmp_path / "b", image_size=16), EPISODES)


def test_the_same_data_gets_the_same_names(tmp_path):
    write_folder(tmp_path / "a", EPISODES)
    for name in ("b", "c"):
        convert(tmp_path / "a", tmp_path / name)
    first, second = (
        sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("b", "c")
    )
    assert first == second
    assert len(first) == 3
