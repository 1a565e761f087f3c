"""Every defect is named by file and field, all of them at once."""

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

from vd4rl_loader import DataError, open_dataset


def changed(fields, **changes):
    return {key: changes.get(key, value) for key, value in fields.items()}


def without(fields, key):
    return {name: value for name, value in fields.items() if name != key}


def at(array, index, value):
    array = array.copy()
    array[index] = value
    return array


GOOD = episode(0)
OTHER = episode(0, size=24, actions=2)
NPZ_DEFECTS = {
    **{
        f"no {key}": (without(GOOD, key), f"{key}: missing (the file holds ")
        for key in ("image", "action", "reward", "is_first", "is_last")
    },
    "float images": (
        changed(GOOD, image=GOOD["image"].astype("f4")),
        "image: dtype float32, expected uint8",
    ),
    "wide images": (
        changed(GOOD, image=GOOD["image"].astype("u2")),
        "image: dtype uint16, expected uint8",
    ),
    "integer rewards": (
        changed(GOOD, reward=GOOD["reward"].astype(int)),
        "reward: dtype int64, expected a float type",
    ),
    "boolean actions": (
        changed(GOOD, action=GOOD["action"] > 0),
        "action: dtype bool, expected a float type",
    ),
    "integer flags": (
        changed(GOOD, is_first=GOOD["is_first"].astype(int)),
        "is_first: dtype int64, expected bool",
    ),
    "channels first": (
        changed(GOOD, image=GOOD["image"].transpose(0, 3, 1, 2)),
        "image: shape (70, 3, 16, 16), expected [T, H, W, 3]",
    ),
    "column rewards": (
        changed(GOOD, reward=GOOD["reward"][:, None]),
        "reward: shape (70, 1), expected [T]",
    ),
    "no entries": (
        {key: value[:0] for key, value in GOOD.items()},
        "image: holds no entries",
    ),
    # A defect of the published humanoid_walk/medium_replay.
    "a row less": (
        {k: v if k.startswith("is_") else v[:-1] for k, v in GOOD.items()},
        "is_first: 70 rows where image has 69; is_last: 70 rows where image has 69; "
        "is_terminal: 70 rows where image has 69",
    ),
    "other image size": (
        changed(GOOD, image=OTHER["image"]),
        "image: 24×24 pixels where the other files have 16×16",
    ),
    "not square": (
        changed(GOOD, image=GOOD["image"][:, :12]),
        "image: 12×16 pixels, expected square images",
    ),
    "other action size": (
        changed(GOOD, action=OTHER["action"]),
        "action: 2 numbers per action where the other files have 6",
    ),
    "NaN reward": (
        changed(GOOD, reward=at(GOOD["reward"], 12, np.nan)),
        "reward: not finite at row 12",
    ),
    "too large reward": (
        changed(GOOD, reward=at(GOOD["reward"], 12, 1e39)),
        "reward: not finite at row 12",
    ),
    "infinite action": (
        changed(GOOD, action=at(GOOD["action"], (5, 1), np.inf)),
        "action: not finite at row 5",
    ),
    "large action": (
        changed(GOOD, action=at(GOOD["action"], (5, 1), -1.25)),
        "action: -1.25 at row 5, outside [-1, 1]",
    ),
    "departure order": (
        changed(GOOD, action=np.roll(GOOD["action"], -1, 0)),
        "action: not zero at row 0, where an episode begins",
    ),
    "early reward": (
        changed(GOOD, reward=np.roll(GOOD["reward"], -1)),
        "reward: not zero at row 0, where an episode begins",
    ),
    "no first": (
        changed(GOOD, is_first=np.zeros(70, bool)),
        "is_first: not set at row 0",
    ),
    "two firsts": (
        changed(GOOD, is_first=at(GOOD["is_first"], 33, True)),
        "is_first: set again at row 33",
    ),
    "no last": (
        changed(GOOD, is_last=np.zeros(70, bool)),
        "is_last: not set at the last row",
    ),
    "early last": (
        changed(GOOD, is_last=at(GOOD["is_last"], 40, True)),
        "is_last: set at row 40, too early",
    ),
    "early terminal": (
        changed(GOOD, is_terminal=at(GOOD["is_terminal"], 40, True)),
        "is_terminal: set at row 40, too early",
    ),
    "too short": (
        episode(0, length=63),
        "image: 63 entries, too short for the batch length of 64",
    ),
    "pickled objects": (
        changed(GOOD, reward=GOOD["reward"].astype(object)),
        "reward: dtype object, expected a float type",
    ),
}


def report(path, **options):
    """Name and text of every file that is complained of."""
    with pytest.raises(DataError) as caught:
        open_dataset(path, image_size=16, log=lambda line: None, **options)
    first, *lines = str(caught.value).splitlines()
    return first, dict(line.strip().split(": ", 1) for line in lines)


