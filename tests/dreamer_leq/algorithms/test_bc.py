"""Behaviour cloning: the policy comes to the data's actions, the critic to returns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from worlds import World

from dreamer_leq.algorithms.bc import BC
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic

KEY = jax.random.key(0)


def cloning(optimizer, critic, best=1.0):
    config = from_presets("debug", **{"bc.critic": critic, "bc.best": best})
    nets = ActorCritic(config.actor, config.critic, 2)
    return BC.create(config, "bc", World(), nets).replace(optimizer=optimizer)


def make_batch(n=64):
    rng = np.random.default_rng(2)
    state = jnp.float32(rng.uniform(-1, 1, (n, World.feature_size)))
    action = jnp.tanh(state[:, :2] * 2)
    returns = 20 * state[:, 0] + 5 * action[:, 1]
    nothing = dict.fromkeys(("reward", "cont"), jnp.zeros(n))
    return {"state": state, "action": action, "return": returns} | nothing


def test_policy_and_critic_come_to_the_data():
    data, learner = make_batch(), cloning(optax.adam(1e-2), "monte_carlo")
    assert learner.trained == ("actor", "critic") and learner.reads == ("return",)

    def step(state, _):
        return learner.update(state, data, KEY)

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=400))
    state, metrics = run(learner.init(KEY, {}, {}))
    action = learner.policy(state.params, data["state"])
    np.testing.assert_allclose(action, data["action"], atol=0.2)
    assert metrics["bc_loss"][-1] < 0.05 * metrics["bc_loss"][0]
    q = learner.nets.q(state.params["critic"], data["state"], data["action"])
    assert np.corrcoef(q, data["return"])[0, 1] > 0.95
    np.testing.assert_allclose(metrics["return"], data["return"].mean(), rtol=1e-4)


def test_without_returns_the_critic_stays():
    learner = cloning(optax.sgd(0.1), "none")
    start = learner.init(KEY, {}, {})
    state, metrics = jax.jit(learner.update)(start, make_batch(), KEY)
    changed = {
        name: float(optax.tree.norm(optax.tree.sub(state.params[name], x)))
        for name, x in start.params.items()
    }
    assert changed["actor"] > 0 and changed["critic"] == 0
    assert "critic_loss" not in metrics
    assert learner.trained == ("actor",) and learner.reads == ()


def test_only_the_best_episodes_are_cloned():
    """A quarter of the rows are of episodes with a rank below 0.3: a batch of them
    alone gives the same policy, and none of them leaves it as it is.
    """
    data = make_batch() | {"rank": jnp.tile(jnp.array([0.2, 0.3, 0.6, 0.9]), 16)}
    chosen = jax.tree.map(lambda x: x[::4], data)
    others = jax.tree.map(lambda x: x[1::4], data)
    some, every = (cloning(optax.sgd(0.1), "monte_carlo", x) for x in (0.3, 1.0))
    assert some.reads == ("return", "rank") and every.reads == ("return",)
    start = every.init(KEY, {}, {})

    def actor(learner, batch):
        return jax.jit(learner.update)(start, batch, KEY)[0].params["actor"]

    close = partial(jax.tree.map, partial(np.testing.assert_allclose, atol=1e-6))
    close(actor(some, data), actor(every, chosen))
    close(actor(some, others), start.params["actor"])
    moved = optax.tree.sub(actor(some, data), actor(every, data))
    assert optax.tree.norm(moved) > 1e-4
