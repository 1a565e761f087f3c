"""Learners that are small enough for NumPy: their networks, batches, and gradients by
differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ensemble_learners import make_ensemble, seen, seen_action

from dreamer_leq.algorithms import learner_class
from dreamer_leq.algorithms.learner import TrainState
from dreamer_leq.config import from_presets
from dreamer_leq.world_models.vectors import Vectors

N, D, A = 7, 3, 2  # rows, numbers of a state and of an action
TINY = {"actor.units": 3, "critic.units": 3, "ensemble.reward": "model"}


def make_learner(name, dtype=jnp.float32, ensemble=False, preset=None, **keys):
    """A learner on raw states, or on a random ensemble, its preset at debug size with
    tiny networks.
    """
    keys = {key.replace("__", "."): value for key, value in keys.items()}
    keys = TINY | {"algorithm": name} | keys
    config = from_presets("hopper", preset or name, "debug", **keys)
    kind = learner_class(name)
    nets = kind.nets_of(config, name, A, dtype)
    world = Vectors(jnp.zeros(D, dtype), jnp.ones(D, dtype))
    world = make_ensemble(config, dtype) if ensemble else world
    return kind.create(config, name, world, nets)


def make_state(learner, dtype=np.float32, **hyper):
    """A state whose networks, and their averages, are random and none alike."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(learner.networks, jax.random.key(0))
        return jax.tree.map(lambda x: dtype(0.6 * rng.normal(size=x.shape)), shapes)

    numbers = {name: jnp.asarray(x, dtype) for name, x in hyper.items()}
    params, averages = draw(1), draw(2)
    if "temperature" in params:  # below 1, the most that some let α be
        params["temperature"] = jax.tree.map(lambda x: -abs(x), params["temperature"])
    target = {name: averages[name] for name in learner.averaged}
    opt_state, zero = learner.optimizer.init(params), jnp.zeros((), jnp.int32)
    return TrainState(params, target, opt_state, zero, numbers, learner.remember())


def make_batch(dtype=np.float32, n=N):
    rng = np.random.default_rng(3)
    batch = {
        "vector": rng.normal(size=(n, D)),
        "next_vector": rng.normal(size=(n, D)),
        "action": rng.uniform(-1, 1, (n, A)),
        "next_action": rng.uniform(-1, 1, (n, A)),
        "reward": 3 * rng.normal(size=n),
        "cont": np.arange(n) % 3 > 0,
    }
    return {name: jnp.asarray(x, dtype) for name, x in batch.items()}


# --- the networks in NumPy


def net(params, x):
    """ReLU layers, each with its norm where it has one."""
    x, layers = np.asarray(x), params["trunk"]
    for i in range(sum(name.startswith("layer") for name in layers)):
        x = x @ layers[f"layer{i}"]["kernel"] + layers[f"layer{i}"]["bias"]
        if norm := layers.get(f"norm{i}"):
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
            x = x * norm["scale"] + norm["bias"]
        x = np.maximum(x, 0)
    return x @ layers["out"]["kernel"] + layers["out"]["bias"]


def q_values(critics, state, action):
    """Q_i(s, a): [critics, N]."""
    x = np.concatenate([state, action], -1)
    count = len(jax.tree.leaves(critics)[0])
    each = (jax.tree.map(lambda p, i=i: p[i], critics) for i in range(count))
    return np.stack([net(one, x)[..., 0] for one in each])


def q_of(world, critics, state, action):
    """Q_i(s, a) with an ensemble's features: [critics, N]."""
    return q_values(critics, seen(world, state), seen_action(world, action))


# --- gradients


def gradient(learner, state, batch, name, key=None):
    """That of one of the learner's losses, by all networks, and its value."""
    key = jax.random.key(0) if key is None else key

    def loss(params, state, batch):
        return learner.losses(params, state, batch, key)[0][name]

    value, grads = jax.jit(jax.value_and_grad(loss))(state.params, state, batch)
    return float(value), jax.device_get(grads)


def assert_slope(grads, loss, params, rtol=1e-6, step=1e-5):
    """`grads` are the slopes of `loss`, a NumPy function, in some directions."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        way = jax.tree.map(lambda p, rng=rng: rng.normal(size=p.shape), params)
        ahead, behind = (
            jax.tree.map(lambda p, d, s=sign: np.float64(p) + s * step * d, params, way)
            for sign in (1, -1)
        )
        slope = (loss(ahead) - loss(behind)) / (2 * step)
        found = sum(map(np.vdot, jax.tree.leaves(grads), jax.tree.leaves(way)))
        np.testing.assert_allclose(found, slope, rtol=rtol, atol=rtol)


def is_zero(tree):
    return not any(np.asarray(x).any() for x in jax.tree.leaves(tree))


def same(a, b, rtol=0.0):
    """Two trees leaf by leaf: bit by bit, or within `rtol`."""
    check = lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)  # noqa: E731
    jax.tree.map(check, a, b)
