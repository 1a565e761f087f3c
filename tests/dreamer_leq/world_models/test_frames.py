"""Stacked frames: an agent's memory, random shifts, and encoders."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.data.entries import episode_firsts
from dreamer_leq.data.frames import stacked
from dreamer_leq.world_models.frames import FrameNet, Frames, random_shift

CONFIG = from_presets("drq_bc", "small_frames", "debug").frames


def test_an_agents_stacks_are_the_datasets():
    """Two environments, one of which begins a new episode on the way."""
    rng, steps = np.random.default_rng(0), 7
    images = rng.integers(0, 255, (2, steps, 8, 8, 3), np.uint8)
    first = np.zeros((2, steps), bool)
    first[:, 0] = first[1, 3] = True
    world = Frames(None, FrameNet(CONFIG, 8))
    state, seen = world.initial(2), []
    for t in range(steps):
        batch = {"image": images[:, t], "is_first": first[:, t]}
        state = world.filter(state, batch, None)
        seen.append(np.asarray(state))
    for i in range(2):
        expected = stacked(images[i], np.arange(steps), episode_firsts(first[i]), 3)
        np.testing.assert_array_equal([x[i] for x in seen], expected)
    newest = world.decode(state)["image"]
    np.testing.assert_array_equal(newest, images[:, -1])


def test_a_shift_moves_all_of_a_state_alike_by_any_whole_pixels():
    """Every pixel says where it was; all 5 x 5 offsets occur, and edges go on."""
    n, side, pad = 400, 5, 2
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    image = np.broadcast_to(np.tile(at, 3), (n, side, side, 6)).astype(np.uint8)
    moved = np.asarray(random_shift(jnp.asarray(image), jax.random.key(0), pad))
    moved = moved.reshape(n, side, side, 3, 2)
    assert (moved == moved[:, :, :, :1]).all()
    offset = moved[:, 2, 2, 0].astype(int) - 2
    assert len(np.unique(offset, axis=0)) == 25 and np.abs(offset).max() == pad
    expected = (at[None] + offset[:, None, None]).clip(0, side - 1)
    np.testing.assert_array_equal(moved[:, :, :, 0], expected)


@pytest.mark.parametrize(("side", "features"), [(64, 20_000), (84, 39_200)])
def test_drqs_encoder_has_as_many_features_as_its_papers(side, features):
    net = FrameNet(replace(CONFIG, image="drq", depth=32), side)
    assert Frames(None, net).feature_size == features


def test_an_encoder_sees_every_frame_of_each_state():
    net = FrameNet(replace(CONFIG, image="patch", mults=(1,)), 8)
    state = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 9), np.uint8)
    world = Frames(None, net).seen_by(net.init(jax.random.key(0)))
    found = world.features(state)
    assert found.shape == (2, world.feature_size) and found.dtype == jnp.float32
    for frame in range(3):
        other = state.copy()
        other[0, ..., 3 * frame] ^= 128
        changed = np.any(world.features(other) != found, axis=-1)
        assert changed[0] and not changed[1]