@pytest.mark.parametrize("name", NPZ_DEFECTS)
def test_a_defect_of_an_npz_file(tmp_path, name):
    fields, expected = NPZ_DEFECTS[name]
    write_folder(tmp_path, [episode(1), episode(2)])
    write_npz(tmp_path / "bad.npz", fields)
    first, problems = report(tmp_path)
    assert first.startswith(f"{tmp_path}: 1 of 3 files cannot be used")
    assert problems.keys() == {"bad.npz"}
    assert problems["bad.npz"].startswith(expected)


@pytest.mark.parametrize("kept", [10, 2000, -10])
def test_a_truncated_npz_file(tmp_path, kept):
    write_folder(tmp_path, [episode(1), episode(2)])
    path = write_npz(tmp_path / "bad.npz", GOOD)
    path.write_bytes(path.read_bytes()[:kept])
    _, problems = report(tmp_path)
    assert problems.keys() == {"bad.npz"}
    assert "cannot be read, truncated or damaged" in problems["bad.npz"]


def test_one_defect_of_many_files_is_one_line(tmp_path):
    bad = [without(episode(seed), "reward") for seed in range(40)]
    paths = write_folder(tmp_path, [*bad, episode(40)])
    first, problems = report(tmp_path)
    assert first.startswith(f"{tmp_path}: 40 of 41 files cannot be used")
    assert list(problems) == [f"{paths[0].name} (and 39 more like it)"]


@pytest.mark.parametrize("start", [70, 5000])  # the compressor's codes, and data
def test_damage_inside_a_field_names_the_field(tmp_path, start):
    write_folder(tmp_path, [episode(1), episode(2)])
    path = write_npz(tmp_path / "bad.npz", GOOD)
    content = bytearray(path.read_bytes())
    # The images come first and are the largest by far.
    content[start : start + 8] = bytes(value ^ 0xFF for value in content[start:][:8])
    path.write_bytes(content)
    _, problems = report(tmp_path)
    assert problems["bad.npz"].startswith("image: cannot be read")


ROWS = stream([episode(0), episode(1)])
HDF5_DEFECTS = {
    **{
        f"no {key}": (without(ROWS, key), f"{key}: missing")
        for key in ("observation", "action", "reward", "discount", "step_type")
    },
    "channels last": (
        changed(ROWS, observation=ROWS["observation"].transpose(0, 2, 3, 1)),
        "observation: shape (140, 16, 16, 3), expected [N, 3, H, W]",
    ),
    "a row less": (
        changed(ROWS, reward=ROWS["reward"][:-1]),
        "reward: 139 rows where observation has 140",
    ),
    "boolean step type": (
        changed(ROWS, step_type=ROWS["step_type"] > 0),
        "step_type: dtype bool, expected a number type",
    ),
    "unknown step type": (
        changed(ROWS, step_type=at(ROWS["step_type"], 9, 3)),
        "step_type: 3 at row 9, expected 0, 1 or 2",
    ),
    "no last": (
        changed(ROWS, step_type=at(ROWS["step_type"], 69, 1)),
        "step_type: 0 follows 1 at row 70",
    ),
    "no first": (
        changed(ROWS, step_type=at(ROWS["step_type"], 70, 1)),
        "step_type: 1 follows 2 at row 70",
    ),
    "NaN reward": (
        changed(ROWS, reward=at(ROWS["reward"], 100, np.nan)),
        "reward: not finite at row 100",
    ),
    "large action": (
        changed(ROWS, action=at(ROWS["action"], 100, 2)),
        "action: 2 at row 100, outside [-1, 1]",
    ),
    "departure order": (
        changed(ROWS, action=np.roll(ROWS["action"], -1, 0)),
        "action: not zero at row 0, where an episode begins",
    ),
    "too short": (
        stream([episode(0), episode(1, length=50)]),
        "image: 50 entries, too short for the batch length of 64 "
        "(episode of bad.hdf5 row 70)",
    ),
    "other image size": (
        stream([episode(0, size=24)]),
        "observation: 24×24 pixels where the other files have 16×16",
    ),
}


@pytest.mark.parametrize("name", HDF5_DEFECTS)
def test_a_defect_of_an_hdf5_shard(tmp_path, name):
    rows, expected = HDF5_DEFECTS[name]
    for i in range(2):
        write_hdf5(tmp_path / f"{i}.hdf5", stream([episode(i)]))
    write_hdf5(tmp_path / "bad.hdf5", rows)
    first, problems = report(tmp_path)
    assert "1 of 3 files" in first
    assert problems.keys() == {"bad.hdf5"}
    assert problems["bad.hdf5"].startswith(expected)


