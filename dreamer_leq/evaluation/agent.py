"""A policy that acts in an environment.

agent = RunFolder("runs/walker").load_agent()  # dreamer_leq.run.folder
carry = agent.initial(n=1, seed=0)
action, carry = agent.act(carry, observation)  # a dict of [1, ...] arrays
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class Carry:
    """What the agent remembers of n episodes."""

    state: State
    action: Array  # [n, A] taken last
    key: Array


@struct.dataclass
class Agent:
    """The deterministic policy tanh(mean) on the world model's states."""

    world_model: WorldModel
    actor: Params
    nets: ActorCritic = struct.field(pytree_node=False)

    def initial(self, n: int, seed: int) -> Carry:
        """The memory before the first observation of n episodes."""
        state = self.world_model.initial(n)
        return Carry(state, jnp.zeros((n, self.nets.action_size)), jax.random.key(seed))

    def act(self, carry: Carry, obs: Mapping[str, Any]) -> tuple[np.ndarray, Carry]:
        """Actions [n, A] in [-1, 1] for stacked observations, and the next memory.

        obs: image uint8 [n, H, W, 3] and/or vector [n, D], and is_first [n].
        """
        names = [*self.world_model.observations, "is_first"]
        carry = _act(self, carry, {name: obs[name] for name in names})
        return np.asarray(carry.action), carry

    def policy(self, features: Array) -> Array:
        """The action tanh(mean): [n, F] -> [n, A]."""
        return self.nets.mode(self.actor, features)


@jax.jit
def _act(agent: Agent, carry: Carry, obs: dict[str, Array]) -> Carry:
    key, sample_key = jax.random.split(carry.key)
    batch = obs | {"action": carry.action}
    state = agent.world_model.filter(carry.state, batch, sample_key)
    action = agent.policy(agent.world_model.features(state))
    return Carry(state, action, key)


class RandomAgent:
    """Uniform actions: what a score is to be compared with."""

    def __init__(self, action_size: int) -> None:
        self._action_size = action_size

    def initial(self, n: int, seed: int) -> tuple[int, np.random.Generator]:
        return n, np.random.default_rng(seed)

    def act(self, carry: tuple[int, np.random.Generator], obs: Mapping[str, Any]):
        n, rng = carry
        return rng.uniform(-1, 1, (n, self._action_size)).astype(np.float32), carry
