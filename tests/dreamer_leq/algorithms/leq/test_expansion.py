"""The ring of expanded data against a deque; rollouts in worlds that can be counted."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax import Array

from dreamer_leq.algorithms.leq.expansion import expand
from dreamer_leq.algorithms.replay import Ring


def states(numbers):
    """States of two parts that belong together: x is the number, y its double."""
    x = np.asarray(numbers, np.float32)
    return {"x": x, "y": np.stack([x, 2 * x], -1).astype(np.int32)}


def contents(data):
    """What is filled, as numbers in no order."""
    x, y = (np.asarray(data.states[name][: int(data.count)]) for name in "xy")
    np.testing.assert_array_equal(y, np.stack([x, 2 * x], -1))
    return sorted(x.tolist())


# --- the ring ---


@pytest.mark.parametrize("capacity", [6, 10, 25])
def test_it_holds_the_newest_valid_states(capacity):
    rng, expected = np.random.default_rng(0), deque(maxlen=capacity)
    data = Ring.empty(states(np.zeros(1)), capacity)
    insert, total = jax.jit(Ring.insert), 0
    for _ in range(30):
        new = 1.0 + total + np.arange(6)
        valid = rng.random(6) < rng.choice([0.0, 0.3, 1.0])
        total += 6
        data = insert(data, states(new), valid)
        expected.extend(new[valid])
        assert contents(data) == sorted(expected)
        assert data.count == len(expected)
    assert len(expected) == capacity
    assert data.states["y"].dtype == jnp.int32


def test_a_whole_ring_at_once():
    data = Ring.empty(states(np.zeros(1)), 4)
    for start in (0, 10, 20):
        numbers = start + np.arange(1.0, 5.0)
        data = data.insert(states(numbers), np.ones(4, bool))
        assert contents(data) == numbers.tolist()


@pytest.mark.parametrize("filled", [3, 8])
def test_samples_are_uniform_over_what_is_filled(filled):
    data = Ring.empty(states(np.zeros(1)), 8)
    data = data.insert(states(1.0 + np.arange(8)), np.arange(8) < filled)
    sample = jax.jit(lambda key: data.sample(key, 8000))(jax.random.key(0))
    x = np.asarray(sample["x"])
    np.testing.assert_array_equal(np.asarray(sample["y"])[:, 1], 2 * x)
    counts = np.bincount(x.astype(int), minlength=9)
    assert counts[0] == 0 and not counts[filled + 1 :].any()
    spread = np.sqrt(8000 / filled)
    assert np.abs(counts[1 : filled + 1] - 8000 / filled).max() < 4 * spread


# --- rollouts ---


@struct.dataclass
class Counting:
    """State (sample, steps, steps to make): ends with the step that makes the last."""

    soft: Array = 0.0  # probability to go on beyond the last

    def features(self, state):
        return state

    def noise(self, key, n):
        return key

    def step(self, state, action, key):
        state = state + jnp.array([0.0, 1.0, 0.0])
        cont = jnp.where(state[:, 1] >= state[:, 2], self.soft, 1.0)
        return state, jnp.zeros(len(state)), cont


@struct.dataclass
class Echo:
    """The next state is the action."""

    def features(self, state):
        return state

    def noise(self, key, n):
        return key

    def step(self, state, action, key):
        return action, jnp.zeros(len(state)), jnp.ones(len(state))


def roll(world, actor, start, length, noise, capacity=None, seed=0):
    start = jnp.float32(start)
    data = Ring.empty(start, capacity or length * len(start))
    args = (data, world, actor, start, jax.random.key(seed))
    data = jax.jit(expand, static_argnums=2, static_argnames=("length", "noise"))(
        *args, length=length, noise=noise
    )
    return np.asarray(data.states)[: int(data.count)]


def still(features):
    return features[:, :1] * 0


def test_a_rollout_that_has_ended_is_not_continued():
    ends = [1, 2, 3, 4, 5, 100]
    start = [[i, 0, end] for i, end in enumerate(ends)]
    kept = roll(Counting(), still, start, length=4, noise=1.0)
    expected = [(i, t, end) for i, end in enumerate(ends) for t in range(4) if t < end]
    assert sorted(map(tuple, kept.tolist())) == sorted(expected)


def test_a_soft_end_stops_its_share_of_the_rollouts():
    start = np.tile([[0.0, 0.0, 0.0]], (4000, 1))
    kept = roll(Counting(jnp.float32(0.7)), still, start, length=4, noise=1.0)
    reached = [(kept[:, 1] == t).mean() * len(kept) / 4000 for t in range(4)]
    np.testing.assert_allclose(reached, 0.7 ** np.arange(4), atol=0.03)


def test_the_noise_is_added_before_tanh():
    mean = np.float32([1.0, -0.5])

    def actor(features):
        return jnp.broadcast_to(mean, features.shape)

    start = np.full((3000, 2), 2.0)  # no action
    kept = roll(Echo(), actor, start, length=3, noise=0.4)
    assert kept.shape == (9000, 2)
    np.testing.assert_array_equal(kept[:3000], start)
    noise = np.arctanh(np.float64(kept[3000:])) - mean
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(noise.std(0), 0.4, rtol=0.03)
    apart = np.concatenate([noise[:3000], noise[3000:]], -1)  # two steps, two numbers
    assert np.abs(np.corrcoef(apart.T) - np.eye(4)).max() < 0.07
    assert np.abs(noise[1:3000, 0] - noise[:2999, 0]).min() > 0


def test_without_noise_it_is_the_policy():
    actor = lambda f: 2.0 * f + 0.1  # noqa: E731
    start = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    kept = roll(Echo(), actor, start, length=3, noise=0.0)
    expected = [np.float32(start)]
    for _ in range(2):
        expected.append(np.tanh(2.0 * expected[-1] + 0.1))
    np.testing.assert_allclose(kept, np.concatenate(expected), rtol=1e-5)


def test_what_was_there_stays_until_it_is_the_oldest():
    start = np.float32([[9, 0, 100], [8, 0, 100]])
    data = Ring.empty(jnp.asarray(start), 5)
    old = jnp.asarray([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    data = data.insert(old, jnp.ones(3, bool))
    grown = expand(
        data, Counting(), still, start, jax.random.key(0), length=2, noise=1.0
    )
    first = sorted(np.asarray(grown.states)[:, 0].tolist())
    assert first == [3.0, 8.0, 8.0, 9.0, 9.0]
