"""Environments from Python, one at a time."""

import numpy as np
import pytest

import dreamer_leq as dl


@pytest.fixture
def maze():
    with dl.make_env("pointmaze-umaze", seed=3) as env:
        yield env


def test_a_seed_repeats_its_episodes(maze):
    first = maze.reset()
    assert first["is_first"] and not first["is_last"] and first["reward"] == 0
    assert first["vector"].shape == (2,) and maze.action_size == 2
    entry = maze.step([1, 0])
    with dl.make_env("pointmaze-umaze", seed=3) as again:
        np.testing.assert_array_equal(again.reset()["vector"], first["vector"])
        np.testing.assert_array_equal(again.step([1, 0])["vector"], entry["vector"])
    with dl.make_env("pointmaze-umaze", seed=4) as other:
        assert (other.reset()["vector"] != first["vector"]).any()


def test_an_episode_ends_once(maze):
    entry, steps = maze.reset(), 0
    while not entry["is_last"]:
        entry, steps = maze.step([0, 0]), steps + 1
    assert steps > 100
    with pytest.raises(dl.UserError, match=r"episode is over.*call reset\(\)"):
        maze.step([0, 0])
    assert maze.reset()["is_first"]
    maze.step([0, 0])


def test_before_the_first_reset_there_is_none(maze):
    with pytest.raises(dl.UserError, match="has not begun"):
        maze.step([0, 0])


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ([0, 0, 0], r"action: shape \(3,\), expected \(..., 2\)"),
        ([[0, 0]], r"action: shape \(1, 2\), expected \(2,\)"),
        ([0, 1.1], r"action: 1.1 lies outside of \[-1, 1\]"),
        ([0, np.nan], "action: NaN or infinite"),
        ("left", "action: not an array of numbers"),
    ],
)
def test_actions_that_are_none(maze, action, said):
    maze.reset()
    with pytest.raises(dl.UserError, match=said):
        maze.step(action)


@pytest.mark.parametrize("task", ["walker", "hopper-medum", "pointmaze-tiny", ""])
def test_tasks_that_there_are_not(task):
    with pytest.raises(
        dl.UserError, match=r"task '.*': expected a task such as walker"
    ):
        dl.make_env(task, seed=0)


def test_a_seed_is_a_whole_number():
    for seed in (-1, 0.5, None):
        with pytest.raises(dl.UserError, match=r"seed is .*: give a whole number"):
            dl.make_env("pointmaze-umaze", seed=seed)
