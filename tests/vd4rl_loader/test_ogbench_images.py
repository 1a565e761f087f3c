"""OGBench's images: streamed into the cache, in arrival order, with a task's rewards.

Files are written from the format's description; rewards are computed here from the
positions of the cube, as the package's documentation has them.
"""

import dataclasses

import numpy as np
import pytest

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.files.untrusted import NpzFile

NAME = "visual-cube-single-play-v0.npz"
TARGETS = {1: (0.425, -0.1, 0.02), 2: (0.5, 0.0, 0.02), 3: (0.35, 0.0, 0.02)}
LENGTHS = (9, 6, 7)


def rows(seed=0, lengths=LENGTHS):
    """The arrays of a file; the cube is at the goals of all tasks now and then."""
    rng, n = np.random.default_rng(seed), sum(lengths)
    qpos = rng.normal(size=(n, 21)).astype(np.float32)
    goals = np.array(list(TARGETS.values()))[rng.integers(0, 3, n)]
    near = rng.uniform(0.02, 0.06, n) * rng.integers(0, 2, n)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    qpos[:, 14:17] = goals + near[:, None] * direction
    return {
        "observations": rng.integers(0, 256, (n, 64, 64, 3), np.uint8),
        "actions": rng.uniform(-1, 1, (n, 5)).astype(np.float32),
        "terminals": np.isin(np.arange(n), np.cumsum(lengths) - 1),
        "qpos": qpos,
        "qvel": rng.normal(size=(n, 20)).astype(np.float32),
    }


def opened(path, number=1, **options):
    task = f"visual-cube-single-play-singletask-task{number}-v0"
    lines = []
    options = {"min_length": 2, "log": lines.append, **options}
    return open_dataset(path, task, **options), lines


@pytest.fixture
def file(tmp_path):
    np.savez_compressed(tmp_path / NAME, **rows())
    np.savez_compressed(tmp_path / NAME.replace("v0", "v0-val"), **rows(1))
    return tmp_path / NAME


@pytest.mark.parametrize("number", TARGETS)
def test_entries_hold_what_led_to_them_and_the_rewards_of_a_task(file, number):
    stored = rows()
    data, lines = opened(file.parent, number)
    first = np.isin(np.arange(22), np.cumsum([0, *LENGTHS]))
    np.testing.assert_array_equal(data.offsets, np.cumsum([0, *LENGTHS]))
    np.testing.assert_array_equal(data.image, stored["observations"])
    led = np.roll(stored["actions"], 1, axis=0)
    np.testing.assert_array_equal(data.action, np.where(first[:, None], 0, led))
    away = np.linalg.norm(stored["qpos"][:, 14:17] - TARGETS[number], axis=1) > 0.04
    assert 3 < away.sum() < 20
    np.testing.assert_array_equal(data.reward, np.where(first, 0, -1.0 * away))
    np.testing.assert_array_equal(data.is_terminal, ~away & ~first)
    assert data.is_terminal[~data.is_last].any()  # the data go on after a success
    np.testing.assert_array_equal(data.is_first, first)
    np.testing.assert_array_equal(data.is_last, np.roll(first, -1))
    spec = data.spec
    assert spec.task == f"visual-cube-single-singletask-task{number}-v0"
    assert (spec.level, spec.action_size, spec.render) == ("play", 5, None)
    count = np.count_nonzero(data.is_terminal)
    assert f"{count} of 22 entries at the goal" in lines[-1]
    assert "the state that an action leads to" in lines[-1]


def test_all_tasks_share_the_images_and_validation_data_stay_apart(file):
    first, log = opened(file.parent)
    assert any("reading 1 .npz files" in line for line in log)
    second, log = opened(file, 3)
    assert not any("reading" in line for line in log)
    assert first.image.filename == second.image.filename
    held_out, _ = opened(file.with_name(NAME.replace("v0", "v0-val")))
    np.testing.assert_array_equal(held_out.image, rows(1)["observations"])
    by_name = open_dataset(file.parent, min_length=2, log=lambda line: None)
    assert by_name.spec.task == "visual-cube-single-singletask-task2-v0"


def test_images_are_resized_as_those_of_others(file):
    assert opened(file, image_size=32)[0].image.shape == (22, 32, 32, 3)


def test_a_file_comes_out_piece_by_piece(file):
    with NpzFile.opened(file) as archive:
        pieces = archive.pieces("observations", LENGTHS)
        first = next(pieces)
        assert first.shape == (9, 64, 64, 3)
        whole = np.concatenate([first, *pieces])
    np.testing.assert_array_equal(whole, rows()["observations"])


def without(name):
    return {key: array for key, array in rows().items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (without("qpos"), "qpos: missing"),
        (rows() | {"qpos": np.zeros((22, 28), np.float32)}, "cube-single has 21"),
        (rows() | {"terminals": np.zeros(22)}, "terminals: dtype float64"),
        (rows() | {"actions": 2 * rows()["actions"]}, r"outside \[-1, 1\]"),
        (
            rows() | {"observations": np.asfortranarray(rows()["observations"])},
            "in C's order",
        ),
        (rows(lengths=(9, 1, 12)), "too short"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, arrays, said):
    np.savez_compressed(tmp_path / NAME, **arrays)
    with pytest.raises(DataError, match=said):
        opened(tmp_path)
    assert not list(tmp_path.glob(".cache/*/image.npy"))


def test_a_damaged_file_leaves_nothing(file):
    content = bytearray(file.read_bytes())
    content[5000] ^= 255  # of the images
    file.write_bytes(content)
    with pytest.raises(DataError, match="observations: cannot be read"):
        opened(file)
    assert not list(file.parent.glob(".cache/*/image.npy"))


def test_other_data_than_the_tasks(file):
    with pytest.raises(DataError, match=r"no visual-cube-single-noisy-v0\.npz in it"):
        open_dataset(file.parent, "visual-cube-single-noisy-singletask-v0")
    with pytest.raises(DataError, match=r"give visual-scene-play-v0\.npz"):
        open_dataset(file, "visual-scene-play-singletask-v0")


def test_skip_bad_leaves_short_episodes_out(tmp_path):
    stored = rows(lengths=(9, 1, 12))
    np.savez_compressed(tmp_path / NAME, **stored)
    data, _ = opened(tmp_path, skip_bad=True)
    kept = np.r_[0:9, 10:22]
    np.testing.assert_array_equal(data.image, stored["observations"][kept])
    assert dataclasses.is_dataclass(data.spec) and list(data.offsets) == [0, 9, 21]
