"""Episodes from Python: what is written is what is read, and each refusal is one line.

Rewards are a function of the state before and of the action, r = 10 s + a, so that any
shift of one against the other is seen.
"""

import json

import numpy as np
import pytest

from vd4rl_loader import DataError, open_dataset, write_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

LENGTHS = (4, 3)  # transitions


def departure(number, kind="vector", last=True):
    """States count in twentieths; with `last` there is one more than actions."""
    steps = LENGTHS[number]
    state = number * 5 + np.arange(steps + 1)
    action = np.linspace(-1, 1, steps) * (number + 1) / 2
    following = 0 if last else 1  # a last action, which leads nowhere
    action = np.append(action, [0.25] * following)
    observed = {
        "vector": np.stack([state, -state], 1) / 20,
        "image": np.broadcast_to(
            np.uint8(state)[:, None, None, None], (steps + 1, 8, 8, 3)
        ),
    }
    return {
        kind: observed[kind],
        "action": action[:, None],
        "reward": 10 * state[: len(action)] / 20 + action,
        "terminated": number == 1 and last,
        "truncated": np.zeros(len(action), bool),
    }


def arrival(number, kind="vector"):
    given = departure(number, kind)
    action = np.concatenate([[[0.0]], given["action"]])
    action[0] = np.nan if number else 0  # TD-MPC2's way to say that there is none
    is_terminal = np.zeros(len(action), bool)
    is_terminal[-1] = number == 1
    reward = [0.0, *given["reward"]]
    return {
        **{kind: given[kind], "action": action, "reward": reward},
        "is_terminal": is_terminal,
        "is_first": np.arange(len(action)) == 0,
        "is_last": np.arange(len(action)) == len(action) - 1,
        "discount": "is no business of ours",
    }


def opened(path, kind):
    if kind == "vector":
        return open_states(path, log=lambda line: None)
    return open_dataset(path, image_size=8, min_length=2, log=lambda line: None)


def place(tmp_path, kind):
    return tmp_path / ("mine" if kind == "image" else "mine.hdf5")


GIVEN = {
    "one more observation than actions": (departure, "departure"),
    "what led there": (arrival, "arrival"),
}


@pytest.mark.parametrize("kind", ["image", "vector"])
@pytest.mark.parametrize("given", GIVEN)
def test_what_is_written_is_read(tmp_path, kind, given):
    make, alignment = GIVEN[given]
    episodes = (make(number, kind) for number in range(2))
    path = write_dataset(place(tmp_path, kind), episodes, alignment=alignment)
    data = opened(path, kind)
    assert data.offsets.tolist() == [0, 5, 9]
    assert np.flatnonzero(data.is_first).tolist() == [0, 5]
    assert np.flatnonzero(data.is_last).tolist() == [4, 8]
    assert np.flatnonzero(data.is_terminal).tolist() == [8]
    observed = np.asarray(getattr(data, kind)).reshape(9, -1)[:, 0]
    state = observed / 20 if kind == "image" else observed
    np.testing.assert_allclose(state * 20, range(9), atol=1e-5)
    begun, came = ~data.is_last, ~data.is_first
    known = 10 * state[begun] + data.action[came][:, 0]
    np.testing.assert_allclose(data.reward[came], known, atol=1e-5)
    assert not data.action[data.is_first].any() and not data.reward[~came].any()
    assert data.action.min() == -1 and data.action.max() == 1


@pytest.mark.parametrize("kind", ["image", "vector"])
def test_a_last_action_leads_nowhere(tmp_path, kind):
    episodes = [departure(number, kind, last=False) for number in range(2)]
    path = write_dataset(place(tmp_path, kind), episodes, alignment="departure")
    whole = [departure(number, kind) for number in range(2)]
    more = write_dataset(place(tmp_path / "more", kind), whole, alignment="departure")
    for index in range(2):
        one, other = (opened(each, kind).episode(index) for each in (path, more))
        assert not one.pop("is_terminal").any()
        other.pop("is_terminal")
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_what_was_read_can_be_written(tmp_path):
    episodes = [departure(number) for number in range(2)]
    first = opened(
        write_dataset(tmp_path / "a.hdf5", episodes, alignment="departure"), "vector"
    )
    again = [first.episode(number) for number in range(2)]
    second = opened(
        write_dataset(tmp_path / "b.hdf5", again, alignment="arrival"), "vector"
    )
    for number in range(2):
        for name, array in second.episode(number).items():
            np.testing.assert_array_equal(array, again[number][name])


