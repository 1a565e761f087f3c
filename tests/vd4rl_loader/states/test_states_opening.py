"""Which file a path and a task mean."""

import json
import zipfile

import h5py
import pytest
from states.layouts import neorl, rows, write_d4rl, write_npz

from vd4rl_loader import DataError
from vd4rl_loader.files.state_files import recorded
from vd4rl_loader.states import expected_file, is_state_data, open_states
from vd4rl_loader.states.published import published_task, tasks, url

# From the lists of addresses that D4RL and NeoRL publish.
PUBLISHED = {
    "hopper-medium-replay": "gym_mujoco_v2/hopper_medium_replay-v2.hdf5",
    "walker2d-full-replay-v2": "gym_mujoco_v2/walker2d_full_replay-v2.hdf5",
    "halfcheetah-random": "gym_mujoco_v2/halfcheetah_random-v2.hdf5",
    "antmaze-umaze": "ant_maze_v2/Ant_maze_u-maze_noisy_multistart_False_"
    "multigoal_False_sparse_fixed.hdf5",
    "antmaze-umaze-diverse-v2": "ant_maze_v2/Ant_maze_u-maze_noisy_multistart_True_"
    "multigoal_True_sparse_fixed.hdf5",
    "antmaze-medium-play": "ant_maze_v2/Ant_maze_big-maze_noisy_multistart_True_"
    "multigoal_False_sparse_fixed.hdf5",
    "antmaze-large-diverse-v0": "ant_maze_new/Ant_maze_hardest-maze_noisy_multistart_"
    "True_multigoal_True_sparse.hdf5",
    "antmaze-ultra-play": "public/Ant_maze_ultra_noisy_multistart_True_"
    "multigoal_False_sparse.hdf5",
    "antmaze-ultra-diverse-v0": "public/Ant_maze_ultra_noisy_multistart_True_"
    "multigoal_True_sparse.hdf5",
    "Hopper-low": "v2/Hopper-v3/Hopper-v3-low-1000-train-noise.npz",
    "HalfCheetah-v3-high": "v2/HalfCheetah-v3/HalfCheetah-v3-high-1000-train-noise.npz",
}


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_names(task):
    assert url(task).endswith(f"/{PUBLISHED[task]}")
    assert expected_file(task) == PUBLISHED[task].rpartition("/")[2]


def test_every_published_file_belongs_to_one_task():
    names = tasks()
    ogbench = 4 * 2 + 3 * 3 + 2 + 3 * 2 + 2 * 2 + 9 * 2  # as states
    ogbench += 3 * 3 + 2 + 3 * 2 + 9 * 2  # as images
    assert len(names) == 3 * 6 + 6 * 2 + 2 + 3 * 3 + ogbench
    assert [published_task(expected_file(name)) for name in names] == names


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("hoper-medium", "did you mean hopper-medium?"),
        ("antmaze-ultra-play-v2", "did you mean antmaze-ultra-play-v0?"),
        ("hopper-medium-v1", "did you mean hopper-medium-v2?"),
        ("?", "there are hopper-random, hopper-medium, "),
    ],
)
def test_unpublished_names(task, hint):
    with pytest.raises(DataError) as caught:
        expected_file(task)
    assert str(caught.value).startswith(f"task {task!r}: no such published dataset (")
    assert hint in str(caught.value)


LENGTHS = {
    "hopper_medium-v2.hdf5": 4,
    "hopper_medium_replay-v2.hdf5": 5,
    "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse.hdf5": 6,
    "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5": 7,
    "Hopper-v3-low-1000-train-noise.npz": 8,
    "Hopper-v3-low-100-val-noise.npz": 9,
}


def write(folder, name):
    length = LENGTHS.get(name, 10)
    size = 29 if name.startswith("Ant") else 11 + name.endswith("npz")
    fields = rows([(length, None)], size=size, actions=8 if size == 29 else 3)
    if name.endswith("npz"):
        return write_npz(folder / name, neorl(fields, [length]))
    return write_d4rl(folder / name, fields)


def steps(path, task=None):
    return open_states(path, task, log=lambda line: None).statistics()["steps"]


def refused(path, task=None):
    with pytest.raises(DataError) as caught:
        open_states(path, task)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_task_of_a_folder(tmp_path):
    for name in LENGTHS:
        write(tmp_path, name)
    assert steps(tmp_path, "hopper-medium") == 4
    assert steps(str(tmp_path), "hopper-medium-replay-v2") == 5
    assert steps(tmp_path, "antmaze-umaze") == 7
    assert steps(tmp_path, "antmaze-umaze-v2") == 7
    assert steps(tmp_path, "antmaze-umaze-v0") == 6
    assert steps(tmp_path, "Hopper-low") == 8
    for task, start in (
        ("hopper-expert", "none of its files is published as 'hopper-expert'; give"),
        ("mine", "none of its files is published as 'mine'; give one of them: Ant_"),
        (None, "several files; give one of them: Ant_maze"),
    ):
        assert refused(tmp_path, task).startswith(start)


def test_an_only_file(tmp_path):
    write(tmp_path, "mine.hdf5")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.hdf5").touch()
    for task in (None, "hopper-medium", "mine"):
        assert steps(tmp_path, task) == 10
    assert steps(tmp_path / "mine.hdf5", "hopper-medium") == 10
    # By content: the name says nothing.
    assert steps((tmp_path / "mine.hdf5").rename(tmp_path / "data.npz")) == 10


