"""PointMaze as an environment: its dicts, ends and pictures."""

import numpy as np
import pytest

from dreamer_leq.envs.pointmaze import PointMaze
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.pointmaze import PointMaze as Simulation


def test_observations_have_the_types_of_the_state_environments():
    env = PointMaze("medium", seed=0)
    first, second = env.reset(), env.step(np.array([0.5, 0.1]))
    for seen in (first, second):
        assert seen["vector"].shape == (2,) and seen["vector"].dtype == np.float32
        assert seen["reward"].dtype == np.float32 and seen["reward"] == 0
        for key in ("is_first", "is_last", "is_terminal"):
            assert seen[key].dtype == bool
        assert "image" not in seen
    assert first["is_first"] and not second["is_first"]
    np.testing.assert_allclose(second["vector"] - first["vector"], [0.25, 0.05], 1e-4)


def test_steps_are_the_simulations():
    env, simulation = PointMaze("large", seed=4), Simulation("large", seed=4)
    rng = np.random.default_rng(0)
    for _ in range(2):
        np.testing.assert_array_equal(env.reset()["vector"], simulation.reset())
        for _ in range(30):
            action = rng.uniform(-1, 1, 2).astype(np.float32)
            expected, *_ = simulation.step(action)
            np.testing.assert_array_equal(env.step(action)["vector"], expected)


def test_the_goal_is_a_rewarded_end():
    env = PointMaze("umaze", seed=0)
    y = env.reset()["vector"][1]
    centre = np.array([0, -y / 0.5], np.float32)  # into the middle of the corridor
    actions = [np.clip(centre, -1, 1), np.clip(centre - np.clip(centre, -1, 1), -1, 1)]
    xy = [env.step(action) for action in actions][-1]["vector"]
    steps = []
    for target in ((8, 0), (8, 8), (0, 8)):
        while np.abs(target - xy).max() > 0.3 and not (steps and steps[-1]["is_last"]):
            steps.append(env.step((target - xy) / 0.5))
            xy = steps[-1]["vector"]
    assert [step["reward"] for step in steps] == [0] * (len(steps) - 1) + [1]
    assert steps[-1]["is_last"] and steps[-1]["is_terminal"]
    assert not any(step["is_last"] or step["is_terminal"] for step in steps[:-1])
    assert np.linalg.norm(steps[-1]["vector"] - [0, 8]) <= 0.5
    with pytest.raises(RuntimeError, match="over"):
        env.step(np.zeros(2))
    assert env.reset()["is_first"]


def test_the_clock_ends_an_episode_without_a_terminal():
    env = PointMaze("umaze", seed=0)
    env.reset()
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(700)]
    assert [step["is_last"] for step in steps].index(True) == 699
    assert not steps[-1]["is_terminal"] and steps[-1]["reward"] == 0


def test_an_unknown_maze_is_the_users_error():
    with pytest.raises(DataError, match="medium"):
        PointMaze("middle", seed=0)


def test_pictures_show_the_disc_and_the_goal_where_they_are():
    env = PointMaze("medium", seed=0, image=True)
    env.reset()
    for _ in range(4):
        seen = env.step(np.array([1, 0]))
    env.close()
    image = seen["image"].astype(int)
    assert image.shape == (192, 192, 3) and seen["image"].dtype == np.uint8
    red, green, blue = np.moveaxis(image, -1, 0)
    for mask, xy in ((green > red + 60, [20, 20]), (red > blue + 60, seen["vector"])):
        rows, columns = np.nonzero(mask)
        pixel = np.array([columns.mean() + 0.5, 192 - rows.mean() - 0.5])
        at = (pixel - 96) * 28 / 192 + 10
        np.testing.assert_allclose(at, xy, atol=0.3)
        assert mask.sum() > 100
