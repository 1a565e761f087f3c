"""The policies that come with the package, and which of them plays a level."""

import numpy as np
import pytest
from policy_files import save_policies

from vd4rl_loader.collection.levels import LEVELS, Behaviour, actor, behaviours
from vd4rl_loader.collection.policies import Policy, bundled_tasks, open_policies
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.simulate import PixelEnv

TASKS = ["cheetah_run", "walker_walk"]


def episode_return(task, checkpoint, mode="mean", seed=0):
    env, rng = PixelEnv(task, None, seed), np.random.default_rng(seed)
    policy = open_policies(task).load(checkpoint)
    step, total = env.reset(), 0.0
    while not step.is_last:
        step = env.step(policy.act(env.observation, rng, mode))
        total += step.reward
    return total


def gaussian_policy(mean, log_std):
    """A policy without hidden layers that ignores its one observation."""
    bias = np.float32([*mean, *log_std])
    return Policy(((np.zeros((1, len(bias)), np.float32), bias),))


def test_bundled_tasks_are_found_by_their_names():
    assert bundled_tasks() == ["Hopper-v4", *TASKS]


@pytest.mark.parametrize("task", TASKS)
def test_every_checkpoint_fits_the_task(task):
    env, policies = PixelEnv(task, None, 0), open_policies(task)
    env.reset()
    for checkpoint in policies.checkpoints:
        policy = policies.load(checkpoint)
        assert policy.sizes == (env.observation_size, env.action_size)
        action = policy.act(env.observation, np.random.default_rng(0))
        assert action.dtype == np.float32 and np.abs(action).max() <= 1
        assert all(
            array.dtype == np.float32 for pair in policy.layers for array in pair
        )


def test_walker_levels_play_as_well_as_they_should():
    policies = open_policies("walker_walk")
    assert episode_return("walker_walk", policies.expert) > 800
    assert 300 < episode_return("walker_walk", policies.medium) < 700


def test_cheetah_expert_runs():
    expert = open_policies("cheetah_run").expert
    assert episode_return("cheetah_run", expert, "sampled") > 450


def test_forward_pass_of_a_hand_made_network():
    layers = (
        (np.float32([[1.0, -1.0], [2.0, 0.0]]), np.float32([0.5, 0.0])),
        (np.float32([[1.0, 0.0], [0.0, 0.0]]), np.float32([-1.0, 0.0])),
    )
    # hidden = relu([1 + 2 * 0.25 + 0.5, -1]) = [2, 0]; mean = 2 - 1
    action = Policy(layers).act(
        np.float32([1.0, 0.25]), np.random.default_rng(0), "mean"
    )
    np.testing.assert_allclose(action, [np.tanh(1.0)], rtol=1e-6)


def test_mean_action_draws_no_random_numbers():
    rng = np.random.default_rng(0)
    gaussian_policy([0.3], [0.0]).act(np.zeros(1, np.float32), rng, "mean")
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_sampled_actions_have_the_stated_distribution():
    policy, rng = gaussian_policy([0.3, -0.2], [-1.0, -20.0]), np.random.default_rng(0)
    actions = [policy.act(np.zeros(1, np.float32), rng) for _ in range(4000)]
    before_tanh = np.arctanh(np.stack(actions))
    np.testing.assert_allclose(before_tanh.mean(0), [0.3, -0.2], atol=0.02)
    np.testing.assert_allclose(before_tanh[:, 0].std(), np.exp(-1.0), rtol=0.05)
    np.testing.assert_allclose(before_tanh[:, 1].std(), np.exp(-10.0), rtol=0.1)


def test_noise_is_added_to_the_action_and_clipped():
    policy, rng = gaussian_policy([0.0, 9.0], [0.0, 0.0]), np.random.default_rng(0)
    observation = np.zeros(1, np.float32)
    actions = np.stack(
        [policy.act(observation, rng, "mean", noise=0.3) for _ in range(4000)]
    )
    np.testing.assert_allclose(actions[:, 0].std(), 0.3, rtol=0.05)
    assert np.mean(actions[:, 1] == 1.0) == pytest.approx(0.5, abs=0.05)
    assert actions.max() <= 1 and actions.min() >= -1


@pytest.mark.parametrize(
    "level, checkpoints",
    [
        ("medium", [50_000]),
        ("expert", [150_000]),
        ("medium_expert", [50_000, 150_000]),
        ("medium_replay", list(range(5_000, 50_001, 5_000))),
    ],
)
def test_levels_of_walker_walk(level, checkpoints):
    played = behaviours("walker_walk", level, None, None)
    assert played == tuple(Behaviour(steps, "sampled") for steps in checkpoints)


def test_noise_makes_half_of_the_episodes_mean_actions_plus_noise():
    played = behaviours("walker_walk", "medium_expert", None, 0.3)
    assert played == (
        Behaviour(50_000, "sampled"),
        Behaviour(150_000, "sampled"),
        Behaviour(50_000, "mean", 0.3),
        Behaviour(150_000, "mean", 0.3),
    )


def test_random_is_uniform_and_needs_no_policy():
    (behaviour,) = behaviours("pendulum_swingup", "random", None, None)
    env = PixelEnv("pendulum_swingup", None, 0)
    act = actor(behaviour, "pendulum_swingup", None, env, np.random.default_rng(0))
    actions = np.stack([act(np.zeros(3)) for _ in range(4000)])
    assert actions.shape == (4000, 1) and actions.dtype == np.float32
    quartiles = np.quantile(actions, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, [-1, -0.5, 0, 0.5, 1], atol=0.05)


def test_level_mistakes_are_explained():
    with pytest.raises(
        DataError, match=r"hopper_hop.*cheetah_run, walker_walk.*random"
    ):
        behaviours("hopper_hop", "medium", None, None)
    with pytest.raises(DataError, match=r"medium_exprt.*did you mean medium_expert"):
        behaviours("walker_walk", "medium_exprt", None, None)
    with pytest.raises(DataError, match="random takes no noise"):
        behaviours("walker_walk", "random", None, 0.3)
    with pytest.raises(DataError, match="noise is -1"):
        behaviours("walker_walk", "medium", None, -1.0)


def test_own_policies_are_taken_from_a_folder(tmp_path):
    save_policies(tmp_path)
    for level in set(LEVELS) - {"random"}:
        assert behaviours("hopper_hop", level, tmp_path, None)
    played = behaviours("walker_walk", "medium_expert", tmp_path, None)
    assert [behaviour.checkpoint for behaviour in played] == [1, 2]


def test_damaged_folders_of_policies_are_explained(tmp_path):
    with pytest.raises(DataError, match=r"returns\.json: missing"):
        open_policies("walker_walk", tmp_path)
    save_policies(tmp_path, expert=3)
    with pytest.raises(DataError, match=r"returns\.json: expert is 3.*1, 2"):
        open_policies("walker_walk", tmp_path)
    save_policies(tmp_path)
    (tmp_path / "0000002.npz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"0000002\.npz: not a policy checkpoint"):
        open_policies("walker_walk", tmp_path).load(2)


def test_policies_of_another_task_are_refused(tmp_path):
    save_policies(tmp_path, sizes=(17, 6))
    env = PixelEnv("walker_walk", None, 0)
    with pytest.raises(DataError, match=r"17 observations.*walker_walk has 24 and 6"):
        actor(Behaviour(1, "mean"), "walker_walk", tmp_path, env, None)
