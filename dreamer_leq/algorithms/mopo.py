"""MOPO: SAC on the dataset and on imagined rows, whose rewards are lowered by the
largest standard deviation that a member of the world model predicts (arXiv 2005.13239).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import TrainState
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.algorithms.sac import SAC
from dreamer_leq.world_models.interface import State


@struct.dataclass
class MOPO(Mixture, SAC):
    """The weight of the penalty is data: `hyper["penalty"]`. With 0 it is MBPO."""

    def imagined_reward(
        self, state: TrainState, start: State, action: Array, reward: Array
    ) -> Array:
        """r - c max_i ||σ_i(s, a)||, σ_i being that of [s' - s, r] (Eq. 6)."""
        _, std = self.world.moments(start, action)
        return reward - state.hyper["penalty"] * jnp.linalg.norm(std, axis=-1).max(0)
