"""Both published formats and every place in their layout open as the same arrays."""

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

from vd4rl_loader import DataError, RenderStyle, open_dataset


@pytest.fixture
def logged():
    return []


@pytest.fixture
def open_16(logged):
    def opens(path, task=None, level=None, image_size=16, **options):
        return open_dataset(path, task, level, image_size, log=logged.append, **options)

    return opens


def test_npz_files_are_read_as_they_are_stored(tmp_path, open_16):
    episodes = [episode(i, length) for i, length in enumerate((70, 501, 64))]
    write_folder(tmp_path, episodes)
    assert_holds(open_16(tmp_path), episodes)


def test_hdf5_episodes_are_found_by_step_type(tmp_path, open_16):
    episodes = [episode(i, length) for i, length in enumerate((70, 501, 64, 99))]
    write_hdf5(tmp_path / "shard_1_reward_7.hdf5", stream(episodes))
    assert_holds(open_16(tmp_path), episodes)


@pytest.mark.parametrize("cuts", [[1], [69], [70], [71], [100], [30, 50, 141, 200]])
def test_an_episode_that_continues_in_the_next_shard_is_joined(tmp_path, open_16, cuts):
    episodes = [episode(i, 70) for i in range(4)]
    rows = stream(episodes)
    for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, None], strict=True)):
        # Numbers from 9 on: sorted as text, shard_10 would come before shard_9.
        write_hdf5(tmp_path / f"shard_{9 + i}.hdf5", rows, start, stop)
    assert_holds(open_16(tmp_path), episodes)


def test_fragments_at_both_ends_are_dropped_and_counted(tmp_path, open_16, logged):
    episodes = [episode(i, 70) for i in range(4)]
    rows = stream(episodes)
    write_hdf5(tmp_path / "1.hdf5", rows, 30, 150)
    write_hdf5(tmp_path / "2.hdf5", rows, 150, 222)
    assert_holds(open_16(tmp_path), episodes[1:3])
    text = "\n".join(logged)
    assert "1.hdf5 row 0: dropped 40 steps" in text
    assert "2.hdf5 row 60: dropped 12 steps" in text


def test_a_missing_shard_does_not_join_strangers(tmp_path, open_16, logged):
    episodes = [episode(i, 70) for i in range(4)]
    rows = stream(episodes)
    write_hdf5(tmp_path / "1.hdf5", rows, 0, 100)
    write_hdf5(tmp_path / "3.hdf5", rows, 140)
    assert_holds(open_16(tmp_path), [episodes[0], *episodes[2:]])
    assert "1.hdf5 row 70: dropped 30 steps" in "\n".join(logged)


def test_a_skipped_shard_does_not_join_its_neighbours(tmp_path, open_16, logged):
    episodes = [episode(i, 70) for i in range(4)]
    rows = stream(episodes)
    write_hdf5(tmp_path / "1.hdf5", rows, 0, 100)
    write_hdf5(tmp_path / "2.hdf5", rows, 100, 160).write_bytes(b"damaged")
    write_hdf5(tmp_path / "3.hdf5", rows, 160)
    dataset = open_16(tmp_path, skip_bad=True)
    assert_holds(dataset, [episodes[0], episodes[3]])
    assert "1 of 3 files" in "\n".join(logged)


@pytest.mark.parametrize("chunk", [3, 100, 700, 1500])
def test_shards_larger_than_a_block_of_rows(tmp_path, open_16, chunk):
    episodes = [episode(i, 70 + 13 * i, size=8) for i in range(12)]
    rows = stream(episodes)
    path = write_hdf5(tmp_path / "1.hdf5", {**rows, "observation": np.zeros((2, 1))})
    with h5py.File(path, "a") as file:
        del file["observation"]
        images = rows["observation"]
        file.create_dataset("observation", data=images, chunks=(chunk, 3, 8, 8))
    assert_holds(open_16(tmp_path, image_size=8), episodes)


def test_one_file_can_be_opened_alone(tmp_path, open_16):
    episodes = [episode(i) for i in range(3)]
    paths = write_folder(tmp_path, episodes)
    assert_holds(open_16(paths[1]), episodes[1:2])
    assert_holds(open_16(paths[2]), episodes[2:])
    assert_holds(open_16(tmp_path), episodes)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_any_width_of_float_is_taken(tmp_path, open_16, kind):
    fields = episode(0)
    wide = {key: fields[key].astype(kind) for key in ("action", "reward", "discount")}
    write_folder(tmp_path, [{**fields, **wide}])
    assert_holds(open_16(tmp_path), [{**fields, **wide}])