@pytest.mark.parametrize("kept", [100, -1000])
def test_a_truncated_hdf5_shard(tmp_path, kept):
    write_hdf5(tmp_path / "0.hdf5", stream([episode(0)]))
    path = write_hdf5(tmp_path / "bad.hdf5", ROWS)
    path.write_bytes(path.read_bytes()[:kept])
    _, problems = report(tmp_path)
    assert problems.keys() == {"bad.hdf5"}
    assert "cannot be read, truncated or damaged" in problems["bad.hdf5"]


def test_damaged_images_of_a_shard(tmp_path):
    write_hdf5(tmp_path / "0.hdf5", stream([episode(0)]))
    path = write_hdf5(tmp_path / "bad.hdf5", ROWS, fletcher32=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    _, problems = report(tmp_path)
    assert problems.keys() == {"bad.hdf5"}
    assert problems["bad.hdf5"].startswith("observation: cannot be read")


@pytest.fixture
def mixed(tmp_path):
    """Three good files and five bad ones, the first file of all among the bad."""
    write_npz(tmp_path / "0.npz", OTHER)
    for i in (1, 2, 3):
        write_npz(tmp_path / f"{i}.npz", episode(i))
    for i, name in enumerate(("no reward", "NaN reward", "no first", "too short")):
        write_npz(tmp_path / f"{4 + i}.npz", NPZ_DEFECTS[name][0])
    return tmp_path


def test_all_bad_files_are_listed(mixed):
    first, problems = report(mixed)
    assert "5 of 8 files" in first
    assert list(problems) == ["0.npz", "4.npz", "5.npz", "6.npz", "7.npz"]
    # All that is wrong with a file stands in its line.
    assert "24×24 pixels where" in problems["0.npz"]
    assert "2 numbers per action" in problems["0.npz"]


def test_skip_bad_goes_on_and_says_how_many_every_time(mixed):
    good = [episode(i) for i in (1, 2, 3)]
    for _ in range(2):
        logged = []
        dataset = open_dataset(mixed, image_size=16, skip_bad=True, log=logged.append)
        assert_holds(dataset, good)
        text = "\n".join(logged)
        assert "5 of 8 files" in text
        assert "4.npz: reward: missing" in text
    report(mixed)  # skipping once does not make them good


def test_skip_bad_keeps_the_good_episodes_of_a_shard(tmp_path):
    episodes = [episode(0), episode(1, length=50), episode(2)]
    write_hdf5(tmp_path / "1.hdf5", stream(episodes))
    dataset = open_dataset(
        tmp_path, image_size=16, skip_bad=True, log=lambda line: None
    )
    assert_holds(dataset, episodes[::2])


@pytest.mark.parametrize("skip_bad", [False, True])
def test_nothing_remains(tmp_path, skip_bad):
    write_npz(tmp_path / "1.npz", without(GOOD, "reward"))
    write_npz(tmp_path / "2.npz", episode(1, length=10))
    first, problems = report(tmp_path, skip_bad=skip_bad)
    assert ("no usable episode" in first) == skip_bad
    assert list(problems) == ["1.npz", "2.npz"]


@pytest.mark.parametrize("skip_bad", [False, True])
def test_episodes_that_are_all_too_short_get_the_longest_batch(tmp_path, skip_bad):
    write_folder(tmp_path / "npz", [episode(i, length=41 + i) for i in (0, 1, 2, 3)])
    (tmp_path / "hdf5").mkdir()
    rows = stream([episode(i, length=n) for i, n in enumerate((50, 41, 43, 43))])
    write_hdf5(tmp_path / "hdf5/1.hdf5", rows)
    hint = "--latent.length 41 (training) takes all of these, 43 half of them"
    for kind in ("npz", "hdf5"):
        first, _ = report(tmp_path / kind, skip_bad=skip_bad)
        assert hint in first
        open_dataset(tmp_path / kind, image_size=16, min_length=41, log=str)
        first, _ = report(tmp_path / kind, min_length=65)  # against the cache
        assert hint in first


def test_shorter_batches_mend_no_other_defect(mixed):
    first, _ = report(mixed)
    assert "--latent.length" not in first


def test_a_shard_without_a_whole_episode(tmp_path):
    write_hdf5(tmp_path / "1.hdf5", stream([episode(0)]), 10, 60)
    first, problems = report(tmp_path)
    assert "no usable episode" in first
    assert problems["1.hdf5 row 0"].startswith("dropped 50 steps")


def test_the_batch_length_is_checked_against_a_cache_too(tmp_path):
    write_folder(tmp_path, [episode(0), episode(1, length=80)])
    open_dataset(tmp_path, image_size=16, log=lambda line: None)
    _, problems = report(tmp_path, min_length=71)
    (text,) = problems.values()
    assert text == "image: 70 entries, too short for the batch length of 71"
    dataset = open_dataset(
        tmp_path, image_size=16, min_length=71, skip_bad=True, log=lambda line: None
    )
    assert_holds(dataset, [episode(1, length=80)])
