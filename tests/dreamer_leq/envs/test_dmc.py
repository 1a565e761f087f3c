"""dm_control environments as evaluation sees them."""

import numpy as np
import pytest

from dreamer_leq.envs.dmc import DMCFactory, make_env
from dreamer_leq.envs.vector import VectorEnv
from vd4rl_loader.errors import DataError
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import PixelEnv

FAST = RenderStyle.named("fast", 32)


def test_observations_have_the_types_of_the_dataset():
    env = make_env("walker_walk", FAST, seed=0)
    first, second = env.reset(), env.step(np.ones(6, np.float32))
    env.close()
    for observation in (first, second):
        assert observation["image"].shape == (32, 32, 3)
        assert observation["image"].dtype == np.uint8
        assert observation["reward"].dtype == np.float32
        for key in ("is_first", "is_last", "is_terminal"):
            assert observation[key].dtype == bool
    assert first["is_first"] and not second["is_first"]
    assert first["reward"] == 0 and second["reward"] > 0


def test_frames_of_another_size_go_through_the_loaders_resize():
    style = RenderStyle.named("fast", 84)
    env, native = make_env("cheetah_run", style, 3, image_size=64), None
    native = PixelEnv("cheetah_run", style, 3)
    expected = resize_images(native.reset().image, 64)
    np.testing.assert_array_equal(env.reset()["image"], expected)
    env.close()
    native.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_in_worker_processes_as_in_this_one(workers):
    style = RenderStyle.named("vd4rl", 32)
    factories = [DMCFactory("walker_walk", style, seed) for seed in (0, 1, 2)]
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 6)).astype(np.float32)
    with VectorEnv(factories, workers) as envs:
        there = [envs.reset(), *(envs.step(action) for action in actions)]
    for i, factory in enumerate(factories):
        env = factory()
        here = [env.reset(), *(env.step(action) for action in actions[:, i])]
        env.close()
        for step, observation in enumerate(here):
            for key, value in observation.items():
                np.testing.assert_array_equal(there[step][key][i], value)
    assert (there[0]["image"][0] != there[0]["image"][1]).any()


def test_a_wrong_task_is_the_users_error_even_from_a_worker():
    factories = [DMCFactory("walker_wlak", FAST, 0)]
    with VectorEnv(factories, 1) as envs, pytest.raises(DataError, match="walker_walk"):
        envs.reset()
