"""robomimic's files become datasets: alignment, ends, the order of demonstrations.

Rewards are a function of the state before and of the action, r = 10 s + a, or sparse.
"""

import json

import h5py
import numpy as np
import pytest

from vd4rl_loader import open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

ROWS = {"demo_0": 3, "demo_10": 2, "demo_2": 4}


def quiet(line):
    pass


def demonstration(begin, rows, next_obs, scale=0.1, sparse=False):
    state = begin + np.arange(rows + 1)
    action = scale * (state[:-1] + 1)
    success = sparse & (np.arange(rows) == rows - 1)
    obs = {
        "object": np.stack([state, -state], 1) / 10,
        "a_place": state[:, None] / 20,  # sorted, it comes first
        "front_image": np.broadcast_to(
            np.uint8(state)[:, None, None, None], (rows + 1, 6, 8, 3)
        ),
    }
    arrays = {
        "states": np.zeros((rows, 5)),
        "actions": np.stack([action, np.full(rows, 0.5)], 1),
        "rewards": success * 1.0 if sparse else state[:-1] + action,
        "dones": np.int64(success),
    }
    arrays |= {f"obs/{name}": array[:-1] for name, array in obs.items()}
    if next_obs:
        arrays |= {f"next_obs/{name}": array[1:] for name, array in obs.items()}
    return arrays


