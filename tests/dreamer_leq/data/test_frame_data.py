"""Stacks of frames: of one episode, in order, the same as an agent's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.data.entries import episode_firsts, episode_lasts, transition_starts
from dreamer_leq.data.frames import (
    LaterFrames,
    Shifted,
    StackedTransitions,
    stacked,
)

LENGTHS = (5, 1, 8)  # entries of the episodes
FIRST = np.concatenate([np.arange(n) == 0 for n in LENGTHS])
TIME = np.concatenate([np.arange(n) for n in LENGTHS])
N = len(FIRST)
# image t of episode e is all 20 e + t
COLOUR = 20 * (np.cumsum(FIRST) - 1) + TIME
IMAGE = np.broadcast_to(COLOUR[:, None, None, None], (N, 2, 2, 3)).astype(np.uint8)
TERMINAL = np.arange(N) == 11  # inside the last episode


def gathered(steps, gamma=0.9):
    """All transitions of so many steps, and the entries in which they begin."""
    starts = transition_starts(FIRST, TERMINAL, (), steps)
    arrays = {
        "image": jnp.asarray(IMAGE),
        "first": episode_firsts(FIRST),
        "action": np.float32(COLOUR)[:, None],
        "reward": np.float32(COLOUR),
        "is_terminal": TERMINAL,
        "transition": starts,
    }
    arrays = jax.tree.map(jnp.asarray, arrays)
    sampler = StackedTransitions(len(starts), 0, ("image",), steps, gamma, 3)
    return sampler.gather(arrays, jnp.arange(len(starts))), starts


def colours(stacks):
    """The colour of each frame of a stack [N, H, W, 9], which is of one colour."""
    frames = np.asarray(stacks).reshape(len(stacks), 2, 2, 3, 3)
    assert (frames == frames[:, :1, :1, :, :1]).all()
    return frames[:, 0, 0, :, 0]


def of_entries(entries):
    """max(t - 2, first), max(t - 1, first), t."""
    back = entries[:, None] - [2, 1, 0]
    return COLOUR[np.maximum(back, episode_firsts(FIRST)[entries][:, None])]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_stack_is_of_one_episode_oldest_frame_first(steps):
    batch, starts = gathered(steps)
    assert len(starts) == sum(max(0, n - steps) for n in LENGTHS)
    np.testing.assert_array_equal(colours(batch["image"]), of_entries(starts))
    after = of_entries(starts + steps)
    np.testing.assert_array_equal(colours(batch["next_image"]), after)
    np.testing.assert_array_equal(batch["action"][:, 0], COLOUR[starts + 1])


def test_rewards_of_several_steps_up_to_an_end():
    batch, starts = gathered(3)
    for i, start in enumerate(starts):
        total, going_on = 0.0, 1.0
        for k in range(3):
            total += 0.9**k * going_on * COLOUR[start + 1 + k]
            going_on *= 1.0 - TERMINAL[start + 1 + k]
        assert batch["reward"][i] == pytest.approx(total, rel=1e-6)
        assert batch["cont"][i] == going_on
    assert not np.all(batch["cont"])


def test_memory_and_device_give_the_same():
    end = np.array([0, 3, 5, 9])
    first = episode_firsts(FIRST)
    host = stacked(IMAGE, end, first, 3)
    device = stacked(*map(jnp.asarray, (IMAGE, end, first)), 3)
    np.testing.assert_array_equal(host, device)
    np.testing.assert_array_equal(colours(host), of_entries(end))


def test_a_phase_sees_both_states_moved_each_by_itself():
    class Phase:
        def update(self, state, batch, key):
            return state, batch

    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 255, (16, 6, 6, 3)), jnp.uint8)
    batch = {"image": image, "next_image": image, "action": 7}
    _, seen = Shifted(Phase(), 2).update(None, batch, jax.random.key(0))
    assert seen["action"] == 7
    assert (seen["image"] != image).any()
    assert (seen["image"] != seen["next_image"]).any()
    _, same = Shifted(Phase(), 0).update(None, batch, jax.random.key(0))
    np.testing.assert_array_equal(same["next_image"], image)


def test_a_later_state_is_of_the_same_episode_and_at_most_so_far():
    """Each distance that an episode has is as likely as the others."""
    starts = transition_starts(FIRST, TERMINAL)
    arrays = {
        "image": IMAGE,
        "first": episode_firsts(FIRST),
        "last": episode_lasts(FIRST),
        "action": np.float32(COLOUR)[:, None],
        "reward": np.float32(COLOUR),
        "is_terminal": TERMINAL,
        "transition": starts,
    }
    sampler = LaterFrames(len(starts), 4000, ("image",), 4, stack=3)
    index = np.asarray(sampler.draw(jax.random.key(0)))
    batch = sampler.gather(arrays, index)
    begin = starts[index[:, 0]]
    np.testing.assert_array_equal(colours(batch["image"]), of_entries(begin))
    np.testing.assert_array_equal(batch["action"][:, 0], COLOUR[begin + 1])
    newest = colours(batch["next_image"])[:, -1].astype(int)
    ahead = newest - COLOUR[begin]
    most = np.minimum(4, arrays["last"][begin] - begin)
    assert (ahead >= 1).all() and (ahead <= most).all()
    for reach in range(1, 5):
        counts = np.bincount(ahead[most == reach], minlength=reach + 1)[1:]
        expected = (most == reach).sum() / reach
        assert (np.abs(counts - expected) < 5 * expected**0.5).all()
