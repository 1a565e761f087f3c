"""Algorithms on stacked frames: whose loss moves the encoder, and whose doesn't."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import assert_slope, is_zero, make_state

from dreamer_leq.algorithms import learner_class
from dreamer_leq.config import from_presets
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.world_models.frames import FrameNet, Frames

A, N, SIDE = 2, 4, 8
KEY = jax.random.key(4)
TINY = {
    **{"actor.layers": 1, "critic.layers": 1, "actor.units": 3, "critic.units": 3},
    **{"frames.stack": 2, "frames.depth": 1, "frames.mults": (1,)},
    **{"frames.projection": 3, "cql.samples": 2},
}
PRESETS = {
    "iql": "iql_frames",
    "rebrac": "rebrac_frames",
    "cql": "cql_frames",
    "fql": "drq_bc",
}


def make_learner(name, dtype=jnp.float32):
    keys = TINY | {"algorithm": name}
    preset = PRESETS.get(name, "drq_bc")
    config = from_presets("demo", preset, "small_frames", "debug", **keys)
    kind = learner_class(name)
    nets = kind.nets_of(config, name, A, dtype)
    world = Frames(None, FrameNet(config.frames, SIDE, dtype))
    return kind.create(config, name, world, nets)


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (2, N, SIDE, SIDE, 6), np.uint8)
    numbers = {
        "action": rng.uniform(-1, 1, (N, A)),
        "next_action": rng.uniform(-1, 1, (N, A)),
        "reward": rng.normal(size=N),
        "cont": np.arange(N) % 3 > 0,
    }
    found = {name: jnp.asarray(x, dtype) for name, x in numbers.items()}
    return found | dict(zip(("image", "next_image"), jnp.asarray(image), strict=True))


def of_encoder(learner, state, batch):
    """All losses as a function of the encoder."""

    def losses(encoder, state, batch):
        params = state.params | {"encoder": encoder}
        return learner.losses(params, state, batch, KEY)[0]

    return losses, (state.params["encoder"], state, batch)


def test_the_critics_loss_teaches_the_encoder():
    """Against differences of the loss itself, in float64."""
    with jax.enable_x64(True):
        learner = make_learner("drq_bc", jnp.float64)
        state = make_state(learner, np.float64, alpha=2.5)
        losses, given = of_encoder(learner, state, make_batch(np.float64))
        slopes = jax.device_get(jax.jit(jax.jacrev(losses))(*given))
        critic = jax.jit(lambda *given: losses(*given)["critic"])
        value = lambda encoder: float(critic(encoder, *given[1:]))  # noqa: E731
        assert_slope(slopes["critic"], value, given[0], rtol=1e-5)
        assert not is_zero(slopes["critic"]) and is_zero(slopes["actor"])


@pytest.mark.parametrize("name", PRESETS)
def test_no_other_loss_moves_the_encoder(name):
    learner = make_learner(name)
    state = make_state(learner, **dict.fromkeys(learner.config.varies, 0.7))
    losses, given = of_encoder(learner, state, make_batch())

    def others(*given):
        found = losses(*given)
        return sum(found[name] for name in found.keys() - {"critic", "value"})

    assert is_zero(jax.jit(jax.grad(others))(*given))


def test_an_agent_sees_through_the_encoder_that_has_learned():
    learner, batch = make_learner("drq_bc"), make_batch()
    state = learner.init(KEY, {"alpha": jnp.float32(2.5)}, {})
    assert set(state.target) == {"critic"} and "encoder" in state.opt_state
    new, _ = jax.jit(learner.update)(state, batch, KEY)
    before, after = (x.params["encoder"] for x in (state, new))
    assert not is_zero(jax.tree.map(jnp.subtract, before, after))
    agent = Agent.of(learner, new.params)
    carry = agent.initial(N, 0)
    seen = {"image": np.asarray(batch["image"][..., 3:]), "is_first": np.ones(N, bool)}
    action, _ = agent.act(carry, seen)
    features = learner.features(new.params, jnp.tile(seen["image"], 2))
    np.testing.assert_allclose(action, learner.policy(new.params, features), rtol=1e-5)


def test_candidates_share_one_projection():
    """Actions [K, N, A] in states [N, F] are judged as one by one."""
    critics = make_learner("cql").nets.critics
    rng = np.random.default_rng(0)
    features = jnp.float32(rng.normal(size=(N, 5)))
    actions = jnp.float32(rng.normal(size=(3, N, A)))
    params = jax.tree.map(lambda x: x + 0.1, critics.init(KEY, 5, A))
    assert params["projection"]["linear"]["kernel"].shape == (2, 5, 3)
    found = critics.q(params, features, actions)
    each = [critics.q(params, features, action) for action in actions]
    np.testing.assert_allclose(found, jnp.stack(each, 1), rtol=1e-5, atol=1e-6)
