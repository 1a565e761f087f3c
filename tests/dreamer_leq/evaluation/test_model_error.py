"""Errors and disagreement of world models whose faults are known."""

from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax import Array

from dreamer_leq import UserError
from dreamer_leq.config import from_presets
from dreamer_leq.evaluation.model_error import (
    disagreement,
    draw_sequences,
    open_loop_errors,
)
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)

EPISODES, LENGTH, CONTEXT, H = 6, 12, 3, 5
STD = np.array([2.0, 0.5])
DRIFT, OFFSET = 0.25, 0.5  # of the second member's state, of the third one's reward


@struct.dataclass
class Faulty:
    """s' = s + a, reward = sum of s'. Member 0 is exact, member 1's states drift,
    member 2's rewards are too high. A step to `wall` or beyond it ends the episode.
    What is decoded is `seen` times the state.
    """

    wall: Array
    # and not a subclass: now and then JAX takes two dataclasses with the same fields
    # for one type, and runs the other one's program
    seen: float = struct.field(pytree_node=False, default=1.0)

    members = 3
    observations = ("vector",)

    def member_step(self, state, action, key, member):
        exact = state + action
        reward = exact.sum(-1) + jnp.where(member == 2, OFFSET, 0.0)
        after = exact + jnp.where(member == 1, DRIFT, 0.0)
        return after, reward, (after[:, 0] < self.wall).astype(jnp.float32)

    def noise(self, key, n):
        return key

    def step(self, state, action, key):
        return self.member_step(state, action, key, 2)

    def features(self, state):
        return state

    def disagreement(self, state, action):
        return jnp.abs(state[:, 0])

    def decode(self, state):
        grey = (10 * state[:, :1]).astype(jnp.uint8)[:, :, None, None]
        image = jnp.broadcast_to(grey, (len(state), 2, 2, 3))
        return {"vector": self.seen * state, "image": image}

    def initial(self, n):
        return jnp.zeros((n, 2))

    def filter(self, state, batch, key):
        return batch["vector"]


@struct.dataclass
class Right:
    """Always to the right."""

    def policy(self, features, key):
        return jnp.ones((len(features), 2))


def make_dataset(lengths=(LENGTH,) * EPISODES):
    """Walks of s' = s + a with rewards and grey images, in positive numbers."""
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, *lengths])
    action = rng.uniform(0, 1, (offsets[-1], 2)).astype(np.float32)
    action[offsets[:-1]] = 0
    parts = [action[a:b].cumsum(0) for a, b in pairwise(offsets)]
    vector = np.concatenate(parts) + 0.5
    grey = (10 * vector[:, :1]).astype(np.uint8)[:, :, None, None]
    image = np.broadcast_to(grey, (len(vector), 2, 2, 3))
    arrays = dict(vector=vector, image=image, action=action)
    return SimpleNamespace(**arrays, reward=vector.sum(-1), offsets=offsets)


def sequences(dataset, count=EPISODES, horizon=H):
    names = ("vector", "image")
    settings = dict(context=CONTEXT, horizon=horizon, count=count)
    return draw_sequences(dataset, names, dataset.reward, **settings)


@pytest.fixture(scope="module")
def errors():
    found = sequences(make_dataset())
    return open_loop_errors(Faulty(jnp.inf), found, STD, mean_reward=4.0)


def test_an_exact_member_has_no_error(errors):
    for kind in ("state", "reward", "image"):
        np.testing.assert_allclose(errors[kind]["members"][0], 0, atol=2e-6)


def test_known_faults_are_found_step_by_step(errors):
    steps = np.arange(1, H + 1)
    state, reward = errors["state"]["members"], errors["reward"]["members"]
    drift = DRIFT * steps * (1 / STD).mean()
    np.testing.assert_allclose(state[1], drift, rtol=1e-5)
    # a step's reward is that of the state before its own drift
    np.testing.assert_allclose(reward[1], 2 * DRIFT * (steps - 1), atol=1e-5)
    np.testing.assert_allclose(reward[2], OFFSET, rtol=1e-5)
    np.testing.assert_allclose(state[2], 0, atol=2e-6)


def test_the_mixture_steps_with_drawn_members_and_has_an_interval(errors):
    """`step` is here always member 2's: off by the same everywhere."""
    for name in ("mixture", "low", "high"):
        np.testing.assert_allclose(errors["reward"][name], OFFSET, rtol=1e-5)


def test_images_are_compared_in_their_range(errors):
    """A grey of 10 x, so that a drift of d makes 10 d of 255, up to rounding down."""
    expected = 10 * DRIFT * np.arange(1, H + 1) / 255
    found = errors["image"]["members"][1]
    np.testing.assert_allclose(found, expected, atol=1 / 255)
    assert (np.diff(found) > 0).all()


