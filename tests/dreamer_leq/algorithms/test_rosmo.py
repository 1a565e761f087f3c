"""ROSMO: weights of imagined actions, and its losses against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from learners import assert_slope, is_zero, make_state, net
from worlds import World

from dreamer_leq.algorithms.rosmo import ROSMO, relative_weights
from dreamer_leq.config import from_presets

A, N = 2, 6
KEY = jax.random.key(3)
TINY = {
    **{"algorithm": "rosmo", "rosmo.n_step": 3, "rosmo.gamma": 0.9},
    **{"actor.network": "mlp", "actor.layers": 1, "actor.units": 3},
    **{"critic.network": "mlp", "critic.layers": 1, "critic.units": 3},
    **{"critic.output": "scalar"},
}


@struct.dataclass
class Sums(World):
    """An action is added to the state; its first number is the reward."""

    def step(self, state, action, noise):
        after = state.at[:, :A].add(action)
        return after, action[:, 0], 0.5 + 0 * action[:, 0]


def make_batch(dtype):
    rng = np.random.default_rng(2)
    numbers = {
        "state": rng.normal(size=(N, 3)),
        "next_state": rng.normal(size=(N, 3)),
        "action": rng.uniform(-1, 1, (N, A)),
        "reward": rng.normal(size=N),
        "cont": np.arange(N) % 3 > 0,
    }
    return {name: jnp.asarray(x, dtype) for name, x in numbers.items()}


def log_prob(actor, state, action):
    mean, log_std = np.tanh(net(actor["mean"], state)), actor["log_std"]
    z = (action - mean) / np.exp(log_std)
    return (-0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)


def value(critic, state):
    return net(critic, state)[..., 0]


def test_losses_and_gradients():
    config = from_presets("demo", "debug", **TINY)
    with jax.enable_x64(True):
        nets = ROSMO.nets_of(config, "rosmo", A, np.float64)
        learner = ROSMO.create(config, "rosmo", Sums(), nets)
        state = make_state(learner, np.float64, behaviour=0.7)
        batch = make_batch(np.float64)

        def losses(params, state, batch):
            return learner.losses(params, state, batch, KEY)[0]

        given = state.params, state, batch
        slopes = jax.device_get(jax.jit(jax.jacrev(losses))(*given))
        found = jax.device_get(losses(*given))
        drawn = state.target["actor"], batch["state"], jax.random.split(KEY)[0]
        own = np.asarray(nets.policy.sample(*drawn, count=4))
        state, batch = jax.device_get((state, batch))
    params, average, seen = state.params, state.target, batch["state"]
    slow = value(average["critic"], seen)
    ahead = batch["cont"] * value(average["critic"], batch["next_state"])
    target = batch["reward"] + 0.9**3 * ahead
    after = np.repeat(np.asarray(seen)[None], 4, 0)
    after[..., :A] += own
    advantage = own[..., 0] + 0.9 * 0.5 * value(average["critic"], after) - slow
    e = np.exp(advantage.clip(-5, 5))
    weight = 4 * e / (1 + e.sum(0) - e)

    def actor_loss(actor):
        likely = (weight * log_prob(actor, seen, own)).mean()
        better = np.asarray(target > slow)
        data = (better * log_prob(actor, seen, batch["action"])).mean()
        return -likely - 0.7 * data

    def critic_loss(critic):
        return ((value(critic, seen) - target) ** 2).mean()

    assert found["actor"] == pytest.approx(actor_loss(params["actor"]), rel=1e-5)
    assert_slope(slopes["actor"]["actor"], actor_loss, params["actor"], rtol=1e-4)
    assert found["critic"] == pytest.approx(critic_loss(params["critic"]))
    assert_slope(slopes["critic"]["critic"], critic_loss, params["critic"])
    assert is_zero(slopes["actor"]["critic"]) and is_zero(slopes["critic"]["actor"])


def test_weights_are_relative_to_the_others():
    """1 where none is better; e alone; finite however good."""
    np.testing.assert_allclose(relative_weights(jnp.zeros((4, 2))), 1)
    alone = relative_weights(jnp.array([[0.5]]))
    assert alone[0, 0] == pytest.approx(np.exp(0.5))
    found = relative_weights(jnp.array([1.0, 0.0, -1.0]))
    e = np.exp([1.0, 0.0, -1.0])
    expected = [e[i] / ((1 + e.sum() - e[i]) / 3) for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isfinite(relative_weights(jnp.array([1e6, -1e6]))).all()