def test_leaps_and_joined_episodes_are_the_users_own(tmp_path):
    """Where files are distrusted, this would be cut, or joined."""
    vector = np.r_[np.linspace(0, 1, 50), 90, np.linspace(1, 0, 50)][:, None]
    action, reward = np.full((100, 1), 0.5), np.ones(100)
    one = {"vector": vector, "action": action, "reward": reward, "terminated": False}
    path = write_dataset(tmp_path / "a.hdf5", [one, one], alignment="departure")
    assert opened(path, "vector").offsets.tolist() == [0, 101, 202]


def test_what_images_are_of_is_kept(tmp_path, capsys):
    path = tmp_path / "walker_walk" / "mine"
    episodes = [departure(number, "image") for number in range(2)]
    about = {"task": "cheetah_run", "level": "mine", "action_repeat": 4}
    with pytest.raises(DataError, match="actions of 1 numbers, but cheetah_run has 6"):
        opened(write_dataset(path, episodes, alignment="departure", **about), "image")
    about["task"] = "my_arm"
    path = tmp_path / "arm"
    write_dataset(path, episodes, alignment="departure", **about)
    spec = opened(path, "image").spec
    assert (spec.task, spec.level, spec.action_repeat) == ("my_arm", "mine", 4)
    assert main(["info", str(path)]) == 0
    assert "my_arm/mine" in capsys.readouterr().out


STYLE = {"name": "mine", "size": 8, "camera": 1}
STYLE |= {"shadows": 0, "reflections": False, "antialias": 0}


def test_how_images_were_rendered_is_told_as_their_file_has_it(tmp_path):
    path = tmp_path / "new"
    write_dataset(path, [arrival(0, "image")], alignment="arrival", render=STYLE)
    assert json.loads((path / "dataset.json").read_text())["render"] == STYLE


@pytest.mark.parametrize(
    "told",
    [
        {"render": {"name": "mine"}},
        {"render": STYLE | {"camera": "front"}},
        {"render": "fast"},
        {"task": 3},
        {"level": ["mine"]},
        {"action_repeat": 2.5},
        {"action_repeat": 0},
    ],
)
def test_what_its_reader_would_refuse_is_not_written(tmp_path, told):
    [name] = told
    with pytest.raises(DataError, match=name):
        write_dataset(tmp_path / "new", [arrival(0)], alignment="arrival", **told)
    assert not any(tmp_path.iterdir())


def changed(kind="vector", make=departure, without=(), number=1, **fields):
    episode = {**make(number, kind), **fields}
    return {name: value for name, value in episode.items() if name not in without}


