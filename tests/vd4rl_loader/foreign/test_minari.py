"""Minari's datasets with images become ours, and ours become Minari's without loss."""

import json

import h5py
import numpy as np
import pytest
from foreign import test_robomimic as robomimic

from vd4rl_loader import open_dataset, write_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

minari = pytest.importorskip("minari", reason="Minari's datasets need minari")
from gymnasium import spaces  # noqa: E402
from minari.data_collector import EpisodeBuffer  # noqa: E402

LENGTHS, SIZE = (3, 4), 64
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of no author


def quiet(line):
    pass


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def picture(episode, step):
    """A smooth one, as JPEG stores well."""
    across = np.linspace(0, 100, SIZE)
    image = np.empty((SIZE, SIZE, 3))
    image[..., 0], image[..., 1] = across[:, None], across
    image[..., 2] = 60 * episode + 20 * step
    return np.uint8(image)


def buffers(kind):
    """Actions in [-2, 2], rewards of the state and the action: 10 s + a."""
    for number, length in enumerate(LENGTHS):
        step = np.arange(length + 1)
        last = np.arange(length) == length - 1
        action = np.float32(step[:-1] - 1.0)[:, None]
        seen = {
            "image": np.stack([picture(number, s) for s in step]),
            "place": np.stack([step, -step], 1).astype(np.float32),
        }
        yield EpisodeBuffer(
            observations=seen if kind is None else seen[kind],
            actions=action,
            rewards=10.0 * step[:-1] + action[:, 0],
            terminations=last & (number == 1),
            truncations=last & (number == 0),
        )


def write(name="arm/push-v0", kind=None, jpeg=False, format="hdf5"):
    seen = {
        "image": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
        "place": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    }
    return minari.create_dataset_from_buffers(
        name,
        list(buffers(kind)),
        observation_space=spaces.Dict(seen) if kind is None else seen[kind],
        action_space=spaces.Box(-2, 2, (1,), np.float32),
        jpeg_encoding=jpeg,
        data_format=format,
    )


def brought(path, to, *more):
    assert main(["convert", str(path), str(to), *more]) == 0
    if str(to).endswith(".hdf5"):
        return open_states(to, log=quiet)
    return open_dataset(to, image_size=SIZE, min_length=2, log=quiet)


def assert_aligned(data, step):
    assert data.offsets.tolist() == [0, 4, 9]
    assert np.flatnonzero(data.is_terminal).tolist() == [8]
    known = 10 * step[~data.is_last] + 2 * data.action[~data.is_first, 0]
    np.testing.assert_allclose(data.reward[~data.is_first], known, atol=1e-5)


@pytest.mark.parametrize("format", ["hdf5", "arrow"])
@pytest.mark.parametrize("jpeg", [False, True])
def test_images(tmp_path, format, jpeg, capsys):
    if format == "arrow":
        pytest.importorskip("pyarrow")
    write(jpeg=jpeg, format=format)
    data = brought("minari:arm/push-v0", tmp_path / "b")
    begin = np.repeat([0, 60], [4, 5])
    step = np.round((data.image[..., 2].mean((1, 2)) - begin) / 20)
    assert_aligned(data, step)
    whole = np.stack([picture(e, s) for e in (0, 1) for s in range(LENGTHS[e] + 1)])
    difference = np.abs(data.image.astype(int) - whole).max()
    assert (difference > 0) == jpeg and difference < 20
    record = json.loads((tmp_path / "b/dataset.json").read_text())["source"]
    assert (
        "2 episodes of images that were stored as JPEG" in capsys.readouterr().out
    ) == jpeg
    assert record["action_low"] == [-2] and record["dataset"] == "arm/push-v0"


def test_vectors_of_a_dictionary(tmp_path, capsys):
    write()
    assert main(["info", "minari:arm/push-v0"]) == 0
    assert "convert minari:arm/push-v0 push-v0-converted" in capsys.readouterr().out
    data = brought("minari:arm/push-v0", tmp_path / "b.hdf5")
    assert_aligned(data, data.vector[:, 0])


