"""Descriptions of environments, and what is made of them in worker processes."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from dreamer_leq.envs.antmaze import AntMaze
from dreamer_leq.envs.dmc import DMCFactory
from dreamer_leq.envs.locomotion import Locomotion
from dreamer_leq.envs.pointmaze import PointMaze
from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.envs.vector import VectorEnv
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.render import RenderStyle

HOPPER = {"suite": "gymnasium", "id": "Hopper-v4"}
ANT = {"suite": "antmaze", "maze": "medium"}
POINT = {"suite": "pointmaze", "maze": "umaze"}
STYLE = RenderStyle.named("fast", 32)
WALKER = {"suite": "dm_control", "task": "walker_walk", "render": STYLE.to_json()}


@pytest.mark.parametrize(
    ("environment", "kind", "size"),
    [
        (HOPPER, Locomotion, 11),
        ({**HOPPER, "x_position": True}, Locomotion, 12),
        (ANT, AntMaze, 29),
        (POINT, PointMaze, 2),
    ],
)
def test_a_description_makes_its_environment(environment, kind, size):
    factory = pickle.loads(pickle.dumps(environment_factory(environment, seed=3)))
    env, again = factory(), factory()
    assert isinstance(env, kind)
    start = env.reset()["vector"]
    assert start.shape == (size,)
    np.testing.assert_array_equal(again.reset()["vector"], start)
    other = environment_factory(environment, seed=4)()
    assert (other.reset()["vector"] != start).any()


def test_dm_control_is_made_by_its_own_factory():
    assert environment_factory(WALKER, seed=1) == DMCFactory("walker_walk", STYLE, 1)
    full = {**WALKER, "action_repeat": 4, "image_size": 64}
    expected = DMCFactory("walker_walk", STYLE, 1, 4, 64)
    assert environment_factory(full, seed=1) == expected


@pytest.mark.parametrize("environment", [HOPPER, ANT, POINT])
def test_only_the_first_environments_are_filmed(environment):
    """In worker processes; images are stacked over those that have one."""
    factories = [environment_factory(environment, i, image=i < 2) for i in range(3)]
    size = factories[2]().action_size
    with VectorEnv(factories, workers=2) as envs:
        first = envs.reset()
        second = envs.step(np.full((3, size), 0.5, np.float32))
    assert first["image"].shape == second["image"].shape == (2, 192, 192, 3)
    assert second["vector"].shape[0] == 3 and second["reward"].shape == (3,)
    env = factories[1]()
    np.testing.assert_array_equal(env.reset()["image"], first["image"][1])
    moved = env.step(np.full(size, 0.5, np.float32))
    np.testing.assert_array_equal(moved["image"], second["image"][1])
    np.testing.assert_array_equal(moved["vector"], second["vector"][1])
    env.close()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"id": "Hopper-v4"}, "suite is None.*gymnasium"),
        ({"suite": "gymnasum", "id": "Hopper-v4"}, "gymnasum.*did you mean gymnasium"),
        ({"suite": "gymnasium", "id": "Hopper-v5"}, "Hopper-v5.*Hopper-v4"),
        ({"suite": "gymnasium", "id": 4}, "id is 4.*Walker2d-v4"),
        ({"suite": "gymnasium", "maze": "large"}, "needs the field 'id'"),
        ({**ANT, "maze": "larger"}, "larger.*large"),
        ({**POINT, "maze": ["umaze"]}, "maze is.*umaze"),
        ({"suite": "ogbench", "task": "cube-singel"}, "task is.*cube-single"),
        ({**POINT, "goal": 3}, "no field 'goal'"),
        ({**HOPPER, "x_position": 1}, "x_position is 1.*true or false"),
        ({**WALKER, "render": {"size": 64}}, "render style"),
        ({"suite": "dm_control", "task": "walker_walk"}, "needs the field 'render'"),
    ],
)
def test_a_wrong_description_is_one_clear_line(environment, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        environment_factory(environment, seed=0)
    assert "\n" not in str(error.value)


def test_importing_the_suites_imports_no_simulator():
    heavy = {"jax", "mujoco", "gymnasium", "dm_control", "OpenGL"}
    code = f"import sys, dreamer_leq.envs.suites; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("environment", [HOPPER, ANT, POINT, WALKER])
def test_an_environment_goes_on_from_a_state_that_another_was_in(environment):
    one, other = (environment_factory(environment, seed=3)() for _ in range(2))
    action = np.full(one.action_size, 0.4, np.float32)
    for env in (one, other):
        env.reset()
    one.step(action), one.step(-action)
    state = one.get_state()
    assert state.dtype == np.float64 and state.ndim == 1
    other.set_state(state)
    for _ in range(3):
        a, b = one.step(action), other.step(action)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    one.close(), other.close()
