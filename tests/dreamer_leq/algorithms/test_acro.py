"""ACRO: what its encoder learns, and that the policy's phase leaves it alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import assert_slope, is_zero, make_state

from dreamer_leq.algorithms.acro import ACRO, ActionPrediction, direction
from dreamer_leq.config import from_presets
from dreamer_leq.world_models.frames import FrameNet, Frames

A, N, SIDE = 2, 4, 8
KEY = jax.random.key(4)
TINY = {
    **{"actor.layers": 1, "critic.layers": 1, "actor.units": 3, "critic.units": 3},
    **{"frames.stack": 2, "frames.depth": 1, "frames.mults": (1,)},
    **{"frames.features": 3, "acro_encoder.units": 3, "acro_encoder.layers": 1},
}


def make_learner(kind, name, dtype=np.float32):
    config = from_presets("acro", "small_frames", "debug", **TINY)
    nets = kind.nets_of(config, name, A, dtype)
    world = Frames(None, FrameNet(config.frames, SIDE, dtype))
    return kind.create(config, name, world, nets)


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (2, N, SIDE, SIDE, 6), np.uint8)
    numbers = {
        "action": rng.uniform(-1, 1, (N, A)),
        "reward": rng.normal(size=N),
        "cont": np.ones(N),
    }
    found = {name: jnp.asarray(x, dtype) for name, x in numbers.items()}
    return found | dict(zip(("image", "next_image"), jnp.asarray(image), strict=True))


def test_the_encoder_learns_the_direction_of_actions():
    """By differences in float64; lengths of actions play no part."""
    with jax.enable_x64(True):
        learner = make_learner(ActionPrediction, "acro_encoder", np.float64)
        state, batch = make_state(learner, np.float64), make_batch(np.float64)

        def loss(params, batch):
            return learner.losses(params, state, batch, KEY)[0]["predictor"]

        grads = jax.device_get(jax.jit(jax.grad(loss))(state.params, batch))
        forward = jax.jit(loss)
        value = lambda params: float(forward(params, batch))  # noqa: E731
        assert_slope(grads, value, state.params, rtol=1e-5)
        longer = batch | {"action": 0.3 * batch["action"]}
        assert value(state.params) == pytest.approx(
            float(forward(state.params, longer))
        )
        _, metrics = learner.losses(state.params, state, batch, KEY)
    assert value(state.params) == pytest.approx((2 - 2 * metrics["cosine"]) / A)
    assert not is_zero(grads["encoder"]) and not is_zero(grads["predictor"])
    assert is_zero(grads["actor"]) and is_zero(grads["critic"])


def test_no_action_has_no_direction():
    found = direction(jnp.float32([[3, -4], [0, 0]]))
    np.testing.assert_allclose(found, [[0.6, -0.8], [0, 0]], rtol=1e-6)
    slope = jax.grad(lambda a: direction(a).sum())(jnp.zeros(2))
    assert np.isfinite(slope).all()


def test_the_policys_phase_takes_the_encoder_and_leaves_it_as_it_is():
    before = make_learner(ActionPrediction, "acro_encoder")
    given = make_state(before).params
    learner, batch = make_learner(ACRO, "acro"), make_batch()
    state = learner.init(KEY, {"alpha": jnp.float32(2.5)}, given)
    jax.tree.map(
        np.testing.assert_array_equal, state.params["encoder"], given["encoder"]
    )
    assert not is_zero(
        jax.tree.map(jnp.subtract, state.params["actor"], given["actor"])
    )
    new, _ = jax.jit(learner.update)(state, batch, KEY)
    jax.tree.map(np.testing.assert_array_equal, new.params["encoder"], given["encoder"])
    moved = jax.tree.map(jnp.subtract, new.params["critic"], state.params["critic"])
    assert not is_zero(moved)
