"""Minari's datasets, written and read by the library itself."""

import sys

import h5py
import numpy as np
import pytest
from states.layouts import assert_in_order, transitions

from vd4rl_loader import DataError
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

minari = pytest.importorskip("minari")
spaces = pytest.importorskip("gymnasium").spaces
# The library's own advice to authors of datasets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def box(*shape, high=np.inf):
    return spaces.Box(-high, high, shape, np.float32)


VECTORS, ACTIONS = box(4), box(2, high=1)
GOALS = spaces.Dict(observation=box(4), achieved_goal=box(2), desired_goal=box(2))


def episodes(seed=0):
    """Two episodes: one that ends after three steps, one that is cut after five."""
    rng = np.random.default_rng(seed)
    return [
        {
            "observations": rng.normal(size=(steps + 1, 4)).astype(np.float32),
            "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            "rewards": rng.normal(size=steps),
            "terminations": np.arange(1, steps + 1) == (steps if terminal else 0),
            "truncations": np.arange(1, steps + 1) == (0 if terminal else steps),
        }
        for steps, terminal in ((3, True), (5, False))
    ]


def write(parts, observations=VECTORS, actions=ACTIONS):
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=i, **{k: v.tolist() if k == "rewards" else v for k, v in part.items()}
        )
        for i, part in enumerate(parts)
    ]
    minari.create_dataset_from_buffers(
        "made/here-v0",
        buffers,
        observation_space=observations,
        action_space=actions,
        author="a test",
        author_email="a@b.c",
        code_permalink="none",
        algorithm_name="none",
    )


def opened():
    lines = []
    dataset = open_states("minari:made/here-v0", log=lines.append)
    assert_in_order(dataset)
    return dataset, lines