def test_integer_step_types_are_taken(tmp_path, open_16):
    rows = stream([episode(0)])
    write_hdf5(
        tmp_path / "1.hdf5", {**rows, "step_type": rows["step_type"].astype(np.uint8)}
    )
    assert_holds(open_16(tmp_path), [episode(0)])


def test_terminal_episodes(tmp_path, open_16):
    fields = episode(0)
    fields["is_terminal"] = fields["is_last"]
    fields["discount"] = 1.0 - fields["is_last"]
    write_folder(tmp_path / "npz", [fields])
    write_hdf5(tmp_path / "hdf5" / "1.hdf5", stream([fields]))
    older = {key: value for key, value in fields.items() if key != "is_terminal"}
    write_folder(tmp_path / "older", [older])
    for folder in ("npz", "hdf5", "older"):
        assert_holds(open_16(tmp_path / folder), [fields])


def test_further_keys_are_ignored(tmp_path, open_16):
    extra = {"orientations": np.zeros((70, 14)), "note": np.array(["x"])}
    write_folder(tmp_path, [{**episode(0), **extra}])
    assert_holds(open_16(tmp_path), [episode(0)])


LAYOUT = {
    "main/walker_walk/random/64px": 1,
    "main/walker_walk/medium_expert/64px": 2,
    "main/cheetah_run/random/64px": 3,
    "distracting/walker_walk/random/64px/easy": 4,
    "distracting/walker_walk/random/64px/hard": 5,
    "multitask/walker_walk/expert/len_1/64px": 6,
}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "data" / "vd4rl"
    for folder, seed in LAYOUT.items():
        write_folder(root / folder, [episode(seed)])
    rows = stream([episode(7, size=24)])
    write_hdf5(root / "main/walker_walk/random/84px/shard_1.hdf5", rows)
    (root / "main/walker_walk/random/64px/._hidden.npz").write_bytes(b"of a Mac")
    return root


@pytest.mark.parametrize(
    ("below", "task", "level", "seed"),
    [
        ("", "walker_walk", "random", 1),
        ("..", "walker_walk", "medium_expert", 2),
        ("main", "cheetah_run", "random", 3),
        ("main/cheetah_run", None, None, 3),
        ("main/walker_walk", None, "medium_expert", 2),
        ("main/walker_walk/random", "walker_walk", "random", 1),
        ("main/walker_walk/random/64px", "walker_walk", "random", 1),
        ("main/walker_walk/random/64px", None, None, 1),
        ("", "walker_walk", "random/hard", 5),
        ("distracting", "walker_walk", "random/easy", 4),
        ("distracting/walker_walk/random/64px/hard", None, None, 5),
        ("", "walker_walk", "expert/len_1", 6),
    ],
)
def test_every_place_in_the_layout(tree, open_16, below, task, level, seed):
    dataset = open_16(tree / below, task, level, image_size=64, min_length=2)
    np.testing.assert_array_equal(dataset.reward, episode(seed)["reward"].astype("f4"))
    known = next(f for f, s in LAYOUT.items() if s == seed).split("/")
    assert dataset.spec.task == known[1]
    levels = [part for part in known[2:] if part != "64px"]
    assert dataset.spec.level == "/".join(levels)


def test_a_roots_own_files_do_not_hide_the_dataset_below(tree, open_16):
    """State vectors are often downloaded to the folder that the pixels lie in."""
    write_npz(tree / "other.npz", episode(8))
    (tree / "hopper.hdf5").write_bytes(b"")
    dataset = open_16(tree, "walker_walk", "random", image_size=64, min_length=2)
    np.testing.assert_array_equal(dataset.reward, episode(1)["reward"].astype("f4"))
    (tree / "hopper.hdf5").unlink()
    dataset = open_16(tree, "my_task", min_length=2)  # nothing below is that
    np.testing.assert_array_equal(dataset.reward, episode(8)["reward"].astype("f4"))


def test_the_next_larger_images_are_taken_where_the_size_is_missing(tree, open_16):
    dataset = open_16(tree, "walker_walk", "random", image_size=84)
    assert dataset.spec.source_image_size == 24
    assert open_16(tree, "walker_walk", "random", 80).spec.source_image_size == 24
    assert open_16(tree, "walker_walk", "random", 96).spec.source_image_size == 24
    assert open_16(tree, "walker_walk", "random", 48).spec.source_image_size == 16


