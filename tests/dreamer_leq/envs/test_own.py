"""Environments of a user's own: what is made of them, and what is refused."""

import re
import sys

import gymnasium
import numpy as np
import own_environments
import pytest

import dreamer_leq as dl
from dreamer_leq.envs import own
from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.envs.vector import VectorEnv
from vd4rl_loader.errors import DataError
from vd4rl_loader.resize import resize_images

LINE = {"suite": "own", "make": "own_environments:make"}
BOTH = LINE | {"make": "own_environments:both"}


def made(about, seed=0, image=False):
    return environment_factory(about, seed, image)()


def test_actions_are_scaled_to_the_bounds_and_clipped():
    env = made(LINE)
    for action, change in {-1: -1, 0: 1, 1: 3, 7: 3}.items():
        start = env.reset()["vector"][0]
        after = env.step(np.float32([action]))["vector"][0]
        assert after - start == pytest.approx(change, abs=1e-5)


def test_a_time_limit_is_no_end_of_the_task():
    env = made(LINE)
    env.reset()
    entries = [env.step(np.float32([-0.5])) for _ in range(6)]
    assert [bool(e["is_last"]) for e in entries] == [False] * 5 + [True]
    assert not any(e["is_terminal"] for e in entries)
    env.reset()
    entries = [env.step(np.float32([1])) for _ in range(2)]
    assert entries[-1]["is_terminal"] and entries[-1]["is_last"]
    assert [e["is_success"] for e in entries] == [entries[0]["vector"][0] > 4, 1]
    with pytest.raises(RuntimeError, match="the episode is over"):
        env.step(np.float32([1]))


def test_a_limit_of_the_users_cuts_off_what_has_none():
    env = made(LINE | {"make": "own_environments:endless", "time_limit": 2})
    env.reset()
    ends = [env.step(np.float32([-0.5])) for _ in range(2)]
    assert [bool(e["is_last"]) for e in ends] == [False, True]
    assert not ends[1]["is_terminal"]


def test_numbers_do_not_depend_on_who_shares_the_process():
    """The state's second number is drawn from NumPy's global generator."""
    alone = [made(LINE, seed) for seed in (3, 4)]
    expected = [
        [e.reset()["vector"], e.step(np.zeros(1, np.float32))["vector"]] for e in alone
    ]
    together = [environment_factory(LINE, seed) for seed in (3, 4)]
    with VectorEnv(together, workers=1) as envs:
        seen = [envs.reset()["vector"], envs.step(np.zeros((2, 1)))["vector"]]
    np.testing.assert_array_equal(np.swapaxes(seen, 0, 1), expected)
    assert (expected[0][0] != expected[1][0]).all()


def test_images_are_shown_in_the_sizes_of_the_data():
    """Together with the floats of a Dict, or alone, as the data have it."""
    sizes = {"vector_size": 2, "action_size": 1, "image_size": 4}
    seen = made(BOTH | sizes | {"source_image_size": 6}).reset()
    own_size = made(BOTH).reset()["image"]
    assert own_size.shape == (8, 8, 3)
    expected = resize_images(resize_images(own_size, 6), 4)
    np.testing.assert_array_equal(seen["image"], expected)
    assert seen["vector"].shape == (2,)
    assert "vector" not in made(BOTH | sizes | {"vector_size": 0}).reset()
    assert "image" not in made(BOTH | sizes | {"image_size": 0}).reset()


