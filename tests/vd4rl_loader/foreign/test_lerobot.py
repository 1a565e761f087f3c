"""LeRobot's datasets become ours: alignment, ends, pictures, videos, episodes in files.

The folders are written from the format's description. The reward of a row is its step,
as is the first number of its state; a square in the picture stands where the step says.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image

from vd4rl_loader import open_dataset, write_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

pyarrow = pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")
from pyarrow import parquet  # noqa: E402

LENGTHS, FPS = (5, 8), 10


def quiet(line):
    pass


def picture(episode, step):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :, 2] = np.linspace(0, 200, 32)
    image[8 * episode : 8 * episode + 8, 4 * step : 4 * step + 4] = 255
    return image


def step_in(image):
    """Which episode and step pictures [N, 32, 32, 3] are of."""
    bright = image[..., 0].reshape(len(image), 4, 8, 8, 4).mean((2, 4))
    episode, step = np.divmod(bright.reshape(len(image), -1).argmax(1), 8)
    return episode, step


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "frame.png"}


def vectors(values, size):
    flat = pyarrow.array(np.float32(values).ravel(), pyarrow.float32())
    return pyarrow.FixedSizeListArray.from_arrays(flat, size)


FEATURES = {
    "observation.state": {"dtype": "float32", "shape": [3], "names": None},
    "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "lift"]}},
    "next.reward": {"dtype": "float32", "shape": [1], "names": None},
    "next.done": {"dtype": "bool", "shape": [1], "names": None},
}


def table(episodes, changed):
    """The rows of episodes; `changed` has columns in the place of others."""
    number = np.repeat(episodes, [LENGTHS[e] for e in episodes])
    step = np.concatenate([np.arange(LENGTHS[e]) for e in episodes])
    last = step == np.array(LENGTHS)[number] - 1
    begin = np.array([0, LENGTHS[0]])[number]
    columns = {
        "observation.state": vectors(
            np.stack([number, step, np.full(len(step), 0.5)], 1), 3
        ),
        "action": vectors(np.stack([step / 10, -step / 10], 1), 2),
        "next.reward": np.float32(step),
        "next.done": last,
        "timestamp": np.float32(step / FPS),
        "frame_index": step,
        "episode_index": number,
        "index": begin + step,
        "task_index": np.zeros(len(step), np.int64),
    }
    return columns | {k: make(number, step, last) for k, make in changed.items()}


def write(folder, more=None, files=((0, 1),), features=None, **changed):
    """A folder with the episodes of each of `files` in one table.

    `changed` has functions of (episode, step, last) by the names of columns, whose dots
    are written as two underscores; None leaves a column out.
    """
    given = {name.replace("__", "."): make for name, make in changed.items()}
    known = {**FEATURES, **(features or {})}
    known = {n: f for n, f in known.items() if given.get(n, f) is not None}
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "fps": FPS,
        "features": known,
        **(more or {}),
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    rows = []
    for number, episodes in enumerate(files):
        made = table(list(episodes), {k: v for k, v in given.items() if v})
        left = {k: v for k, v in made.items() if given.get(k, v) is not None}
        path = folder / f"data/chunk-000/file-{number:03d}.parquet"
        parquet.write_table(pyarrow.table(left), path, row_group_size=3)
        rows += [
            {
                "episode_index": episode,
                "length": LENGTHS[episode],
                "data/chunk_index": 0,
                "data/file_index": number,
                "dataset_from_index": [0, LENGTHS[0]][episode],
                "dataset_to_index": [LENGTHS[0], sum(LENGTHS)][episode],
                **where(episode),
            }
            for episode in episodes
        ]
    place = folder / "meta/episodes/chunk-000/file-000.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), place)
    return folder


def where(episode):
    """Both episodes lie in one video, one after the other."""
    name = "videos/observation.images.top"
    return {
        f"{name}/chunk_index": 0,
        f"{name}/file_index": 0,
        f"{name}/from_timestamp": [0.0, LENGTHS[0] / FPS][episode],
    }


def brought(path, to, *more):
    assert main(["convert", str(path), str(to), *more]) == 0
    if str(to).endswith(".hdf5"):
        return open_states(to, log=quiet)
    return open_dataset(to, image_size=32, min_length=2, log=quiet)


@pytest.mark.parametrize("files", [((0, 1),), ((0,), (1,))])
def test_vectors(tmp_path, files, capsys):
    data = brought(write(tmp_path / "a", files=files), tmp_path / "b.hdf5")
    assert data.offsets.tolist() == [0, 6, 15]
    before, came = ~data.is_last, ~data.is_first
    np.testing.assert_array_equal(data.reward[came], data.vector[before, 1])
    action = data.action[came]
    np.testing.assert_allclose(action[:, 0] * 10, data.vector[before, 1], atol=1e-5)
    np.testing.assert_array_equal(action[:, 1], -action[:, 0])
    assert data.vector[before, 1].tolist() == [*range(5), *range(8)]
    assert not data.is_terminal.any()  # done may be the last frame, and no more
    assert "2 episodes end with their last observation once" in capsys.readouterr().out


def test_ends(tmp_path, capsys):
    folder = write(tmp_path / "a")
    ended = brought(folder, tmp_path / "b.hdf5", "--end-is-terminal")
    assert np.flatnonzero(ended.is_terminal).tolist() == [5, 14]
    success = {"next.success": FEATURES["next.done"]}
    told = write(
        tmp_path / "c",
        features=success,
        next__success=lambda episode, step, last: (episode == 1) & (step >= 5),
    )
    data = brought(told, tmp_path / "d.hdf5", "--reward", "success")
    assert "1 episodes without a success: their rewards" in capsys.readouterr().out
    assert data.offsets.tolist() == [0, 6, 13]  # without what comes after success
    assert np.flatnonzero(data.is_terminal).tolist() == [12]
    assert np.flatnonzero(data.reward).tolist() == [12]
    clock = {"next.truncated": FEATURES["next.done"]}
    told = write(
        tmp_path / "e",
        features=clock,
        next__truncated=lambda episode, step, last: last & (episode == 0),
    )
    data = brought(told, tmp_path / "f.hdf5")
    assert np.flatnonzero(data.is_terminal).tolist() == [14]


def test_other_names(tmp_path):
    """Those of openpi's conversions: no observation in front, and actions."""
    folder = write(tmp_path / "a")
    path = folder / "data/chunk-000/file-000.parquet"
    names = {"observation.state": "state", "action": "actions"}
    table = parquet.read_table(path)
    parquet.write_table(
        table.rename_columns([names.get(name, name) for name in table.column_names]),
        path,
    )
    info = json.loads((folder / "meta/info.json").read_text())
    scalar = {"dtype": "int64", "shape": [1], "names": None}
    info["features"] = {
        **{names.get(n, n): f for n, f in info["features"].items()},
        **dict.fromkeys(("frame_index", "episode_index", "index"), scalar),
        "timestamp": {**scalar, "dtype": "float32"},
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    data = brought(folder, tmp_path / "b.hdf5")
    assert data.vector.shape == (15, 3)
    before, came = ~data.is_last, ~data.is_first
    np.testing.assert_array_equal(data.reward[came], data.vector[before, 1])
    np.testing.assert_allclose(
        data.action[came, 0] * 10, data.vector[before, 1], atol=1e-5
    )


def test_without_rewards_and_ends_the_last_action_is_left_out(tmp_path, capsys):
    folder = write(tmp_path / "a", next__reward=None, next__done=None)
    assert main(["convert", str(folder), str(tmp_path / "b.hdf5")]) == 2
    assert "holds no rewards: --reward last gives 1" in capsys.readouterr().err
    command = ["convert", str(folder), str(tmp_path / "b.hdf5")]
    assert main([*command, "--reward", "success"]) == 2
    assert "nothing in it says which actions led to" in capsys.readouterr().err
    data = brought(folder, tmp_path / "b.hdf5", "--reward", "zero")
    assert data.offsets.tolist() == [0, 5, 13]
    data = brought(folder, tmp_path / "c.hdf5", "--reward", "last")
    assert data.offsets.tolist() == [0, 6, 15]
    assert np.flatnonzero(data.reward).tolist() == [5, 14]


def test_actions_that_are_angles(tmp_path):
    def angles(episode, step, last):
        return vectors(np.stack([step * 45.0, np.full(len(step), 0.3)], 1), 2)

    data = brought(write(tmp_path / "a", action=angles), tmp_path / "b.hdf5")
    came, step = ~data.is_first, data.vector[~data.is_last, 1]
    degrees = (data.action[came, 0] + 1) / 2 * 315  # as the log says
    np.testing.assert_allclose(degrees, step * 45, atol=1e-4)
    np.testing.assert_allclose(data.action[came, 1], 0.3, atol=1e-6)


def test_bounds_of_actions(tmp_path, capsys):
    folder, to = write(tmp_path / "a"), tmp_path / "b.hdf5"
    data = brought(folder, to, "--action-low", "0", "-1", "--action-high", "0.7", "1")
    came, step = ~data.is_first, data.vector[~data.is_last, 1]
    np.testing.assert_allclose(data.action[came, 0], step / 3.5 - 1, atol=1e-5)
    np.testing.assert_allclose(data.action[came, 1], -step / 10, atol=1e-6)
    other = str(tmp_path / "c.hdf5")
    for wrong in (["--action-low", "0"], ["--action-low", "1", "--action-high", "0"]):
        assert main(["convert", str(folder), other, *wrong]) == 2
    narrow = ["--action-low", "0", "-1", "--action-high", "0.5", "1"]
    assert main(["convert", str(folder), other, *narrow]) == 2
    assert "outside [-1, 1]" in capsys.readouterr().err


def write_with_pictures(folder, **changed):
    image = {"dtype": "image", "shape": [32, 32, 3], "names": ["h", "w", "c"]}

    def made(episode, step, last):
        return [png(picture(e, s)) for e, s in zip(episode, step, strict=True)]

    features = {"observation.image": image}
    return write(folder, features=features, observation__image=made, **changed)


def test_pictures_in_the_table(tmp_path):
    data = brought(write_with_pictures(tmp_path / "a"), tmp_path / "b")
    assert data.offsets.tolist() == [0, 6, 15]
    episode, step = step_in(data.image)
    assert episode.tolist() == [0] * 6 + [1] * 9
    np.testing.assert_array_equal(data.image[2], picture(0, 2))
    np.testing.assert_array_equal(data.reward[~data.is_first], step[~data.is_last])
    record = json.loads((tmp_path / "b/dataset.json").read_text())["source"]
    assert record == {
        "format": "lerobot",
        "robot": "so100",
        "fps": 10,
        "action_names": ["pan", "lift"],
    }


def video(folder, codec):
    import av

    path = folder / "videos/observation.images.top/chunk-000/file-000.mp4"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width = stream.height = 32
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "30", "g": "2"}
        for episode, length in enumerate(LENGTHS):
            for step in range(length):
                frame = av.VideoFrame.from_ndarray(picture(episode, step))
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


