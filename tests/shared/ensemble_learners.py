"""LEQ on a small random ensemble with a scalar critic, its networks in NumPy, and
gradients by differences.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet, MLPEnsemble
from dreamer_leq.world_models.termination import Termination

N, D, A, H = 9, 3, 2, 4  # rows, numbers of a state and of an action, horizon
GOAL, RADIUS = (0.4, 0.1), 0.9


def make_config(**keys):
    """The preset of D4RL's locomotion with tiny networks."""
    keys = {name.replace("__", "."): value for name, value in keys.items()}
    given = {
        "ensemble.reward": "model",
        "leq.plain": True,
        "expansion.interval": 0,
        "actor.bc_weight": 0.0,
        "leq.horizon": H,
        "actor.layers": 2,
        "critic.layers": 2,
    } | keys
    return from_presets("d4rl_mujoco", "debug", **given)


def make_ensemble(config, dtype=np.float32):
    """A random ensemble in whose middle episodes end."""
    rng = np.random.default_rng(0)
    net = EnsembleNet(config.ensemble, D, A)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda x: 0.35 * rng.normal(size=x.shape), shapes)
    fields = {
        "params": params | {"min_logvar": np.full(4, -6.0)},
        "mean": 0.3 * rng.normal(size=D + A),
        "std": rng.uniform(0.5, 1.5, D + A),
        "reward_scale": 2.0,
        "reward_bias": -0.5,
    }
    fields = jax.tree.map(lambda x: jnp.asarray(x, dtype), fields)
    return MLPEnsemble(**fields, net=net, termination=Termination("goal", GOAL, RADIUS))


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(2)
    batch = {
        "vector": rng.normal(size=(N, D)),
        "next_vector": rng.normal(size=(N, D)),
        "action": rng.uniform(-1, 1, (N, A)),
        "reward": 3 * rng.normal(size=N),
        "cont": rng.random(N) < 0.7,
    }
    return {name: jnp.asarray(x, dtype) for name, x in batch.items()}


def make_learner(kind, phase, optimizer, **keys):
    """A learner of a class, for a run's phase, on such an ensemble."""
    config = make_config(**keys)
    nets = ActorCritic(config.actor, config.critic, A)
    learner = kind.create(config, phase, make_ensemble(config), nets)
    return learner.replace(optimizer=optimizer)


def random_params(nets, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: nets.init(key, D), jax.random.key(0))
    return jax.tree.map(lambda x: np.float32(0.6 * rng.normal(size=x.shape)), shapes)


# --- the networks


def _relu_net(params, x, norm):
    x = np.float64(x)
    layers = params["trunk"]
    for i in range(2):
        x = x @ np.float64(layers[f"layer{i}"]["kernel"]) + layers[f"layer{i}"]["bias"]
        if norm:
            variance = x.var(-1, keepdims=True)
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
            x = x * layers[f"norm{i}"]["scale"] + layers[f"norm{i}"]["bias"]
        x = np.maximum(x, 0)
    return x @ np.float64(layers["out"]["kernel"]) + layers["out"]["bias"]


def _symlog(x):
    return np.sign(x) * np.log(1 + np.abs(x))


def seen(world, vector):
    """A state's features."""
    mean, std = np.float64(world.mean)[:D], np.float64(world.std)[:D]
    return _symlog((np.float64(vector) - mean) / std)


def seen_action(world, action):
    """What the critic sees of a raw action, which is standardised too."""
    mean, std = np.float64(world.mean)[D:], np.float64(world.std)[D:]
    return _symlog((np.float64(action) - mean) / std)


def value(world, critic, features, action):
    """Q of a raw action: [...]."""
    x = np.concatenate([np.float64(features), seen_action(world, action)], -1)
    return _relu_net(critic, x, norm=True)[..., 0]


def heads(actor, features, low=0.1, high=1.0):
    """Mean and standard deviation before tanh."""
    out = _relu_net(actor, features, norm=False)
    std = low + (high - low) / (1 + np.exp(-(out[..., A:] + 2)))
    return out[..., :A], std


def mode(actor, features):
    return np.tanh(heads(actor, features)[0])


# --- gradients


def _slope(loss, params, way, h=1e-5):
    """Derivative of `loss` along `way`, by a central difference in float64."""
    at = [
        loss(jax.tree.map(lambda p, v: np.float64(p) + s * h * v, params, way))  # noqa: B023
        for s in (1, -1)
    ]
    return (at[0] - at[1]) / (2 * h)


def _along(grads, way):
    parts = jax.tree.map(lambda g, v: (np.float64(g) * v).sum(), grads, way)
    return sum(jax.tree.leaves(parts))


def assert_gradient(grads, loss, params, rel=2e-3):
    """`grads` are those of loss(params), a function in NumPy."""
    size = math.sqrt(sum((np.float64(g) ** 2).sum() for g in jax.tree.leaves(grads)))
    assert size > 1e-3
    for seed in range(4):
        rng = np.random.default_rng(seed)
        way = jax.tree.map(lambda x: rng.normal(size=x.shape), params)  # noqa: B023
        expected = _slope(loss, params, way)
        assert _along(grads, way) == pytest.approx(expected, rel=rel, abs=rel * size)


def assert_average(average, before, new, decay=0.995):
    """A moving average has followed the new parameters."""
    jax.tree.map(
        lambda a, b, p: np.testing.assert_allclose(
            a, decay * b + (1 - decay) * np.asarray(p), rtol=1e-4, atol=1e-6
        ),
        average,
        before,
        new,
    )
