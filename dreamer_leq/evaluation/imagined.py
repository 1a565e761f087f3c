"""Frames out of the world model: open-loop predictions and the policy's dreams."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.world_models.imagine import imagine
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.rssm import RSSMState


def sequence_starts(is_first: np.ndarray, length: int, count: int) -> np.ndarray:
    """`count` evenly spread starts of `length` entries that stay in one episode:
    [count].

    Raises ValueError where no episode is that long.
    """
    episode = np.cumsum(is_first)
    inside = episode[: len(episode) - length + 1] == episode[length - 1 :]
    starts = np.flatnonzero(inside)
    if not len(starts):
        raise ValueError(f"no episode has {length} entries")
    return starts[np.linspace(0, len(starts) - 1, count + 2).astype(int)[1:-1]]


def open_loop(
    world_model: LatentWorldModel, batch: dict[str, Any], context: int, key: Array
) -> np.ndarray:
    """Images uint8 [B, T, H, W, 3]: reconstructions of the first `context` entries,
    then predictions from the recorded actions alone, a member being drawn per step.

    batch: image [B, T, H, W, 3], what else the world model sees, and action [B, T, A]
    in arrival order.
    """
    names = [*world_model.net.encoders, "action"]
    images = _open_loop(world_model, {k: batch[k] for k in names}, context, key)
    return np.asarray(images)


@partial(jax.jit, static_argnums=2)
def _open_loop(
    world_model: LatentWorldModel, batch: dict[str, Array], context: int, key: Array
) -> Array:
    observe_key, imagine_key = jax.random.split(key)
    seen = {name: x[:, :context] for name, x in batch.items()}
    states = _filter(world_model, seen, observe_key)
    last = jax.tree.map(lambda x: x[:, -1], states)

    action = batch["action"][:, context:].swapaxes(0, 1)
    path = imagine(world_model, action, last, imagine_key, len(action))
    imagined = jax.tree.map(lambda x: x[1:].swapaxes(0, 1), path.state)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), states, imagined)
    return _frames(world_model, both)


def dream(
    agent: Agent, batch: dict[str, Any], steps: int, key: Array
) -> tuple[np.ndarray, np.ndarray]:
    """The policy's own dream from the last entry of one sequence, once per member.

    batch: image [1, T, H, W, 3], action [1, T, A] of the context. Returns images uint8
    [E, steps, H, W, 3] and the rewards predicted with them [E, steps]. All members get
    the same random numbers.
    """
    names = [*agent.world_model.net.encoders, "action"]
    batch = {name: batch[name] for name in names}
    images, reward = _dream(agent, batch, steps, key)
    return np.asarray(images), np.asarray(reward)


@partial(jax.jit, static_argnums=2)
def _dream(
    agent: Agent, batch: dict[str, Array], steps: int, key: Array
) -> tuple[Array, Array]:
    world_model = agent.world_model
    observe_key, imagine_key = jax.random.split(key)
    states = _filter(world_model, batch, observe_key)
    start = jax.tree.map(lambda x: x[:, -1], states)

    def member_dream(member: Array) -> tuple[RSSMState, Array]:
        how = (start, imagine_key, steps)
        path = imagine(world_model, agent.policy, *how, member=member)
        return jax.tree.map(lambda x: x[1:, 0], path.state), path.reward[:, 0]

    paths, reward = jax.vmap(member_dream)(jnp.arange(world_model.members))
    return _frames(world_model, paths), reward


def _filter(
    world_model: LatentWorldModel, batch: dict[str, Array], key: Array
) -> RSSMState:
    """Posterior states [B, T] of a sequence taken for an episode's beginning."""
    net, params = world_model.net, world_model.params
    tokens = net.encode(params, batch)
    first = jnp.zeros(tokens.shape[:2], bool).at[:, 0].set(True)
    start = net.rssm.initial(len(tokens))
    states, _ = net.rssm.observe(
        params["rssm"], start, tokens, batch["action"], first, key
    )
    return states


def _frames(world_model: LatentWorldModel, states: RSSMState) -> Array:
    """Decoded images uint8 of states with two leading axes."""
    lead = states.deter.shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
    images = world_model.decode(flat)["image"]
    return images.reshape(*lead, *images.shape[1:])
