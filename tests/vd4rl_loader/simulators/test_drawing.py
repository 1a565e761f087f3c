"""StyledCamera against dm_control's own pictures."""

import contextlib
import dataclasses
import threading

import numpy as np
import pytest

from vd4rl_loader.simulators import drawing, simulate
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import PixelEnv

# The tolerance that docs/performance.md states.
MEAN = 0.2  # of 255, the mean absolute error
NOTICED = 8  # of 255
SHARE = 0.005  # of the values may differ by more than NOTICED

VD4RL, FAST = RenderStyle.named("vd4rl"), RenderStyle.named("fast")


@pytest.fixture(autouse=True)
def new_cameras():
    """No camera is left from, or to, another test."""
    simulate._camera.cache_clear()
    yield
    simulate._camera.cache_clear()


@contextlib.contextmanager
def playing(task, style, seed=0):
    env = PixelEnv(task, style, seed)
    with contextlib.closing(env):
        env.reset()
        yield env


def pictures(task, style, count, every=1):
    """Frames of an episode of random actions, int [2, count, S, S, 3]: drawn by the
    environment, and by dm_control from the same states.
    """
    rng = np.random.default_rng(0)
    ours, plain = [], []
    with playing(task, style) as env:
        for _ in range(count):
            state = env.get_state()
            ours.append(env.render())
            plain.append(dm_control_draws(env._env.physics, style))
            np.testing.assert_array_equal(env.get_state(), state)
            for _ in range(every):
                env.step(rng.uniform(-1, 1, env.action_size))
    return np.int16([ours, plain])


def dm_control_draws(physics, style):
    """What dm_control itself makes of a style: of an environment's first one."""
    quality = physics.model.vis.quality
    assert (quality.shadowsize, quality.offsamples, quality.numstacks) == (2048, 4, 16)
    try:
        quality.shadowsize, quality.offsamples = style.shadows, style.antialias
        flags = {"reflection": style.reflections}
        return physics.render(
            style.size, style.size, style.camera, render_flag_overrides=flags
        )
    finally:
        quality.shadowsize, quality.offsamples = 2048, 4


@pytest.mark.parametrize("style", [VD4RL, FAST], ids=["vd4rl", "fast"])
@pytest.mark.parametrize("task", ["walker_walk", "cheetah_run"])
def test_pictures_are_dm_controls_within_the_tolerance(task, style):
    ours, plain = pictures(task, style, count=8, every=12)
    errors = np.abs(ours - plain)
    assert errors.mean() < MEAN
    assert (errors > NOTICED).mean() < SHARE
    assert errors.any()  # or something is drawn at dm_control's price


def test_larger_pictures_and_other_cameras_keep_to_the_tolerance():
    style = dataclasses.replace(VD4RL, name="mine", size=84, camera=1)
    ours, plain = pictures("walker_walk", style, count=4, every=10)
    errors = np.abs(ours - plain)
    assert errors.mean() < MEAN and (errors > NOTICED).mean() < SHARE


@pytest.mark.parametrize("style", [VD4RL, FAST], ids=["vd4rl", "fast"])
@pytest.mark.parametrize("task", ["walker_walk", "cheetah_run"])
def test_with_dm_controls_shadow_map_and_shapes_the_pictures_are_its_own(
    task, style, monkeypatch
):
    # So the smaller buffer and the floor that casts no shadow cost nothing.
    monkeypatch.setattr(drawing, "SHADOW_MAP", 2048)
    monkeypatch.setattr(drawing, "STACKS", 16)
    ours, plain = pictures(task, style, count=3, every=10)
    errors = np.abs(ours - plain)
    assert errors.max() <= NOTICED and (errors > 0).mean() < 1e-4


def test_styles_differ_by_what_they_leave_out():
    with playing("walker_walk", VD4RL) as env:
        state = env.get_state()
        frame = np.int16(env.render())
    for effect in ({"shadows": 0}, {"reflections": False}, {"antialias": 0}):
        with playing("walker_walk", dataclasses.replace(VD4RL, **effect)) as env:
            env.set_state(state)
            errors = np.abs(env.render() - frame)
        assert (errors > NOTICED).mean() > SHARE, effect


def test_a_smaller_shadow_map_that_a_style_asks_for_is_used():
    small = dataclasses.replace(VD4RL, shadows=64)
    ours, plain = pictures("walker_walk", small, count=3, every=10)
    assert np.abs(ours - plain).mean() < MEAN


def test_environments_that_share_a_camera_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (3, 6))
    alone = []
    for seed in (0, 1):
        with playing("walker_walk", VD4RL, seed) as env:
            alone.append([env.step(action).image for action in actions])
        simulate._camera.cache_clear()
    with playing("walker_walk", VD4RL, 0) as a, playing("walker_walk", VD4RL, 1) as b:
        both = [[env.step(action).image for env in (a, b)] for action in actions]
        assert a._cameras[64] is b._cameras[64]
    np.testing.assert_array_equal(np.stack(both, axis=1), alone)


def test_a_frame_is_the_same_whatever_the_size_of_others():
    small = RenderStyle.named("vd4rl", 48)
    with playing("cheetah_run", VD4RL) as env, playing("cheetah_run", small) as other:
        other.set_state(env.get_state())
        np.testing.assert_array_equal(env.render(48), other.render())
        np.testing.assert_array_equal(env.render(), other.render(64))


def test_ground_that_is_new_in_every_episode_is_drawn_new():
    with playing("quadruped_escape", VD4RL) as env:
        for _ in range(2):
            env.reset()
            plain = dm_control_draws(env._env.physics, VD4RL)
            # Rough ground shades itself everywhere, hence more than MEAN.
            assert np.abs(np.int16(env.render()) - plain).mean() < 0.3


def test_a_thread_has_cameras_of_its_own():
    with playing("walker_walk", FAST) as env:
        frame, drawn = env.render(), []

        def draw():
            with playing("walker_walk", FAST) as other:
                other.set_state(env.get_state())
                drawn.append(other.render())
                simulate._camera.cache_clear()

        thread = threading.Thread(target=draw)
        thread.start()
        thread.join()
        np.testing.assert_array_equal(drawn, [frame])
