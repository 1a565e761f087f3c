"""OGBench's tasks against the package: goals, default tasks, rewards."""

from types import SimpleNamespace

import numpy as np
import pytest

from vd4rl_loader.ogbench_tasks import FAMILIES, SingleTask, find_task, task_of_file

WALKERS = {"pointmaze": "point", "antmaze": "ant", "humanoidmaze": "humanoid"}


def their_tasks(family):
    """The package's environment of a family, far enough to know its tasks."""
    kind, _, layout = family.partition("-")
    if kind in ("cube", "scene", "puzzle"):
        module = pytest.importorskip(f"ogbench.manipspace.envs.{kind}_env")
        cls = getattr(module, f"{kind.capitalize()}Env")
        env = object.__new__(cls)  # without a simulation
        env._env_type, env._reward_task_id = layout, 0
        if kind == "puzzle":
            env._num_rows, env._num_cols = map(int, layout.split("x"))
        env.set_tasks()
        return env
    maze = pytest.importorskip("ogbench.locomaze.maze")
    walker, form = WALKERS.get(kind, "ant"), "ball" if kind == "antsoccer" else "maze"
    return maze.make_maze_env(walker, form, maze_type=layout, reward_task_id=0)


def stand_in(family, info, tolerance):
    """What the package's relabelling reads of an environment."""
    inner = SimpleNamespace(_reward_task_id=1, _goal_tol=tolerance, _num_cubes=1)
    if "goal_xy" in info:
        inner.cur_goal_xy = np.array(info["goal_xy"])
    goal = info.get("goal", {})
    cubes = np.reshape(info.get("goal_xyzs", goal.get("block_xyzs", [])), (-1, 3))
    inner._num_cubes, inner._data = len(cubes), SimpleNamespace(mocap_pos=cubes)
    buttons = goal.get("button_states", info.get("goal_button_states", np.zeros(2)))
    inner._target_button_states, inner._num_buttons = buttons, len(buttons)
    inner._target_drawer_pos = goal.get("drawer_pos")
    inner._target_window_pos = goal.get("window_pos")
    return SimpleNamespace(unwrapped=inner, reset=lambda: None)


def states(task, info, rng, n=400):
    """Positions on both sides of every tolerance, and buttons."""
    near = rng.normal(0, 1, (n, task.positions))
    buttons = rng.integers(0, 2, (n, task.buttons)) if task.buttons else None
    offset = rng.normal(0, 1, (n, 3))
    offset /= np.linalg.norm(offset, axis=1, keepdims=True)
    scale = rng.choice([0.0, 0.9, 1 - 1e-7, 1, 1 + 1e-7, 1.1, 30], (n, 1))
    if task.goal:
        radius = 1.0 if task.family.startswith("pointmaze") else 0.5
        first = 15 if task.family.startswith("antsoccer") else 0
        flat = offset[:, :2] / np.linalg.norm(offset[:, :2], axis=1, keepdims=True)
        near[:, first : first + 2] = np.array(info["goal_xy"]) + radius * scale * flat
    cubes = info.get("goal_xyzs", info.get("goal", {}).get("block_xyzs", []))
    for i, cube in enumerate(cubes):
        near[:, 14 + 7 * i : 17 + 7 * i] = cube + 0.04 * rng.permutation(scale * offset)
    if task.family == "scene":
        for column, name in ((-2, "drawer_pos"), (-1, "window_pos")):
            side = rng.choice([-1, 1], n) * rng.permutation(scale[:, 0])
            near[:, column] = info["goal"][name] + 0.04 * side
    if buttons is not None:
        wanted = info.get("goal", {}).get("button_states")
        wanted = info["goal_button_states"] if wanted is None else wanted
        buttons[::2] = wanted  # else a puzzle is never solved
    return near.astype(np.float32), buttons


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_are_the_packages(family):
    env = their_tasks(family)
    relabel = pytest.importorskip("ogbench.relabel_utils").relabel_dataset
    kind = FAMILIES[family][0]
    for number, info in enumerate(env.task_infos, 1):
        task = find_task(f"{family}-{kind}-singletask-task{number}-v0")
        assert task == SingleTask(family, kind, number)
        rng = np.random.default_rng(number)
        qpos, buttons = states(task, info, rng)
        data = {"qpos": qpos} | ({} if buttons is None else {"button_states": buttons})
        tolerance = 1.0 if family.startswith("pointmaze") else 0.5
        relabel(task.environment, stand_in(family, info, tolerance), data)
        reward, success = task.rewards(qpos, buttons)
        np.testing.assert_array_equal(reward, data["rewards"])
        np.testing.assert_array_equal(success, data["masks"] == 0)
        assert reward.dtype == np.float32 and 0 < success.sum() < len(success)
    assert find_task(f"{family}-{kind}-singletask").number == env._reward_task_id
    assert len(env.task_infos) == 5


NAMES = {
    "cube-single-play-singletask-task1-v0": SingleTask("cube-single", "play", 1),
    "cube-single-noisy-singletask-v0": SingleTask("cube-single", "noisy", 2),
    "scene-play-singletask": SingleTask("scene", "play", 2),
    "antmaze-medium-explore-singletask-task5": SingleTask(
        "antmaze-medium", "explore", 5
    ),
    "visual-puzzle-4x4-play-singletask-v0": SingleTask("puzzle-4x4", "play", 4, True),
    "antmaze-giant-explore-singletask-v0": None,
    "cube-single-play-singletask-task6-v0": None,
    "cube-single-play-v0": None,
    "visual-pointmaze-medium-navigate-singletask-v0": None,
    "pointmaze-medium": None,
    None: None,
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    task = find_task(name)
    assert task == NAMES[name]
    if task:
        assert find_task(task.name) == task
        assert task_of_file(f"{task.dataset}.npz").dataset == task.dataset
        assert task_of_file(f"{task.dataset}-val.npz").family == task.family


def test_sizes_are_the_packages():
    """Of the families that are quickly made."""
    for family in ("pointmaze-giant", "antmaze-medium", "antsoccer-arena"):
        env = their_tasks(family)
        task = task_of_file(f"{family}-navigate-v0.npz")
        found = env.observation_space.shape[0], env.action_space.shape[0], env.model.nq
        assert found == (*task.sizes, task.positions)
