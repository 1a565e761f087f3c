"""Episodes of different lengths, counted and recorded exactly."""

import numpy as np
import pytest

from dreamer_leq.evaluation.rollouts import evaluate

LENGTHS = np.array([3, 7, 5])
AFTER_THE_END = 100.0  # reward that no result may contain


class Scripted:
    """Three episodes with known rewards; goes on with nonsense after their end.

    It writes every observation into the same arrays, as shared memory would.
    """

    def __init__(self):
        rng = np.random.default_rng(0)
        self.reward = rng.normal(size=(3, LENGTHS.max() + 1)).astype(np.float32)
        self.reward[:, 0] = 0
        self.actions = []
        self.obs = {
            "image": np.zeros((3, 4, 4, 3), np.uint8),
            "reward": np.zeros(3, np.float32),
            "is_last": np.zeros(3, bool),
        }

    def reset(self):
        return self._observe(0)

    def step(self, actions):
        self.actions.append(actions)
        return self._observe(len(self.actions))

    def _observe(self, t):
        over = t > LENGTHS
        self.obs["image"][:] = np.where(over, 255, 10 * np.arange(3) + t)[
            :, None, None, None
        ]
        self.obs["reward"][:] = np.where(over, AFTER_THE_END, self.reward[:, t])
        self.obs["is_last"][:] = t == LENGTHS
        return self.obs


class Counter:
    """A policy whose memory counts its calls."""

    def initial(self, n, seed):
        self.n, self.seed = n, seed
        return 0

    def act(self, carry, obs):
        return np.full((self.n, 2), carry, np.float32), carry + 1


def test_returns_and_lengths_end_with_each_episode():
    env = Scripted()
    results = evaluate(Counter(), env, seed=5)
    expected = [
        sum(map(float, row[: n + 1]))
        for row, n in zip(env.reward, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(results.returns, expected, rtol=1e-12)
    np.testing.assert_array_equal(results.lengths, LENGTHS)
    assert results.mean_reward == pytest.approx(sum(expected) / LENGTHS.sum())
    assert results.frames == [] and results.seconds > 0


def test_one_batched_policy_call_for_each_step():
    env, agent = Scripted(), Counter()
    running = []
    evaluate(agent, env, seed=5, on_step=running.append)
    assert (agent.n, agent.seed) == (3, 5)
    assert len(env.actions) == LENGTHS.max()
    np.testing.assert_array_equal([a[0, 0] for a in env.actions], range(7))
    assert running == [3, 3, 2, 2, 1, 1, 0]


def test_records_first_to_last_frame_of_the_first_environments():
    env = Scripted()
    results = evaluate(Counter(), env, seed=5, record=2)
    assert [len(frames) for frames in results.frames] == [4, 8]
    for i, (frames, rewards) in enumerate(
        zip(results.frames, results.rewards, strict=True)
    ):
        assert frames.dtype == np.uint8 and frames.shape[1:] == (4, 4, 3)
        np.testing.assert_array_equal(
            frames[:, 0, 0, 0], 10 * i + np.arange(len(frames))
        )
        np.testing.assert_array_equal(rewards, env.reward[i, : len(frames)])


def test_recording_more_than_there_are_records_all():
    assert len(evaluate(Counter(), Scripted(), seed=0, record=9).frames) == 3


def test_recording_needs_images():
    env = Scripted()
    del env.obs["image"]
    env._observe = lambda t: env.obs
    with pytest.raises(ValueError, match="no images"):
        evaluate(Counter(), env, seed=0, record=1)
