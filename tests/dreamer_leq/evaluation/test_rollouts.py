"""Episodes of different lengths, counted and recorded exactly."""

from types import SimpleNamespace

import numpy as np
import pytest

from dreamer_leq.evaluation.rollouts import evaluate, play

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
    assert results.frames == [] and results.seconds > 0


def test_success_is_the_score_where_it_is_told():
    env = Scripted()
    env.obs["success"] = np.float32([0, 1, 0])  # of each of 3, 7 and 5 steps
    assert evaluate(Counter(), env, seed=5).returns.tolist() == [0, 7, 0]


def test_episodes_that_the_simulator_ended_are_counted():
    env = Scripted()
    assert evaluate(Counter(), env, seed=0).failed == 0
    env.actions.clear()
    env.obs["failed"] = np.array([False, True, False])
    results = evaluate(Counter(), env, seed=0)
    assert results.failed == 1 and results.lengths.tolist() == LENGTHS.tolist()


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


# --- with states, actions and rewards


class Countdown:
    """Environments with rewards of 2 that end by themselves (even ones) or by the clock
    after `lengths` steps, and answer with 100 afterwards; what is seen is written into
    the same array.
    """

    lengths = np.array([2, 4, 3])
    vector = np.zeros((3, 1), np.float32)

    def reset(self):
        self.t = 0
        return self.observe()

    def step(self, actions):
        self.t += 1
        return self.observe()

    def observe(self):
        over = self.t > self.lengths
        last = self.t == self.lengths
        self.vector[:] = self.t
        return {
            "vector": self.vector,
            "reward": np.where(over, 100.0, 2.0),
            "is_last": last | over,
            "is_terminal": (last | over) & (np.arange(3) % 2 == 0),
        }


class Follower:
    """Its memory's state is what it sees; its action says how often it was asked."""

    def initial(self, n, seed):
        return SimpleNamespace(state=np.zeros((n, 1)), count=-1)

    def act(self, carry, obs):
        count = carry.count + 1
        action = np.full((3, 1), count, np.float32)
        return action, SimpleNamespace(state=obs["vector"], count=count)


def test_an_episode_is_recorded_from_its_first_state_to_its_end():
    found = play(Follower(), Countdown(), 0, lambda reward: 10 * reward - 1)
    np.testing.assert_array_equal(found.length, [2, 4, 3])
    np.testing.assert_array_equal(found.terminal, [True, False, True])
    inside = np.arange(4)[:, None] < found.length
    np.testing.assert_array_equal(found.reward, np.where(inside, 19.0, 0.0))
    np.testing.assert_array_equal(found.state[:, 1, 0], np.arange(4))
    np.testing.assert_array_equal(found.action[:, 1, 0], np.arange(4))


def test_no_clock_ends_an_episode_whose_physics_ran_away():
    class Failing(Countdown):
        def observe(self):
            return super().observe() | {"failed": (self.t >= 4) & (np.arange(3) == 1)}

    found = play(Follower(), Failing(), 0, lambda reward: reward)
    np.testing.assert_array_equal(found.length, [2, 4, 3])
    assert found.terminal.all()
