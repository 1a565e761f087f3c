"""Models of chunks: random ones, and one that is a linear system."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from learners import A, D

from dreamer_leq.config import from_presets
from dreamer_leq.world_models.chunks import ChunkModel, ChunkNet, ChunkWeights
from dreamer_leq.world_models.vectors import Vectors

STEPS = 3  # of the preset debug
NOWHERE = -40.0  # the logit of an end that never comes


def chunk_net(kind=ChunkNet, size=D, actions=A, dtype=jnp.float32, **keys):
    keys = {f"chunks.{name}": value for name, value in keys.items()}
    config = from_presets("hopper", "mac", "debug", **keys).chunks
    return kind(config, size, actions, dtype)


def random_model(dtype=np.float32, gamma=0.9):
    """One whose numbers are all random."""
    rng = np.random.default_rng(5)
    net = chunk_net(units=4, dtype=dtype)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda x: dtype(0.6 * rng.normal(size=x.shape)), shapes)
    numbers = rng.normal(size=D), rng.uniform(0.5, 1.5, D), rng.uniform(0.5, 1.5, D)
    mean, std, change = (jnp.asarray(x, dtype) for x in numbers)
    return ChunkModel(ChunkWeights(params, Vectors(mean, std), change), net, gamma)


@dataclass(frozen=True)
class LinearNet(ChunkNet):
    """s' = s + 0.1 a, each step with the reward s' + a / 2, and without an end: of as
    many numbers as an action has, rewards by the first.
    """

    def predict(self, params, features, action):
        actions = action.reshape(*action.shape[:-1], self.config.steps, -1)
        ahead = features[..., None, :] + 0.1 * jnp.cumsum(actions, -2)
        reward = ahead[..., 0] + actions[..., 0] / 2
        return 0.1 * actions.sum(-2), reward, jnp.full_like(reward, NOWHERE)


def linear_model(size=1, gamma=0.9, **keys):
    same = Vectors(jnp.zeros(size), jnp.ones(size))
    net = chunk_net(LinearNet, size, size, **keys)
    return ChunkModel(ChunkWeights({}, same, jnp.ones(size)), net, gamma)