VIDEO = {"dtype": "video", "shape": [3, 32, 32], "names": ["channels", "h", "w"]}


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_videos(tmp_path, codec):
    pytest.importorskip("av", reason="videos need PyAV")
    folder = write(tmp_path / "a", features={"observation.images.top": VIDEO})
    video(folder, codec)
    data = brought(folder, tmp_path / "b", "--image-key", "top")
    assert data.offsets.tolist() == [0, 6, 15]
    episode, step = step_in(data.image)
    assert episode.tolist() == [0] * 6 + [1] * 9
    np.testing.assert_array_equal(data.reward[~data.is_first], step[~data.is_last])
    sure = picture(1, 4).astype(int)
    assert np.abs(data.image[6 + 4] - sure).mean() < 8  # it is lossy


def test_what_is_refused(tmp_path, capsys):
    def said(folder, dst="to.hdf5"):
        assert main(["convert", str(folder), str(tmp_path / dst)]) == 2
        assert not (tmp_path / dst).exists()
        return capsys.readouterr().err

    old = write(tmp_path / "old", {"codebase_version": "v2.1"})
    assert "is of LeRobot's version v2.1, only v3.0 is read" in said(old)
    gap = write(tmp_path / "gap", index=lambda episode, step, last: step * 2)
    assert "index: rows are out of order" in said(gap)
    shape = write(
        tmp_path / "shape", action=lambda episode, step, last: np.float32(step)
    )
    assert "action: float32, 1 numbers per row, expected (2,)" in said(shape)
    (broken,) = (write(tmp_path / "broken") / "data").rglob("*.parquet")
    broken.write_bytes(broken.read_bytes()[:-100])
    assert "file-000.parquet: cannot be read, truncated or" in said(tmp_path / "broken")
    lost = write(tmp_path / "lost", features={"observation.images.top": VIDEO})
    name = "videos/observation.images.top/chunk-000/file-000.mp4"
    for number in (0, 1):
        expected = f"episode {number}: {name}: no such file in the dataset"
        assert expected in said(lost, dst="to")
    assert main(["info", str(lost), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == [name]
    assert main(["info", str(lost)]) == 0
    assert "missing" in capsys.readouterr().out
    (table,) = (lost / "data").rglob("*.parquet")
    table.unlink()
    assert "data/chunk-000/file-000.parquet: no such file" in said(lost)


@pytest.mark.parametrize("kinds", [["image"], ["vector"], ["image", "vector"]])
def test_there_and_back(tmp_path, kinds, capsys):
    rng = np.random.default_rng(0)
    kind, shapes = kinds[0], {"image": (32, 32, 3), "vector": (4,)}
    episodes = [
        {
            **{
                name: rng.integers(0, 256, (length + 1, *shapes[name])).astype(
                    np.uint8 if name == "image" else np.float32
                )
                for name in kinds
            },
            "action": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
            "reward": rng.normal(size=length).astype(np.float32),
            "terminated": end,
        }
        for length, end in ((4, False), (6, True), (1, False))
    ]
    name = "a" if kind == "image" else "a.hdf5"
    write_dataset(tmp_path / name, episodes, alignment="departure")
    lerobot, back = tmp_path / "lerobot", tmp_path / f"b{name}"
    assert main(["convert", str(tmp_path / name), str(lerobot), "--to", "lerobot"]) == 0
    assert "nobody says the frames per second: 30 are" in capsys.readouterr().out
    assert main(["convert", str(lerobot), str(back)]) == 0
    assert "once more" not in capsys.readouterr().out
    one, other = (
        open_dataset(path, image_size=32, min_length=2, log=quiet)
        if kind == "image"
        else open_states(path, log=quiet)
        for path in (tmp_path / name, back)
    )
    assert one.offsets.tolist() == other.offsets.tolist() == [0, 5, 12, 14]
    assert np.flatnonzero(other.is_terminal).tolist() == [11]
    for key in (*kinds, "action", "reward"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key))


@pytest.mark.parametrize("to", ["b", "b.hdf5"])
def test_units_and_robot_go_along(tmp_path, to, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def angles(episode, step, last):
        return vectors(np.stack([30 + step * 45.0, np.full(len(step), 0.3)], 1), 2)

    source = write_with_pictures(tmp_path / "a", action=angles)
    brought(source, tmp_path / to)
    assert (
        main(["convert", str(tmp_path / to), str(tmp_path / "c"), "--to", "lerobot"])
        == 0
    )
    assert "scaled back to action_low and action_high" in capsys.readouterr().out
    info = json.loads((tmp_path / "c/meta/info.json").read_text())
    assert info["robot_type"] == "so100"
    (made,) = (tmp_path / "c/data").rglob("*.parquet")
    rows = np.array(parquet.read_table(made)["action"].to_pylist())
    step = np.concatenate([np.arange(length) for length in LENGTHS])
    known = np.array([length + 1 for length in LENGTHS]).cumsum() - 1
    np.testing.assert_allclose(
        np.delete(rows, known, 0)[:, 0], 30 + step * 45, rtol=1e-5
    )
    np.testing.assert_allclose(np.delete(rows, known, 0)[:, 1], 0.3, rtol=1e-6)
    assert main(["convert", str(tmp_path / "c"), str(tmp_path / f"d{to}")]) == 0
    minari = pytest.importorskip("minari")
    assert main(["convert", str(tmp_path / to), "minari:my/arm-v0"]) == 0
    again = minari.load_dataset("my/arm-v0")
    np.testing.assert_array_equal(again.spec.action_space.high, np.float32([345, 1]))
    first = next(iter(again.iterate_episodes())).actions[:, 0]
    np.testing.assert_allclose(first, 30 + 45 * np.arange(5), rtol=1e-5)
    capsys.readouterr()
    assert main(["convert", str(source), "minari:my/same-v0"]) == 0
    assert "scaled" not in capsys.readouterr().out
    same = minari.load_dataset("my/same-v0")
    np.testing.assert_array_equal(same.spec.action_space.high, np.float32([345, 1]))


@pytest.mark.parametrize("low", [[-1, 0, 3], "no", [2, 2], [None, 1]])
def test_bounds_of_other_actions(tmp_path, low, capsys):
    source = brought_arrays(tmp_path / "a", {"action_low": low, "action_high": [1, 2]})
    assert main(["convert", str(source), str(tmp_path / "c"), "--to", "lerobot"]) == 2
    assert "a: action_low, action_high: expected 2 num" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def brought_arrays(path, source):
    episode = {"image": np.zeros((3, 8, 8, 3), np.uint8), "action": np.zeros((2, 2))}
    write_dataset(
        path,
        [{**episode, "reward": [0, 1], "terminated": False}],
        alignment="departure",
    )
    record = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps({**record, "source": source}))
    return path


@pytest.mark.parametrize("to", ["b", "b.hdf5"])
def test_frames_per_second_and_names_go_along(tmp_path, to, capsys):
    brought(write_with_pictures(tmp_path / "a"), tmp_path / to)
    capsys.readouterr()
    command = ["convert", str(tmp_path / to), str(tmp_path / "c"), "--to", "lerobot"]
    assert main(command) == 0
    assert "nobody says" not in capsys.readouterr().out
    info = json.loads((tmp_path / "c/meta/info.json").read_text())
    assert info["fps"] == FPS
    assert info["features"]["action"]["names"] == ["pan", "lift"]


def test_what_lerobot_reads(tmp_path):
    """Row t holds o_t, what was played in it, and what came of it."""
    states = np.arange(5.0)[:, None]
    one = {"vector": states, "action": states[1:] / 10, "reward": 10.0 * states[1:, 0]}
    path = tmp_path / "a.hdf5"
    episodes = [{**one, "terminated": end} for end in (True, False)]
    write_dataset(path, episodes, alignment="departure")
    folder = tmp_path / "b"
    assert main(["convert", str(path), str(folder), "--to", "lerobot"]) == 0
    rows = parquet.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    state, action = (np.array(rows[k])[:, 0] for k in ("observation.state", "action"))
    np.testing.assert_allclose(state, [*range(5), *range(5)])
    np.testing.assert_allclose(action * 10, [1, 2, 3, 4, 0] * 2, atol=1e-6)
    assert rows["next.reward"] == [10, 20, 30, 40, 0] * 2
    assert np.flatnonzero(rows["next.done"]).tolist() == [3]
    assert np.flatnonzero(rows["next.truncated"]).tolist() == [8]
    assert rows["index"] == list(range(10))
    assert rows["episode_index"] == [0] * 5 + [1] * 5
    assert rows["frame_index"] == [*range(5), *range(5)]
    np.testing.assert_allclose(np.array(rows["timestamp"]) * 30, rows["frame_index"])
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (2, 10)
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [1],
        "names": None,
    }
    table = parquet.read_table(folder / "meta/tasks.parquet")
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert main(["convert", str(path), str(folder), "--to", "lerobot"]) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"features": {**FEATURES, "action": 5}},
        {"features": {**FEATURES, "../action": FEATURES["action"]}},
        {"features": {**FEATURES, "action": {"dtype": "float32", "shape": [-1]}}},
        {"features": []},
        {"fps": "fast"},
        {"codebase_version": None},
    ],
)
def test_what_no_info_says(tmp_path, more, capsys):
    folder = write(tmp_path / "a", more)
    assert main(["info", str(folder)]) == 2
    assert main(["convert", str(folder), str(tmp_path / "b.hdf5")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith(f"error: {folder}: ")
