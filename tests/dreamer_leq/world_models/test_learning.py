"""A tiny world model learns something."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_leq.config import from_presets
from dreamer_leq.nn.optimizer import make_optimizer
from dreamer_leq.world_models.latent import LatentNet, ObservationSpec
from dreamer_leq.world_models.latent_training import WorldModelTraining

SIDE, STEPS, UPDATES = 16, 65, 150


def moving_square():
    """A bright square that moves over a gradient of colours, and a reward."""
    position = 6 + 3 * np.sin(np.arange(STEPS))[:, None] * [1, -1]
    row, column = np.mgrid[:SIDE, :SIDE]
    image = np.zeros((1, STEPS, SIDE, SIDE, 3), np.uint8)
    image[..., 0], image[..., 1] = 8 * row, 8 * column
    for t, (r, c) in enumerate(position.round().astype(int)):
        image[0, t, r : r + 5, c : c + 5] = 255
    return {
        "image": jnp.asarray(image),
        "action": jnp.zeros((1, STEPS, 2)),
        "reward": jnp.sin(jnp.arange(STEPS, dtype=jnp.float32))[None],
        "is_first": (jnp.arange(STEPS) == 0)[None],
        "is_terminal": jnp.zeros((1, STEPS), bool),
    }


def test_one_sequence_is_learned_by_heart():
    """65 steps: image loss under 10 % of the initial within 150 updates."""
    keys = {"data.image_size": SIDE, "latent.image": "patch"}
    keys |= {"latent.depth": 4, "latent.mults": (2, 3)}
    net = LatentNet(from_presets("debug", **keys).latent, ObservationSpec(SIDE, 0, 2))
    optimizer = make_optimizer(2e-2, warmup=10, schedule="constant")
    phase, batch = WorldModelTraining(net, optimizer), moving_square()

    update, state = jax.jit(phase.update), jax.jit(phase.init)(jax.random.key(15))
    history = []
    for key in jax.random.split(jax.random.key(16), UPDATES):
        state, metrics = update(state, batch, key)
        history.append(metrics)
    metrics = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(history))
    loss = metrics["image_loss"]
    assert loss[-10:].mean() < 0.1 * loss[0]
    assert metrics["reward_loss"][-10:].mean() < 0.5 * metrics["reward_loss"][0]