@pytest.mark.parametrize(
    ("below", "task", "level", "expected"),
    [
        ("", None, None, ["several datasets", *LAYOUT]),
        ("", "walker_walk", "expert", ["nothing for task 'walker_walk'", *LAYOUT]),
        ("", "hopper_hop", None, ["nothing for task 'hopper_hop'", *LAYOUT]),
        ("main/walker_walk", None, None, ["random/64px", "medium_expert/64px"]),
        ("main/cheetah_run/random", "walker_walk", "random", ["nothing", "64px"]),
        (
            "main/cheetah_run/random/64px",
            "walker_walk",
            None,
            ["holds", "'cheetah_run'"],
        ),
        ("main/walker_walk/random/64px", None, "expert", ["'random', not 'expert'"]),
        ("main/hopper_hop", None, None, ["no such file or folder"]),
    ],
)
def test_a_wrong_folder_says_what_is_there(tree, open_16, below, task, level, expected):
    with pytest.raises(DataError) as caught:
        open_16(tree / below, task, level)
    message = str(caught.value)
    assert str(tree / below) in message
    for text in expected:
        assert text in message


def test_an_empty_folder_and_other_files(tmp_path, open_16):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no \.npz or \.hdf5 files"):
        open_16(tmp_path)
    with pytest.raises(DataError, match=r"notes.txt: neither a \.npz nor a \.hdf5"):
        open_16(tmp_path / "notes.txt")
    write_npz(tmp_path / "a.npz", episode(0))
    write_hdf5(tmp_path / "b.hdf5", stream([episode(1)]))
    with pytest.raises(DataError, match=r"holds \.npz and \.hdf5 files"):
        open_16(tmp_path)


def test_the_record_of_the_rendering(tmp_path, open_16):
    style = RenderStyle.named("fast", size=16)
    record = {"task": "walker_walk", "level": "expert", "alignment": "arrival"}
    record |= {"action_repeat": 4, "render": style.to_json()}
    write_folder(tmp_path, [episode(0)])
    assert open_16(tmp_path).spec.render is None  # nobody says whose images they are
    guessed = open_16(tmp_path, task="walker_walk").spec
    assert guessed.render == RenderStyle.named("vd4rl", size=16)
    assert open_16(tmp_path, task="my_task").spec.task == "my_task"
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    spec = open_16(tmp_path).spec
    assert (spec.task, spec.level, spec.action_repeat) == ("walker_walk", "expert", 4)
    assert spec.render == style
    with pytest.raises(DataError, match="holds task 'walker_walk', not 'my_task'"):
        open_16(tmp_path, task="my_task")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"alignment": "mixed"}', "alignment is 'mixed', expected 'arrival' or 'de"),
        ('{"render": {"name": "fast"}}', "expected exactly the fields"),
        (
            json.dumps({"render": {**RenderStyle().to_json(), "size": "64"}}),
            "size is '64', expected int",
        ),
    ],
)
def test_a_wrong_record(tmp_path, open_16, text, expected):
    write_folder(tmp_path, [episode(0)])
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json: ") as caught:
        open_16(tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_statistics_and_spec(tmp_path, open_16):
    episodes = [episode(i, length) for i, length in enumerate((70, 100))]
    paths = write_folder(tmp_path, episodes)
    dataset = open_16(tmp_path, task="walker_walk")
    returns = [e["reward"].sum() for e in episodes]
    np.testing.assert_allclose(dataset.returns(), returns, rtol=1e-6)
    expected = {
        "episodes": 2,
        "steps": 168,
        "entries": 170,
        "return_mean": np.mean(returns),
        "return_std": np.std(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        "length_min": 70,
        "length_max": 100,
        "action_min": min(e["action"].min() for e in episodes),
        "action_max": max(e["action"].max() for e in episodes),
        "bytes": 170 * (16 * 16 * 3 + 6 * 4 + 4 + 3),
        "source_bytes": sum(path.stat().st_size for path in paths),
        "terminals": 0,
    }
    found = dataset.statistics()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value), key
    json.dumps(found)
    spec = dataset.spec
    assert (spec.image_size, spec.action_size, spec.alignment) == (16, 6, "arrival")
    assert (spec.action_repeat, spec.source_image_size) == (2, 16)
