"""PixelEnv against dm_control itself, and the check of headless rendering."""

import re

import mujoco
import numpy as np
import pytest

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators import opengl
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import PixelEnv, check_rendering, split_task


def load_plain(task, seed):
    return opengl.load_suite().load(*split_task(task), task_kwargs={"random": seed})


def random_actions(env, count, seed=0):
    shape = (count, env.action_size)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_every_task_of_the_suite_is_found_by_its_name():
    for domain, name in opengl.load_suite().ALL_TASKS:
        assert split_task(f"{domain}_{name}") == (domain, name)
    assert split_task("ball_in_cup_catch") == ("ball_in_cup", "catch")


@pytest.mark.parametrize(
    "wrong, right",
    [("walker_wlak", "walker_walk"), ("cup_catch", "ball_in_cup_catch")],
)
def test_unknown_task_names_the_nearest(wrong, right):
    with pytest.raises(DataError, match=f"{wrong}.*{right}"):
        split_task(wrong)


def test_rewards_are_summed_over_the_action_repeat():
    env, plain = PixelEnv("cheetah_run", None, seed=1), load_plain("cheetah_run", 1)
    env.reset()
    plain.reset()
    for action in random_actions(env, 20):
        expected = plain.step(action).reward + plain.step(action).reward
        assert env.step(action).reward == expected


def test_actions_are_clipped_and_scaled_to_the_range_of_the_task():
    env, plain = (
        PixelEnv("quadruped_walk", None, seed=1),
        load_plain("quadruped_walk", 1),
    )
    spec = plain.action_spec()
    assert spec.maximum.max() > 1 and spec.maximum.min() < 1
    for action, control in [(-5.0, spec.minimum), (1.0, spec.maximum)]:
        env.reset()
        env.step(np.full(env.action_size, action, np.float32))
        np.testing.assert_allclose(env._env.physics.control(), control)


def test_an_episode_has_501_entries_and_cannot_be_continued():
    env = PixelEnv("walker_walk", None, seed=0)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(6))
    steps = [env.reset()]
    while not steps[-1].is_last:
        steps.append(env.step(np.zeros(6, np.float32)))
    assert len(steps) == 501
    assert steps[0] == (None, 0.0, True, False, False)
    assert not any(step.is_terminal or step.is_first for step in steps[1:])
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(6))


def test_a_task_without_clock_ends_after_as_many_steps():
    env = PixelEnv("lqr_lqr_2_1", None, seed=0)
    env.reset()
    ends = [env.step(action).is_last for action in random_actions(env, 500)]
    assert ends == [False] * 499 + [True]


def test_an_end_by_the_task_itself_is_terminal():
    env = PixelEnv("lqr_lqr_2_1", None, seed=0)
    env.reset()
    env.set_state(np.zeros_like(env.get_state()))  # at rest: the task is solved
    step = env.step(np.zeros(env.action_size))
    assert step.is_last and step.is_terminal


def test_same_seed_same_episode_other_seed_another():
    frames = []
    for seed in (5, 5, 6):
        env = PixelEnv("walker_walk", RenderStyle.named("fast", 32), seed)
        env.reset()
        frames.append(env.step(np.ones(6)).image)
        env.close()
    np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != frames[2]).any()


@pytest.mark.parametrize("task", ["walker_walk", "cheetah_run"])
def test_set_state_continues_exactly_where_get_state_was(task):
    style = RenderStyle.named("fast", 32)
    env, other = PixelEnv(task, style, seed=0), PixelEnv(task, style, seed=9)
    env.reset()
    actions = random_actions(env, 40)
    for action in actions[:20]:
        env.step(action)
    other.reset()
    other.set_state(env.get_state())
    np.testing.assert_array_equal(other.observation, env.observation)
    np.testing.assert_array_equal(other.render(), env.render())
    for action in actions[20:]:
        expected, step = env.step(action), other.step(action)
        assert step.reward == expected.reward
        np.testing.assert_array_equal(step.image, expected.image)
    env.close()
    other.close()


def test_frames_are_independent_and_come_in_any_size():
    env = PixelEnv("cheetah_run", RenderStyle.named("fast"), seed=0)
    first = env.reset().image
    kept = first.copy()
    large = env.render(84)
    second = env.step(np.ones(env.action_size)).image
    np.testing.assert_array_equal(first, kept)
    assert (second != first).any()
    assert (first.shape, large.shape) == ((64, 64, 3), (84, 84, 3))
    assert first.dtype == np.uint8 and first.flags.c_contiguous
    env.close()


def test_observation_is_the_flattened_state_observation():
    env, plain = PixelEnv("walker_walk", None, seed=2), load_plain("walker_walk", 2)
    env.reset()
    parts = plain.reset().observation
    expected = [*parts["orientations"], parts["height"], *parts["velocity"]]
    np.testing.assert_array_equal(env.observation, np.float32(expected))
    assert env.observation_size == len(expected)


@pytest.mark.parametrize(
    "style, message",
    [
        (RenderStyle(camera=2), "walker_walk has no camera 2.*0 to 1"),
        (RenderStyle(size=481), "size is 481.*at most 480"),
    ],
)
def test_what_the_task_cannot_show_is_refused(style, message):
    with pytest.raises(DataError, match=message):
        PixelEnv("walker_walk", style, seed=0)


def test_check_rendering_names_library_and_renderer():
    pattern = r"(EGL|OSMESA|GLFW), .+ \((software|GPU)\)(, .* devices: .*)?"
    assert re.fullmatch(pattern, check_rendering())


def test_a_missing_library_is_named_with_its_package(monkeypatch):
    if opengl._loads("libOSMesa.so.8"):
        pytest.skip("libOSMesa is installed")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(DataError) as error:
        check_rendering()
    assert "libOSMesa.so.8 is missing" in str(error.value)
    assert "apt-get install libosmesa6" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_choice_of_library_is_reported_as_dm_control_does(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(DataError, match=r"MUJOCO_GL=nonsense.*must be one of"):
        check_rendering()


@pytest.mark.parametrize(
    "there, message",
    [
        (False, "libEGL.so.1 is missing.*apt-get install libegl1"),
        (True, "libEGL.so.1 is there but finds no GPU driver.*no display.*libgl1-mesa"),
    ],
)
def test_egl_trouble_is_explained(monkeypatch, there, message):
    monkeypatch.setattr(opengl, "_loads", lambda library: there)
    assert re.search(message, opengl._explain("egl", "ImportError: no display"))


@pytest.mark.parametrize(
    "renderer, description",
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", "EGL, llvmpipe (software)"),
        ("NVIDIA H200/PCIe/SSE2", "EGL, NVIDIA H200 (GPU)"),
    ],
)
def test_renderers_are_told_apart(renderer, description):
    assert opengl._describe("egl", renderer, devices=1) == description


@pytest.mark.parametrize(
    "chosen, which", [("", "the first that works"), ("2", "device 2")]
)
def test_which_of_several_devices_is_said(monkeypatch, chosen, which):
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", chosen)
    assert opengl._describe("egl", "NVIDIA H200/PCIe/SSE2", devices=8) == (
        f"EGL, NVIDIA H200 (GPU), {which} of 8 devices: "
        "MUJOCO_EGL_DEVICE_ID=N takes another"
    )


def test_the_pinned_pair_works_together():
    """dm_control asks for mujoco>=3.17 and breaks with mujoco 4."""
    assert mujoco.__version__.startswith("3.")
