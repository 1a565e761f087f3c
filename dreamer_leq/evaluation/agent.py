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

from dreamer_leq.algorithms.learner import Learner
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class Carry:
    """What the agent remembers of n episodes."""

    state: State
    action: Array  # [n, A] taken last
    key: Array


@struct.dataclass
class Agent:
    """A learner's policy on the world model's states: deterministic, or with noise that
    follows from the seed of its memory.
    """

    learner: Learner
    params: dict[str, Params]

    @classmethod
    def of(cls, learner: Learner, params: dict[str, Params]) -> "Agent":
        """Without the learner's optimiser: agents of one run share their compiled
        programs. An encoder that has learned is that of its world.
        """
        world = learner.world
        if "encoder" in params:
            world = world.seen_by(params["encoder"])
        return cls(learner.replace(world=world, optimizer=None), params)

    @property
    def world_model(self) -> WorldModel:
        return self.learner.world

    def initial(self, n: int, seed: int) -> Carry:
        """The memory before the first observation of n episodes."""
        state = self.world_model.initial(n)
        action = jnp.zeros((n, self.learner.nets.action_size))
        return Carry(state, action, jax.random.key(seed))

    def act(self, carry: Carry, obs: Mapping[str, Any]) -> tuple[np.ndarray, Carry]:
        """Actions [n, A] in [-1, 1] for stacked observations, and the next memory.

        obs: image uint8 [n, H, W, 3] and/or vector [n, D], and is_first [n].
        """
        names = [*self.world_model.observations, "is_first"]
        carry = _act(self, carry, {name: obs[name] for name in names})
        return np.asarray(carry.action), carry

    def after(self, carry: Carry, obs: Mapping[str, Array]) -> Carry:
        """The memory after stacked observations: what `act` compiles."""
        key, sample_key = jax.random.split(carry.key)
        batch = {**obs, "action": carry.action}
        state = self.world_model.filter(carry.state, batch, sample_key)
        policy_key = jax.random.fold_in(sample_key, 1)
        action = self.policy(self.world_model.features(state), policy_key)
        return Carry(state, action, key)

    def policy(self, features: Array, key: Array | None = None) -> Array:
        """The action in [-1, 1]: [n, F] -> [n, A]; key: for policies that sample."""
        return self.learner.policy(self.params, features, key)

    def value(self, features: Array, action: Array) -> Array:
        """Q of an action in [-1, 1]: [..., F], [..., A] -> [...]."""
        return self.learner.value(self.params, features, action)


_act = jax.jit(Agent.after)


class RandomAgent:
    """Uniform actions: what a score is to be compared with."""

    def __init__(self, action_size: int) -> None:
        self._action_size = action_size

    def initial(self, n: int, seed: int) -> tuple[int, np.random.Generator]:
        return n, np.random.default_rng(seed)

    def act(self, carry: tuple[int, np.random.Generator], obs: Mapping[str, Any]):
        n, rng = carry
        return rng.uniform(-1, 1, (n, self._action_size)).astype(np.float32), carry