def test_the_baseline_repeats_what_was_seen_last(errors):
    found = sequences(make_dataset()).arrays
    last, later = found["vector"][:, CONTEXT - 1, None], found["vector"][:, CONTEXT:]
    state = (np.abs(later - last) / STD).mean((0, 2))
    np.testing.assert_allclose(errors["state"]["baseline"], state, rtol=1e-5)
    reward = np.abs(found["reward"][:, CONTEXT:] - 4.0).mean(0)
    np.testing.assert_allclose(errors["reward"]["baseline"], reward, rtol=1e-5)
    pixels = found["image"].astype(float)[:, :, 0, 0, 0] / 255
    image = np.abs(pixels[:, CONTEXT:] - pixels[:, CONTEXT - 1, None]).mean(0)
    np.testing.assert_allclose(errors["image"]["baseline"], image, rtol=1e-5)


def test_intervals_are_those_of_episodes():
    """Errors that differ between episodes alone: the mean's interval is theirs."""
    dataset = make_dataset()
    dataset.reward = dataset.reward + np.repeat(np.arange(EPISODES), LENGTH)
    found = open_loop_errors(Faulty(jnp.inf), sequences(dataset), STD, 0.0)["reward"]
    np.testing.assert_allclose(found["members"][0], np.arange(EPISODES).mean())
    assert (found["low"] < found["mixture"]).all()
    assert (found["mixture"] < found["high"]).all()
    assert (found["high"] - found["low"] > 2).all()


def test_disagreement_is_along_the_rollouts_of_each_source_of_actions():
    found = sequences(make_dataset())
    values = disagreement(Faulty(jnp.inf), found, Right())
    x = found.arrays["vector"][:, CONTEXT - 1 : -1, 0].mean(0)
    np.testing.assert_allclose(values["data"], x, rtol=1e-5)
    np.testing.assert_allclose(values["policy"], x[0] + np.arange(H), rtol=1e-5)
    assert values["random"].shape == (H,) and values["random"][0] == values["data"][0]
    assert "policy" not in disagreement(Faulty(jnp.inf), found)


def test_an_ended_rollout_keeps_its_disagreement():
    found = sequences(make_dataset())
    start = found.arrays["vector"][:, CONTEXT - 1, 0]
    values = disagreement(Faulty(jnp.float32(5.0)), found, Right())["policy"]
    path = start[:, None] + np.arange(H)
    inside = np.where(path < 5, path, -np.inf)
    assert np.isinf(inside[:, -1]).all() and (inside[:, 0] > 0).all()
    expected = np.maximum.accumulate(inside, 1).mean(0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_a_model_that_diverges_has_finite_errors():
    diverging = Faulty(jnp.inf, seen=float("inf"))
    found = open_loop_errors(diverging, sequences(make_dataset()), STD, 0.0)
    assert np.isfinite(found["state"]["mixture"]).all()
    assert (found["state"]["mixture"] == 1e6).all()


def test_a_latent_world_model_is_measured_through_the_same_interface():
    """One that has learned nothing, of images and vectors."""
    keys = {"data.image_size": 16, "latent.image": "patch", "latent.mults": (2, 3)}
    config = from_presets("debug", **keys, **{"latent.depth": 4})
    net = LatentNet(config.latent, ObservationSpec(16, 2, 2))
    model = LatentWorldModel(jax.jit(net.init)(jax.random.key(0)), net)
    dataset = make_dataset()
    corner = dataset.image[:, :1, :1]
    dataset.image = np.broadcast_to(corner, (len(corner), 16, 16, 3))
    found = sequences(dataset)
    errors = open_loop_errors(model, found, STD, 0.0)
    assert set(errors) == {"image", "state", "reward"}
    for error in errors.values():
        assert error["members"].shape == (2, H) and error["mixture"].shape == (H,)
    assert (errors["image"]["mixture"] > 0.2).all()  # grey in the place of black
    values = disagreement(model, found, Right())
    for name in ("data", "policy", "random"):
        assert values[name].shape == (H,)
        assert (values[name] >= 0).all() and (values[name] <= np.log(2)).all()
    assert len({values[name][0] for name in values}) == 3


# --- sequences


def test_sequences_are_spread_over_the_dataset_and_stay_in_their_episodes():
    dataset = make_dataset((12, 4, 9, 8, 3, 30))
    found = sequences(dataset, count=4)
    vector, action = found.arrays["vector"], found.arrays["action"]
    assert vector.shape == (4, CONTEXT + H, 2) and found.horizon == H
    np.testing.assert_allclose(np.diff(vector, axis=1), action[:, 1:], atol=1e-5)
    first = found.arrays["is_first"]
    assert first[:, 0].all() and not first[:, 1:].any()
    again = sequences(dataset, count=4).arrays["vector"]
    np.testing.assert_array_equal(again, vector)
    ends = sequences(dataset, count=2).arrays["vector"]  # of the first and last episode
    rows = [np.flatnonzero((dataset.vector == x[0]).all(1))[0] for x in ends]
    assert rows[0] < 12 and rows[1] >= dataset.offsets[-2]


def test_short_episodes_shorten_the_horizon():
    assert sequences(make_dataset((3, 5, 6)), horizon=20).horizon == 2
    with pytest.raises(UserError, match=r"video\.context: 3 .* have 3 at most"):
        sequences(make_dataset((3, 3, 2)))