def test_vectors_are_filmed_where_the_function_takes_a_render_mode():
    image = made(LINE, image=True).reset()["image"]
    assert image.shape == (192, 192, 3) and not image[0].any()  # 8 x 12, made square
    with pytest.raises(DataError, match="take the argument render_mode"):
        made(LINE | {"make": "own_environments:silent"}, image=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_environments:discrete", "Discrete actions, which can't be trained"),
        ("own_environments:unbounded", "no finite bounds"),
        ("own_environments:grey", "one image [H, W, 3] of uint8"),
        ("own_environments:words", "observation said is Text: expected a Box"),
        ("own_environments:endless", "--eval.time_limit 1000"),
        (
            "own_environments:broken",
            "unexpected keyword argument 'color' (own_environments.py, line",
        ),
        ("own_environments:nothing", "is no function, but a int"),
        ("own_environments:mak", "has no mak: did you mean make?"),
        ("own_environmentz:make", "there is no module own_environmentz in "),
        ("line", "nobody registered it here: call dl.register_env('line', …)"),
        ("", "the run has no environment: give its environment with --env"),
    ],
)
def test_what_is_refused_says_what_to_do(name, said):
    with pytest.raises(DataError, match=re.escape(said)) as refusal:
        made(LINE | {"make": name})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"action_size": 2}, "has actions of 1 numbers, but the data of 2"),
        ({"vector_size": 3}, "has vectors of 2 numbers, but the data of 3"),
        ({"image_size": 4}, "the data have images, its observations none"),
    ],
)
def test_another_environment_than_that_of_the_data_is_refused(sizes, said):
    with pytest.raises(DataError, match=said):
        made(LINE | sizes)


@pytest.mark.parametrize(
    ("name", "seen", "said"),
    [
        ("make", np.zeros(3), "an observation has shape [3], but observation_space"),
        ("make", np.array(["a", "b"]), "is <U1, but observation_space says numbers"),
        ("both", {"camera": np.zeros((8, 8, 3), np.uint8)}, "observation z is missing"),
        ("both", np.zeros(2), "observation z is missing"),
        (
            "both",
            {"z": np.zeros(2), "camera": np.zeros((4, 4, 3), np.uint8)},
            "observation camera has shape [4, 4, 3], but observation_space says",
        ),
        ("both", {"z": np.zeros(2), "camera": np.zeros((8, 8, 3))}, "is float64"),
    ],
)
@pytest.mark.parametrize("at", ["reset", "step"])
def test_observations_unlike_their_space_are_refused(name, seen, said, at, monkeypatch):
    env = made(LINE | {"make": f"own_environments:{name}"})
    if at == "step":
        env.reset()
    monkeypatch.setattr(own_environments.Line, "seen", lambda self: seen)
    with pytest.raises(RuntimeError, match=re.escape(said)):
        env.reset() if at == "reset" else env.step(np.zeros(1))


def test_modules_are_found_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "garden").mkdir()
    text = "from own_environments import make\nclass Maker:\n    make = make\n"
    (tmp_path / "garden/line.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with dl.make_env("garden.line:Maker.make", seed=0) as env:
        assert env.reset()["vector"].shape == (2,)


def test_what_runs_away_and_what_breaks_are_told_apart(monkeypatch):
    env = made(LINE)
    env.reset()

    def step(self, action):
        raise KeyError("left")

    monkeypatch.setattr(own_environments.Line, "step", step)
    with pytest.raises(RuntimeError, match=r"KeyError: 'left' \(test_own.py, line"):
        env.step(np.zeros(1))


def test_a_registered_function_is_called_in_workers_too(monkeypatch):
    """One that no module has, as in a notebook."""
    monkeypatch.setattr(own, "_registered", {})
    limit = 3
    dl.register_env(
        "short",
        lambda seed: gymnasium.wrappers.TimeLimit(own_environments.Line(), limit),
    )
    factories = [environment_factory(LINE | {"make": "short"}, seed=0)]
    with VectorEnv(factories, workers=1) as envs:
        envs.reset()
        ends = [envs.step(np.full((1, 1), -0.5))["is_last"][0] for _ in range(3)]
    assert ends == [False, False, True]
    with dl.make_env("short", seed=0) as env:
        assert env.reset()["is_first"]
    with pytest.raises(DataError, match="give a name and a function"):
        dl.register_env("a:b", own_environments.make)