def test_all_transitions_are_kept(root):
    parts = episodes()
    write(parts)
    dataset, lines = opened()
    assert dataset.offsets.tolist() == [0, 4, 10]
    states = np.concatenate([part["observations"] for part in parts])
    np.testing.assert_array_equal(dataset.vector, states)
    found = [np.stack(column) for column in zip(*transitions(dataset), strict=True)]
    for column, name in zip(found[1:3], ("actions", "rewards"), strict=True):
        stored = np.concatenate([part[name] for part in parts]).astype(np.float32)
        np.testing.assert_array_equal(column, stored)
    # Time that ran out is no terminal.
    assert np.flatnonzero(dataset.is_terminal).tolist() == [3]
    assert dataset.spec.format == "minari"
    assert dataset.source_bytes == sum(
        f.stat().st_size for f in root.rglob("here-v0/data/*")
    )
    assert lines == ["minari:made/here-v0: 8 transitions in 2 episodes"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_mazes_xy_stands_in_front(inside):
    parts = episodes()
    for part in parts:
        state = part["observations"]
        place = state[:, :2] if inside else np.full((len(state), 2), 7, np.float32)
        part["observations"] = {
            "observation": state,
            "achieved_goal": place,
            "desired_goal": np.zeros_like(place),
        }
    write(parts, GOALS)
    dataset, _ = opened()
    assert dataset.spec.vector_size == (4 if inside else 6)
    expected = np.concatenate([p["observations"]["observation"] for p in parts])
    np.testing.assert_array_equal(dataset.vector[:, -4:], expected)
    if not inside:
        assert (dataset.vector[:, :2] == 7).all()


def error():
    with pytest.raises(DataError) as caught:
        open_states("minari:made/here-v0", log=lambda line: None)
    text = str(caught.value)
    assert text.startswith("minari:made/here-v0: ")
    return text.removeprefix("minari:made/here-v0: ").rpartition("\n  ")[2]


def changed(key, value):
    parts = episodes()
    parts[1][key] = value(parts[1][key])
    return parts


def at(index, value):
    def change(array):
        array[index] = value
        return array

    return change


DEFECTS = {
    "nan": (
        changed("observations", at((4, 2), np.nan)),
        "episode 1: observations: not finite at row 4",
    ),
    "action outside": (
        changed("actions", at((0, 1), 2)),
        "episode 1: actions: 2 at row 0, outside [-1, 1]",
    ),
    "an observation less": (
        changed("observations", lambda states: states[1:]),
        "episode 1: observations: 5 rows where actions has 5",
    ),
    "a reward less": (
        changed("rewards", lambda rewards: rewards[1:]),
        "episode 1: rewards: 4 rows where actions has 5",
    ),
    "images": (
        changed("observations", lambda states: states[..., None]),
        "episode 1: observations: shape (6, 4, 1), expected [N, D]",
    ),
    "other sizes": (
        changed("observations", lambda states: states[:, :3]),
        "observations: 3 and 4 numbers per row",
    ),
    "no episodes": ([], "holds no episodes"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects(name):
    parts, expected = DEFECTS[name]
    write(parts)
    assert error() == expected


def test_a_bad_episode_may_be_left_out():
    write(changed("rewards", at(2, np.nan)))
    assert error() == "episode 1: rewards: not finite at row 2"
    lines = []
    dataset = open_states("minari:made/here-v0", skip_bad=True, log=lines.append)
    assert dataset.statistics()["steps"] == 3
    assert "1 of 2 episodes left out:\n  episode 1: rewards: not fin" in lines[0]


def test_other_spaces():
    parts = episodes()
    for part in parts:
        part["actions"] = np.zeros(len(part["actions"]), np.int64)
    write(parts, actions=spaces.Discrete(2))
    said = error()
    assert said.startswith("actions: discrete, or of several parts, Discrete(2): ")


def test_other_dictionaries():
    parts = episodes()
    for part in parts:
        part["observations"] = {"joints": part["observations"]}
    write(parts, spaces.Dict(joints=box(4)))
    assert error() == (
        "observations: a dictionary of joints, not vectors: python -m vd4rl_loader "
        "info minari:made/here-v0 says how to convert it"
    )


@pytest.mark.parametrize("high", [2, np.inf])
def test_actions_beyond_one_are_converted(tmp_path, high, capsys):
    """As `info` says, to the bounds of the action space or to what occurs."""
    parts = episodes()
    for part in parts:
        part["actions"][0] = [1.5, -0.5]
    write(parts, actions=box(2, high=high))
    said = error()
    assert "[-1, 1]: python -m vd4rl_loader info minari:made" in said
    assert main(["info", "minari:made/here-v0"]) == 0
    made = str(tmp_path / "a.hdf5")
    assert "convert minari:made/here-v0 here-v0-con" in capsys.readouterr().out
    assert main(["convert", "minari:made/here-v0", made]) == 0
    first = open_states(made).action[1]
    np.testing.assert_allclose(first, [0.75, -0.25] if high == 2 else [1, -0.5], 1e-6)
    bounds = ["--action-low", "-3", "--action-high", "3"]
    assert (
        main(["convert", "minari:made/here-v0", str(tmp_path / "b.hdf5"), *bounds]) == 0
    )
    np.testing.assert_allclose(open_states(tmp_path / "b.hdf5").action[1, 0], 0.5)


def test_options_for_what_is_read_as_it_is(tmp_path, capsys):
    write(episodes())
    command = ["convert", "minari:made/here-v0", str(tmp_path / "a.hdf5")]
    bounds = ["--action-low", "-3", "--action-high", "3"]
    assert main([*command, *bounds]) == 2
    assert "to convert it all the same, add --from minari" in capsys.readouterr().err
    assert main([*command, *bounds, "--from", "minari"]) == 0


def test_damaged_files(root):
    write(episodes())
    data = root / "made/here-v0/data"
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
    assert error().startswith("cannot be read, truncated or damaged (")
    (data / "main_data.hdf5").write_bytes(b"")
    assert error().startswith("cannot be read, truncated or damaged (")
    (data / "metadata.json").write_text("{")
    assert error().startswith("cannot be read, truncated or damaged (")


def test_no_such_dataset():
    assert error() == "no such dataset on this machine: minari download made/here-v0"


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    assert error() == "reading it needs minari: pip install 'dreamer-leq[minari]'"
