"""MOPO: SAC on the dataset and on imagined rows, whose rewards are lowered by the
largest standard deviation that a member of the world model predicts (arXiv 2005.13239).
"""

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
        """r - c u(s, a) (Eq. 6), u as the world model has it."""
        uncertainty = self.world.uncertainty(start, action)
        return reward - state.hyper["penalty"] * uncertainty
