"""OGBench's single tasks as environments: the package's own steps, each by itself.

What draws runs in a process of its own, as in evaluation: the package's contexts of
OpenGL and those that other tests have made end each other. That process is this file.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamer_leq.envs.ogbench import OGBench
from vd4rl_loader.errors import DataError
from vd4rl_loader.resize import resize_images

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("ogbench")

ROOT = Path(__file__).resolve().parents[3]
POINT = "pointmaze-medium-singletask-task1-v0"  # its goal is (20, 20)
VISUAL = "visual-antmaze-medium-singletask-task1-v0"


def actions(size, n=12):
    # beyond the bounds, which the package doesn't keep
    return np.random.default_rng(0).uniform(-1.5, 1.5, (n, size)).astype(np.float32)


def theirs(task, seed):
    """Two episodes of the package's environment with clipped actions."""
    env = gymnasium.make(task, disable_env_checker=True)
    np.random.seed(seed)
    seen = []
    for first in (True, False):
        seen.append(env.reset(seed=seed if first else None)[0])
        for action in actions(env.action_space.shape[0]):
            seen.append(env.step(np.clip(action, -1, 1))[0])
    return np.float32(seen)


@pytest.mark.parametrize(
    "task",
    [POINT, "pointmaze-teleport-singletask-task3-v0", "scene-singletask-task2-v0"],
)
def test_steps_are_the_packages_whatever_others_do(task):
    """Two at once, of one process: neither notices the other, nor do NumPy's dice."""
    envs = [OGBench(task, seed) for seed in (3, 4)]
    np.random.seed(0)
    found = [[], []]
    for _ in range(2):
        for env, seen in zip(envs, found, strict=True):
            seen.append(env.reset())
        for action in actions(envs[0].action_size):
            for env, seen in zip(envs, found, strict=True):
                seen.append(env.step(action))
    assert np.random.rand() == np.random.RandomState(0).rand()
    for seed, seen in zip((3, 4), found, strict=True):
        vectors = np.stack([entry["vector"] for entry in seen])
        np.testing.assert_array_equal(vectors, theirs(task, seed))
        assert vectors.dtype == np.float32


def test_success_is_by_the_state_before_the_action():
    env = OGBench(POINT, seed=0)
    env.reset()
    env.set_state(edge(env, 20 - 1.1))
    still, right = np.zeros(2, np.float32), np.array([1, 0], np.float32)
    entries = [env.step(action) for action in (still, right, still)]
    assert [entry["reward"] for entry in entries] == [-1, -1, 0]
    assert [entry["success"] for entry in entries] == [0, 0, 1]
    assert [bool(entry["is_terminal"]) for entry in entries] == [False, False, True]
    assert entries[-1]["is_last"] and entries[1]["vector"][0] > 19
    with pytest.raises(RuntimeError, match="over"):
        env.step(still)
    assert env.reset()["is_first"] and not env.step(still)["is_last"]


def edge(env, x):
    """The state with the point at (x, 20)."""
    here = env.step(np.zeros(2))["vector"]
    state = env.get_state()
    at = int(np.flatnonzero(np.float32(state) == here[0])[0])
    state[at : at + 2] = x, 20
    return state


def test_the_clock_ends_an_episode_without_success():
    env = OGBench(POINT, seed=0)
    env.reset()
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(1000)]
    assert [bool(step["is_last"]) for step in steps].index(True) == 999
    assert not steps[-1]["is_terminal"] and steps[-1]["success"] == 0


def draw(file):
    """The program: a maze's pictures, and frames of a visual task, ours and theirs."""
    maze = OGBench(POINT, seed=0, image=True)
    pictures = [maze.reset()["image"]]
    pictures += [maze.step(np.array([1, 0]))["image"] for _ in range(8)]
    ours = OGBench(VISUAL, seed=3, image_size=32)
    package = gymnasium.make(VISUAL, disable_env_checker=True)
    np.random.seed(3)
    frames, entries = [package.reset(seed=3)[0]], [ours.reset()]
    for action in actions(8, 4):
        frames.append(package.step(np.clip(action, -1, 1))[0])
        entries.append(ours.step(action))
    state = ours.get_state()
    state[1:3] = 20, 20  # x and y, after the clock: the goal
    ours.set_state(state)
    reached = ours.step(np.zeros(8, np.float32))
    assert not any("vector" in entry for entry in entries)
    np.savez(
        file,
        pictures=pictures,
        frames=frames,
        seen=[entry["image"] for entry in entries],
        reached=[reached[name] for name in ("reward", "success", "is_terminal")],
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    file = tmp_path_factory.mktemp("drawn") / "drawn.npz"
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, __file__, file], env=variables, check=True)
    return np.load(file)


def test_a_picture_of_the_maze(drawn):
    first, *_, last = drawn["pictures"]
    assert first.shape == (192, 192, 3) and first.dtype == np.uint8
    assert first.std() > 20 and (first != last).any()


def test_a_visual_task_is_seen_as_the_package_draws_it(drawn):
    """At the size that is asked for; its success is that of the state reached."""
    seen = drawn["seen"]
    np.testing.assert_array_equal(seen, resize_images(drawn["frames"], 32))
    assert (seen[0] != seen[-1]).any()
    np.testing.assert_array_equal(drawn["reached"], [0, 1, 1])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(DataError, match=r"pip install 'dreamer-leq\[ogbench\]'"):
        OGBench("pointmaze-medium-singletask-task2-v0", seed=0)


if __name__ == "__main__":
    draw(sys.argv[1])