def test_images_that_nobody_says_are_raw(tmp_path, root):
    """As older versions of Minari have left them."""
    write(kind="image")
    path = root / "arm/push-v0/data/metadata.json"
    told = json.loads(path.read_text())
    del told["jpeg_encoding"]
    path.write_text(json.dumps(told))
    data = brought(root / "arm/push-v0", tmp_path / "b")  # by its folder
    np.testing.assert_array_equal(data.image[1], picture(0, 1))


def test_what_is_no_dataset(tmp_path, capsys):
    assert main(["convert", "minari:no/such-v0", str(tmp_path / "b")]) == 2
    assert "minari download no/such-v0" in capsys.readouterr().err


@pytest.mark.parametrize("beside", [False, True])
def test_images_to_minari_and_back(tmp_path, beside, capsys):
    rng = np.random.default_rng(0)
    episodes = [
        {
            "image": rng.integers(0, 256, (5, 40, 40, 3), dtype=np.uint8),
            "action": rng.uniform(-1, 1, (4, 2)).astype(np.float32),
            "reward": rng.normal(size=4).astype(np.float32),
            "terminated": end,
            **({"vector": rng.normal(size=(5, 3)).astype("f4")} if beside else {}),
        }
        for end in (False, True)
    ]
    write_dataset(tmp_path / "a", episodes, alignment="departure")
    command = ["convert", str(tmp_path / "a"), "minari:my/images-v0"]
    assert main(command) == 0
    made = minari.load_dataset("my/images-v0")
    first, second = made.iterate_episodes()
    seen = first.observations["image"] if beside else first.observations
    np.testing.assert_array_equal(seen, episodes[0]["image"])
    np.testing.assert_array_equal(second.actions, episodes[1]["action"])
    assert second.terminations.tolist() == [False, False, False, True]
    assert first.truncations.tolist() == [False, False, False, True]
    assert main(command) == 2
    assert "exists already: minari delete my/images-v0" in capsys.readouterr().err
    assert main(["convert", "minari:my/images-v0", str(tmp_path / "b")]) == 0
    data = [
        open_dataset(tmp_path / name, image_size=40, min_length=2, log=quiet)
        for name in "ab"
    ]
    for number in range(2):
        again = data[1].episode(number)
        for name, array in data[0].episode(number).items():
            np.testing.assert_array_equal(again[name], array)


def test_states_to_minari_and_what_fails_leaves_nothing(tmp_path, root):
    path = tmp_path / "a.hdf5"
    one = {"vector": np.eye(5, 3), "action": np.full((4, 2), 0.5), "reward": np.ones(4)}
    both = [{**one, "terminated": end} for end in (True, False)]
    write_dataset(path, both, alignment="departure")
    assert main(["convert", str(path), "minari:my/states-v0"]) == 0
    data, again = (
        open_states(source, log=quiet) for source in (path, "minari:my/states-v0")
    )
    for name, array in data.episode(0).items():
        np.testing.assert_array_equal(again.episode(0)[name], array)
    np.testing.assert_array_equal(again.is_terminal, data.is_terminal)
    made = robomimic.write(tmp_path / "c.hdf5", scale=0.01)
    with h5py.File(made, "a") as file:
        file["data/demo_10/rewards"][0] = np.nan
    assert main(["convert", str(made), "minari:my/none-v0", "--crop"]) == 2
    assert not (root / "my/none-v0").exists()
    assert main(["convert", str(made), "minari:new/er/none-v0", "--crop"]) == 2
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    "name", ["bad", "my/box", "my/box-vX", "../box-v0", "/box-v0", "a/box-v0", ""]
)
def test_what_no_id_may_be(tmp_path, root, name, capsys):
    source = robomimic.write(tmp_path / "a.hdf5", scale=0.01)
    for command in ([f"minari:{name}"], [name or ".", "--to", "minari"]):
        assert main(["convert", str(source), *command]) == 2
        said = capsys.readouterr().err
        assert "give minari:NAMESPACE/NAME-vN" in said
        assert len(said.splitlines()) == 1
    assert not root.exists()