IMAGE = departure(1, "image")["image"]
VECTOR, ACTION = departure(1)["vector"], departure(1)["action"]
REFUSED = {
    "no dictionary": ([1], r"is a list, expected a dictionary"),
    "another project's names": (
        {"observations": VECTOR, "actions": ACTION},
        r"image or vector, action, reward, terminated .*missing \(it holds observatio",
    ),
    "nobody says how it ended": (
        changed(without=["terminated"]),
        r"^episode 1: terminated \(True if the task ended it, False if time ran out",
    ),
    "float images": (
        changed("image", image=IMAGE / 255),
        r"image: dtype float64, expected uint8: from 0 to 1, they need np.uint8\(255",
    ),
    "channels first": (
        changed("image", image=np.zeros((4, 3, 8, 8), np.uint8)),
        r"image: shape .* puts channels last",
    ),
    "grey": (changed("image", image=IMAGE[..., :1]), r"of grey images, np\.repeat"),
    "stacked": (
        changed("image", image=np.zeros((4, 8, 8, 9), np.uint8)),
        r"of stacked frames give one",
    ),
    "not square": (changed("image", image=IMAGE[:, 1:]), r"7×8 pixels, expected squ"),
    "another size": (
        changed("image", image=IMAGE[:, 1:, 1:]),
        r"image: \(7, 7, 3\) per row, but \(8, 8, 3\) in the episodes before",
    ),
    "an image among vectors": (None, "holds image, but the episodes before vector"),
    "actions in another scale": (
        changed(action=ACTION * 2),
        r"action: -2 at row 0, outside \[-1, 1\]: scale them, 2 \* \(action - low\)",
    ),
    "discrete actions": (
        changed(action=np.ones((3, 1), int)),
        "action: dtype int64, expected a float type: discrete actions cannot be used",
    ),
    "actions without an axis": (changed(action=ACTION[:, 0]), r"expected \[T, A\]"),
    "a state that is not finite": (
        changed(vector=np.where([[0], [1], [0], [0]], np.inf, VECTOR)),
        "vector: not finite at row 1",
    ),
    "ragged": (changed(vector=[[1.0, 2.0], [3.0]]), "vector: makes no array"),
    "rewards of another length": (
        changed(reward=np.ones(4)),
        "reward: 4 rows where action has 3",
    ),
    "states of another length": (
        changed(vector=np.ones((6, 2))),
        "vector: 6 rows where action has 3, expected as many or one more",
    ),
    "numbers as flags": (changed(terminated=1), "terminated: dtype int64, expected b"),
    "flags of another length": (
        changed(terminated=np.zeros(4, bool)),
        r"terminated: shape \(4,\), expected one bool or \[3\]",
    ),
    "two episodes in one": (
        changed(truncated=np.array([False, True, False])),
        "truncated: set at row 1: make an episode of each part",
    ),
    "an end that nobody saw": (
        changed(vector=VECTOR[:3]),
        r"terminated: set, but not where the last action led: append the observation",
    ),
    "states of no numbers": (
        changed(vector=np.zeros((4, 0))),
        "vector: no numbers per row",
    ),
    "no transition": (
        changed(vector=VECTOR[:1], action=ACTION[:1], reward=[0.0], truncated=True)
        | {"terminated": False},
        "vector: 1 row, expected at least 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_episode_is_named(tmp_path, case):
    bad, said = REFUSED[case]
    kind = "image" if bad and "image" in bad else "vector"
    bad = departure(1, "image") if bad is None else bad
    path = place(tmp_path, kind)
    with pytest.raises(DataError, match=said) as refusal:
        write_dataset(path, [departure(0, kind), bad], alignment="departure")
    assert str(refusal.value).startswith("episode 1: ")
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_departure_given_as_arrival(tmp_path):
    for last, said in (
        (True, "rows where action has 4: that is the order of depart"),
        (False, "action: not zero in row 0, to which nothing led"),
    ):
        with pytest.raises(DataError, match=said) as refusal:
            given = departure(0, last=last)
            write_dataset(tmp_path / "a.hdf5", [given], alignment="arrival")
        assert "give alignment='departure'" in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_arrival_given_as_departure(tmp_path):
    episodes = [
        {**arrival(n, "image"), "action": np.abs(arrival(0)["action"])} for n in (0, 0)
    ]
    with pytest.raises(DataError, match="give alignment='arrival', or else leave out"):
        write_dataset(tmp_path / "a", episodes, alignment="departure")
    assert not list(tmp_path.iterdir())


def test_rewards_of_last_actions_that_lead_nowhere(tmp_path):
    one = departure(0, last=False)
    one["reward"] = np.arange(5) == 4.0  # success, in a robot's demonstration
    one["reward"] = one["reward"].astype(float)
    with pytest.raises(DataError, match="reward: 2 of 2 belong to the last action of"):
        write_dataset(tmp_path / "a.hdf5", [one, one], alignment="departure")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_taken(tmp_path):
    images, vectors = [departure(0, "image")], [departure(0)]
    (tmp_path / "a.hdf5").write_bytes(b"mine")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes").write_text("mine")
    for path, episodes, said in (
        ("a.hdf5", vectors, "exists already: delete it, or give another name"),
        ("a", images, "is not an empty folder, give a new one"),
        ("b", vectors, r"vectors make one file: end its name in \.hdf5"),
        ("b.npz", images, r"images make a folder: leave out \.npz"),
        ("b", [], "there are no episodes to write"),
    ):
        with pytest.raises(DataError, match=said):
            write_dataset(tmp_path / path, episodes, alignment="departure")
    with pytest.raises(DataError, match="alignment is 'auto': give arrival or depart"):
        write_dataset(tmp_path / "b", images, alignment="auto")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "a.hdf5", "notes"]


# --- vectors beside images


def beside(number):
    """An episode with both; with departure's T + 1 observations."""
    return departure(number) | {"image": departure(number, "image")["image"]}


def test_vectors_are_kept_beside_images(tmp_path):
    path = write_dataset(
        tmp_path / "both", [beside(0), beside(1)], alignment="departure"
    )
    data = opened(path, "image")
    again = opened(path, "image")  # from the cache
    vector = np.concatenate([departure(n)["vector"] for n in (0, 1)])
    np.testing.assert_array_equal(data.vector, np.float32(vector))
    np.testing.assert_array_equal(again.vector, data.vector)
    assert data.vector.dtype == np.float32 and data.spec.vector_size == 2
    np.testing.assert_array_equal(data.image[:, 0, 0, 0], 20 * data.vector[:, 0])
    assert data.episode(1)["vector"].shape == (4, 2)
    alone = data.without_vector()
    assert (alone.vector, alone.spec.vector_size) == (None, 0)
    assert "vector" not in alone.episode(0)


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (np.zeros((3, 2)), "vector: 3 rows where image has 5"),
        (np.full((5, 2), np.nan), "vector: not finite at row 0"),
        (np.zeros(5), "vector: shape"),
    ],
)
def test_vectors_that_can_not_stand_beside_images(tmp_path, vector, said):
    with pytest.raises(DataError, match=said):
        episodes = [beside(0) | {"vector": vector}]
        write_dataset(tmp_path / "both", episodes, alignment="departure")
    assert not list(tmp_path.iterdir())


