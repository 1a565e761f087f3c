"""Locomotion environments against gymnasium's own, and against D4RL's sizes."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest

from dreamer_leq.envs.locomotion import Locomotion

SIZES = {"Hopper-v4": (11, 3), "Walker2d-v4": (17, 6), "HalfCheetah-v4": (17, 6)}


@pytest.fixture
def reference(monkeypatch, tmp_path):
    """Gymnasium's own environment of an id."""
    monkeypatch.chdir(tmp_path)  # HalfCheetah's leaves a log file

    def make(id):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(id, disable_env_checker=True)

    return make


@pytest.mark.parametrize("id", SIZES)
def test_steps_and_resets_are_gymnasiums_in_float32(id, reference):
    env, theirs = Locomotion(id, seed=3), reference(id)
    size, action_size = SIZES[id]
    assert env.action_size == action_size
    rng = np.random.default_rng(0)
    for episode in range(2):
        vector, _ = theirs.reset(seed=3 if episode == 0 else None)
        seen = env.reset()
        assert seen["vector"].shape == (size,) and seen["vector"].dtype == np.float32
        assert seen["is_first"] and seen["reward"] == 0 and not seen["is_last"]
        np.testing.assert_array_equal(seen["vector"], vector.astype(np.float32))
        for _ in range(5):
            action = rng.uniform(-1, 1, action_size).astype(np.float32)
            vector, reward, _, _, _ = theirs.step(action.astype(np.float64))
            seen = env.step(action)
            np.testing.assert_array_equal(seen["vector"], vector.astype(np.float32))
            assert seen["reward"] == np.float32(reward)
            assert seen["reward"].dtype == np.float32 and not seen["is_first"]
    env.close()


@pytest.mark.parametrize("id", SIZES)
def test_x_position_is_one_more_number_in_front(id):
    plain, with_x = Locomotion(id, 0), Locomotion(id, 0, x_position=True)
    plain.reset(), with_x.reset()
    x_before = with_x._env.unwrapped.data.qpos[0]
    action = np.full(plain.action_size, 0.3)
    short, long = plain.step(action)["vector"], with_x.step(action)["vector"]
    assert len(long) == len(short) + 1
    np.testing.assert_array_equal(long[1:], short)
    assert long[0] == np.float32(with_x._env.unwrapped.data.qpos[0]) != x_before


def test_actions_are_clipped_and_cost_no_more():
    wild, tame = Locomotion("HalfCheetah-v4", 1), Locomotion("HalfCheetah-v4", 1)
    wild.reset(), tame.reset()
    beyond = wild.step(np.array([5, -5, 1.5, 0, -2, 1], np.float32))
    within = tame.step(np.array([1, -1, 1, 0, -1, 1], np.float32))
    np.testing.assert_array_equal(beyond["vector"], within["vector"])
    assert beyond["reward"] == within["reward"]


def test_seeds_decide_the_initial_states():
    first, same, other = (Locomotion("Hopper-v4", seed) for seed in (0, 0, 1))
    start = first.reset()["vector"]
    np.testing.assert_array_equal(same.reset()["vector"], start)
    assert (other.reset()["vector"] != start).any()
    again = first.reset()["vector"]
    assert (again != start).any()
    np.testing.assert_array_equal(same.reset()["vector"], again)


def test_a_fall_is_terminal_and_ends_the_episode():
    env = Locomotion("Hopper-v4", 0)
    with pytest.raises(RuntimeError, match=r"reset\(\)"):
        env.step(np.zeros(3))
    env.reset()
    steps = [env.step(np.ones(3))]
    while not steps[-1]["is_last"]:
        steps.append(env.step(np.ones(3)))
    assert len(steps) < 200 and steps[-1]["is_terminal"]
    assert not any(step["is_terminal"] for step in steps[:-1])
    with pytest.raises(RuntimeError, match="over"):
        env.step(np.zeros(3))
    assert env.reset()["is_first"]


def test_the_clock_ends_an_episode_without_a_terminal():
    env = Locomotion("HalfCheetah-v4", 0)
    env.reset()
    ends = [env.step(np.zeros(6)) for _ in range(1000)]
    assert [step["is_last"] for step in ends].index(True) == 999
    assert not ends[-1]["is_terminal"]


def test_pictures_follow_the_body_and_do_not_change_its_path():
    filmed, plain = Locomotion("Hopper-v4", 2, image=True), Locomotion("Hopper-v4", 2)
    filmed.reset(), plain.reset()
    for _ in range(8):
        seen, expected = filmed.step(np.ones(3)), plain.step(np.ones(3))
        np.testing.assert_array_equal(seen["vector"], expected["vector"])
    assert "image" not in expected
    before = seen["image"]
    assert before.shape == (192, 192, 3) and before.dtype == np.uint8
    filmed._env.unwrapped.data.qpos[0] += 40  # 40 m on, still in the middle
    after = filmed._image()
    filmed.close()
    orange = [
        image[..., 0] > image[..., 2].astype(int) + 40 for image in (before, after)
    ]
    assert 0.02 < orange[0].mean() < 0.1
    assert (orange[0] == orange[1]).mean() > 0.99


def test_making_one_says_nothing_and_leaves_no_file(tmp_path):
    make = (
        "from dreamer_leq.envs.locomotion import Locomotion\n"
        "Locomotion('HalfCheetah-v4', 0).reset()\n"
        "import sys; assert 'jax' not in sys.modules"
    )
    environment = {
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "default::DeprecationWarning", "-c", make],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "out of date" not in done.stderr and "settotalmass" not in done.stderr
    assert not list(tmp_path.iterdir())