def write(path, next_obs=True, demos=None, **options):
    """A file of 3 demonstrations; states count on from one to the next by number."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1})
        for name, rows in (demos or ROWS).items():
            begin = {"demo_0": 0, "demo_2": 10, "demo_10": 20, "demo_11": 0}[name]
            made = demonstration(begin, rows, next_obs, **options)
            for key, array in made.items():
                data[f"{name}/{key}"] = array
        file["mask/valid"] = np.array([b"demo_10"])
    return path


def brought(path, to, *more):
    assert main(["convert", str(path), str(to), *more]) == 0
    if str(to).endswith(".hdf5"):
        return open_states(to, log=quiet)
    return open_dataset(to, image_size=6, min_length=2, log=quiet)


@pytest.mark.parametrize(
    ("next_obs", "offsets", "states"),
    [
        (True, [0, 4, 9, 12], [0, 1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 22]),
        # Every reward counts, so the last observation is repeated.
        (False, [0, 4, 9, 12], [0, 1, 2, 2, 10, 11, 12, 13, 13, 20, 21, 21]),
    ],
)
def test_vectors(tmp_path, next_obs, offsets, states, capsys):
    path = write(tmp_path / "a.hdf5", next_obs, scale=1.0)
    data = brought(path, tmp_path / "b.hdf5")
    assert data.offsets.tolist() == offsets
    np.testing.assert_allclose(data.vector[:, 0] * 20, states, atol=1e-5)
    np.testing.assert_allclose(data.vector[:, 1] * 10, states, atol=1e-5)
    assert not data.is_terminal.any()
    came = ~data.is_first
    action = 1 + (data.action[came, 0] + 1) / 2 * 21  # the data's go from 1 to 22
    np.testing.assert_allclose(action, np.array(states)[~data.is_last] + 1, atol=1e-4)
    known = np.array(states)[~data.is_last] + action
    np.testing.assert_allclose(data.reward[came], known, atol=1e-4)
    assert (data.action[came, 1] == 0.5).all()  # is in [-1, 1]
    said = capsys.readouterr().out
    assert "number 0 of an action scaled to [-1, 1]" in said
    assert ("3 episodes end with their last observation once more" in said) != next_obs
    with h5py.File(tmp_path / "b.hdf5") as file:
        record = json.loads(file["metadata"].attrs["provenance"])["source"]
    assert record == {
        "format": "robomimic",
        "environment": "Lift",
        "action_low": [1, -1],
        "action_high": [22, 1],
    }


def test_images(tmp_path):
    path = write(tmp_path / "a.hdf5", scale=0.01)
    assert main(["convert", str(path), str(tmp_path / "b")]) == 2  # not square
    data = brought(path, tmp_path / "b", "--crop")
    assert data.image.shape == (12, 6, 6, 3)
    state = data.image[:, 0, 0, 0]
    assert state.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 22]
    np.testing.assert_allclose(data.vector[:, 0] * 20, state, atol=1e-5)
    assert data.vector.shape == (12, 3)
    known = state[~data.is_last] + data.action[~data.is_first, 0]
    np.testing.assert_allclose(data.reward[~data.is_first], known, atol=1e-5)
    record = json.loads((tmp_path / "b/dataset.json").read_text())
    assert record["source"] == {"format": "robomimic", "environment": "Lift"}


@pytest.mark.parametrize("keys", [[], ["object"]])
def test_vector_keys(tmp_path, keys, capsys):
    path = write(tmp_path / "a.hdf5", scale=0.01)
    command = ["--crop", "--vector-keys"]
    data = brought(path, tmp_path / "b", *command, *keys)
    assert (data.vector is None) == (not keys)
    if keys:
        assert data.vector.shape == (12, 2)
    assert main(["convert", str(path), str(tmp_path / "c"), *command, "hand"]) == 2
    said = capsys.readouterr().err
    assert (
        "no vectors of that name: hand: choose with --vector-keys, of a_place" in said
    )


def test_success_is_an_end_and_the_end_of_a_demonstration_is_not(tmp_path):
    path = write(tmp_path / "a.hdf5", next_obs=False, sparse=True)
    with h5py.File(path, "a") as file:
        file["data/demo_0/dones"][:] = 1  # success in the first row, and on
        file["data/demo_0/rewards"][:] = 1
        file["data/demo_2/rewards"][:] = 0  # done at its end, as all are
        file["data/demo_10/rewards"][:] = [0, 1]
    data = brought(path, tmp_path / "b.hdf5")
    assert data.offsets.tolist() == [0, 2, 6, 9]
    assert np.flatnonzero(data.is_terminal).tolist() == [1, 8]
    assert np.flatnonzero(data.reward).tolist() == [1, 8]
    ended = brought(path, tmp_path / "c.hdf5", "--end-is-terminal", "--reward", "last")
    assert np.flatnonzero(ended.is_terminal).tolist() == [1, 6, 9]


@pytest.mark.parametrize("without", [["rewards"], ["dones"], []])
def test_no_success(tmp_path, without, capsys):
    """Ends alone, rewards alone and dense rewards don't say it."""
    path = write(tmp_path / "a.hdf5", scale=0.01, sparse=bool(without))
    with h5py.File(path, "a") as file:
        for name in ROWS:
            for key in without:
                del file[f"data/{name}/{key}"]
    command = ["convert", str(path), str(tmp_path / "b.hdf5"), "--reward", "success"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "nothing in it says which actions led to success" in said
    assert len(said.splitlines()) == 1 and not (tmp_path / "b.hdf5").exists()


def test_no_rewards(tmp_path, capsys):
    path = write(tmp_path / "a.hdf5", scale=0.01)
    with h5py.File(path, "a") as file:
        for name in ROWS:
            del file[f"data/{name}/rewards"]
    assert main(["convert", str(path), str(tmp_path / "b.hdf5")]) == 2
    assert "holds no rewards: --reward last gives 1 for" in capsys.readouterr().err
    data = brought(path, tmp_path / "b.hdf5", "--reward", "last")
    assert np.flatnonzero(data.reward).tolist() == [3, 8, 11]


def test_no_observations(tmp_path, capsys):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data/demo_1/actions"] = np.zeros((3, 2))
        file["data/demo_1/states"] = np.zeros((3, 5))
    assert main(["convert", str(tmp_path / "a.hdf5"), str(tmp_path / "b.hdf5")]) == 2
    assert "extract observations with robomimic's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]


def test_bad_demonstrations(tmp_path, capsys):
    demos = {**ROWS, "demo_11": 3}
    path = write(tmp_path / "a.hdf5", demos=demos, scale=0.01)
    with h5py.File(path, "a") as file:
        file["data/demo_2/rewards"][1] = np.nan
        del file["data/demo_0/next_obs/object"]
        file["data/demo_0/next_obs/object"] = np.zeros((3, 5))
        del file["data/demo_10/obs/object"]
        file["data/demo_10/obs/object"] = h5py.ExternalLink("other.hdf5", "x")
    command = ["convert", str(path), str(tmp_path / "b.hdf5")]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert "3 of 4 episodes cannot be used (--skip-bad goes on without)" in said[0]
    assert said[1:3] == [
        "  demo_0: next_obs: vector: of another shape than obs",
        "  demo_2: reward: not finite at row 1",
    ]
    assert said[3] == "  demo_10: object: is a link, expected the array itself"
    assert len(said) == 4 and not (tmp_path / "b.hdf5").exists()
    assert main([*command, "--skip-bad"]) == 0
    assert "3 of 4 episodes cannot be used, and are left" in capsys.readouterr().out
    data = open_states(tmp_path / "b.hdf5", log=quiet)
    assert data.offsets.tolist() == [0, 4]


def test_several_images(tmp_path, capsys):
    path = write(tmp_path / "a.hdf5", scale=0.01, demos={"demo_0": 3})
    with h5py.File(path, "a") as file:
        for group in ("obs", "next_obs"):
            file[f"data/demo_0/{group}/hand_image"] = np.full((3, 4, 4, 3), 7, "u1")
    command = ["convert", str(path), str(tmp_path / "b")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "choose with --image-key, of front_image, hand_image" in said
    data = brought(path, tmp_path / "b", "--image-key", "hand_image")
    assert (data.image == 7).all() and data.spec.source_image_size == 4