def test_episodes_of_other_vectors_are_refused(tmp_path):
    wider = beside(1) | {"vector": np.zeros((4, 3))}
    with pytest.raises(DataError, match=r"episode 1: vector: .3,. per row, but .2,."):
        write_dataset(tmp_path / "b", [beside(0), wider], alignment="departure")
    path = write_dataset(tmp_path / "both", [beside(0)], alignment="departure")
    other = write_dataset(tmp_path / "c", [wider], alignment="departure")
    for file in other.glob("*.npz"):
        file.rename(path / f"z{file.name}")
    with pytest.raises(DataError, match="vector: 3 numbers where the first file has 2"):
        opened(path, "image")


def test_shards_have_no_place_for_vectors(tmp_path, capsys):
    path = write_dataset(tmp_path / "both", [beside(0)], alignment="departure")
    assert main(["convert", str(path), str(tmp_path / "shards")]) == 2
    assert "has vectors beside its images" in capsys.readouterr().err
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.float32])
def test_images_of_another_kind_are_answered_with_the_cast(tmp_path, kind):
    image = np.zeros((3, 8, 8, 3), kind)
    steps = {"action": np.zeros((2, 1), np.float32), "reward": np.zeros(2)}
    episode = {"image": image, **steps, "terminated": False}
    with pytest.raises(DataError, match=r"255, .*\.astype\(np\.uint8\)"):
        write_dataset(tmp_path / "data", [episode], alignment="departure")


def test_episodes_that_hold_something_else_are_told_what(tmp_path):
    steps = {"action": np.zeros((2, 1), np.float32), "reward": np.zeros(2)}
    held = {"image": np.zeros((3, 8, 8, 3), np.uint8), "vector": np.zeros((3, 2))}
    alone = [{name: array} for name, array in held.items()]
    for first, then, said in (
        (held, alone[1], "holds vector, but the episodes before image and vector"),
        (alone[0], held, "holds image and vector, but the episodes before image"),
    ):
        episodes = [{**each, **steps, "terminated": False} for each in (first, then)]
        with pytest.raises(DataError, match=f"episode 1: {said}$"):
            write_dataset(tmp_path / "data", episodes, alignment="departure")
