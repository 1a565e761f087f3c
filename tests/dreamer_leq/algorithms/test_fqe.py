"""Fitted Q evaluation against NumPy, and in a chain whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ensemble_learners import (
    assert_average,
    assert_gradient,
    make_batch,
    make_learner,
    mode,
    random_params,
    seen,
    value,
)

from dreamer_leq.algorithms.fqe import FQE
from dreamer_leq.nn.optimizer import by_group


def make_fqe(optimizer, **keys):
    optimizers = {"critic": optimizer, "actor": optax.set_to_zero()}
    return make_learner(FQE, "fqe", by_group(optimizers.get), **keys)


def test_an_update_descends_the_squared_error_to_the_policys_values():
    """The target is the old critic at the policy's action; beside it the pull to the
    moving average.
    """
    phase = make_fqe(optax.sgd(1.0))
    world, nets = phase.world, phase.nets
    params, batch = random_params(nets, 1), make_batch()
    slow = random_params(nets, 8)["critic"]
    state = phase.init(jax.random.key(0), {}, jax.tree.map(jnp.asarray, params))
    jax.tree.map(
        np.testing.assert_array_equal, state.target["critic"], params["critic"]
    )
    new, metrics = jax.jit(phase.update)(
        state.replace(target={"critic": slow}), batch, jax.random.key(0)
    )
    old = params["critic"]
    data = seen(world, batch["vector"]), np.float64(batch["action"])
    after = seen(world, batch["next_vector"])
    next_q = value(world, old, after, mode(params["actor"], after))
    target = np.asarray(batch["reward"]) + 0.997 * np.asarray(batch["cont"]) * next_q
    held = value(world, slow, *data)

    def fit(critic):
        return ((value(world, critic, *data) - target) ** 2).mean()

    def loss(critic):
        return fit(critic) + ((value(world, critic, *data) - held) ** 2).mean()

    assert metrics["critic_loss"] == pytest.approx(fit(old), rel=1e-3)
    grads = jax.tree.map(lambda p, q: p - np.asarray(q), old, new.params["critic"])
    assert_gradient(grads, loss, old)
    jax.tree.map(np.testing.assert_array_equal, new.params["actor"], params["actor"])
    assert_average(new.target["critic"], slow, new.params["critic"])


def test_on_a_chain_it_finds_the_policys_values():
    """Three states in a row, reward 1 for the last step: γ², γ, 1, and 0 after."""
    phase = make_fqe(optax.adam(1e-2), leq__gamma=0.5, critic__ema_weight=0.0)
    world, nets = phase.world, phase.nets
    params = jax.tree.map(jnp.asarray, random_params(nets, 1))
    line = np.float32(np.arange(4.0)[:, None] * [1.0, -0.5, 0.3])
    before = world.features(line)
    action = nets.mode(params["actor"], before)
    batch = {
        "vector": line[:3],
        "next_vector": line[1:],
        "action": action[:3],
        "reward": np.float32([0, 0, 1]),
        "cont": np.float32([1, 1, 0]),
    }
    train = jax.jit(
        lambda state: jax.lax.fori_loop(
            0, 600, lambda _, s: phase.update(s, batch, None)[0], state
        )
    )
    critic = train(phase.init(jax.random.key(0), {}, params)).params["critic"]
    q = nets.q(critic, before[:3], world.action_features(action[:3]))
    np.testing.assert_allclose(q, [0.25, 0.5, 1.0], atol=0.02)