def test_validation_files_are_not_for_training(tmp_path):
    write(tmp_path, "Hopper-v3-low-1000-train-noise.npz")
    write(tmp_path, "Hopper-v3-low-100-val-noise.npz")
    assert steps(tmp_path) == 8
    assert steps(tmp_path / "Hopper-v3-low-100-val-noise.npz") == 9


def test_a_file_of_another_task(tmp_path):
    path = write(tmp_path, "hopper_medium-v2.hdf5")
    assert steps(path, "hopper-medium") == 4
    expected = (
        "is published as 'hopper-medium-v2', not 'hopper-medium-replay': give that "
        "task, or another file"
    )
    assert refused(path, "hopper-medium-replay") == expected
    assert refused(tmp_path, "hopper-medium-replay").endswith(expected)


OTHER_DATA = {  # that no task here means: its name as we tell it
    "hopper_medium.hdf5": "hopper-medium-v0",
    "hopper_medium-v1.hdf5": "hopper-medium-v1",
    "hopper_medium-v1 (1).hdf5": "hopper-medium-v1",
    "walker2d_mixed.hdf5": "walker2d-medium-replay-v0",
    "ant_expert-v2.hdf5": "ant-expert-v2",
    "Hopper-v3-low-100-train-noise.npz": "Hopper-v3-low-100",
    "Hopper-v3-medium-10000-train-noise.npz": "Hopper-v3-medium-10000",
    "Hopper-v3-low-1000-val-noise.npz": "Hopper-v3-low-1000-val",
    "Hopper-v3-low-10-train-noise.npz": "Hopper-v3-low-10",
    "antmaze-large-navigate-v0-val.npz": "OGBench's antmaze-large-navigate-v0-val",
}


@pytest.mark.parametrize("name", OTHER_DATA)
def test_published_files_of_other_versions_and_sizes(tmp_path, name):
    """Whatever the task: their data are others than the ones that it means."""
    path = write(tmp_path, name)
    neorl_file = name.endswith("npz")
    task = "Hopper-low" if neorl_file else "hopper-medium"
    told = f"is published as {OTHER_DATA[name]!r}, not {task!r}: "
    said = refused(path, task)
    assert said.startswith(told) and "rename this one to train on it all the" in said
    assert steps(path.rename(tmp_path / f"mine{path.suffix}"), task) == 10


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("hopper_medium_replay.hdf5", "hopper-medium-replay"),
        ("hopper_medium-v2.hdf5", "hopper-medium-replay"),
        ("Hopper-v3-medium-1000-train-noise.npz", "Hopper-low"),
    ],
)
def test_files_made_here_are_none_of_the_published_ones(tmp_path, name, task):
    path, made = write(tmp_path, name), {"suite": "gymnasium"}
    assert recorded(path) == recorded(tmp_path) == {}
    assert "is published as" in refused(path, task)
    if name.endswith("npz"):
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = json.dumps(made).encode()
    else:
        with h5py.File(path, "a") as file:
            file.create_group("metadata").attrs["provenance"] = json.dumps(made)
    assert recorded(path) == made
    assert steps(path, task) == LENGTHS.get(name, 10)


def test_a_record_that_is_none_makes_no_file_ours(tmp_path):
    path = write(tmp_path, "Hopper-v3-medium-1000-train-noise.npz")
    for comment in (b"[" * 60_000, b"{", b"[1]", b"\xff"):
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
        assert recorded(path) == {}
        assert "is published as" in refused(path, "Hopper-low")


def test_a_second_download_of_the_right_file(tmp_path):
    path = write(tmp_path, "hopper_medium-v2 (1).hdf5")
    assert steps(path, "hopper-medium") == 10
    assert "published as 'hopper-medium-v2'" in refused(path, "hopper-expert")


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        ("walker2d-medium", "17 and 6"),
        ("Hopper-low", "12 and 3"),
        ("antmaze-umaze", "29 and 8"),
        ("pointmaze-large", "2 and 2"),
    ],
)
def test_sizes_of_another_task(tmp_path, task, sizes):
    path = write(tmp_path, "mine.hdf5")
    assert refused(path, task) == (
        f"states of 11 and actions of 3 numbers, but {task} has {sizes}: give that "
        "task's data, or another --task"
    )


def test_no_file(tmp_path):
    assert refused(tmp_path / "x.hdf5") == "no such file or folder"
    assert refused(tmp_path) == "no .npz or .hdf5 files in it"


def test_what_is_state_data(tmp_path):
    good = write(tmp_path, "mine.hdf5")
    assert is_state_data(good) and is_state_data(str(tmp_path))
    assert is_state_data("minari:a/b-v0")
    published = tmp_path / "hopper_medium-v2.hdf5"
    published.write_bytes(b"half of it")
    assert is_state_data(published)
    pixels = write_d4rl(tmp_path / "pixels.hdf5", {"observation": [0]})
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not is_state_data(pixels) and not is_state_data(empty)
    with pytest.raises(DataError, match="no such file or folder"):
        is_state_data(tmp_path / "nowhere")
    assert is_state_data(write(tmp_path, "Mine.npz"))
    assert not is_state_data(write_npz(tmp_path / "p.npz", {"image": [0]}))
