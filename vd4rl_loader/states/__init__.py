"""State-vector datasets: D4RL's and NeoRL's files, Minari. NumPy and h5py only."""

from vd4rl_loader.states.dataset import StateDataset, StateSpec
from vd4rl_loader.states.opening import is_state_data, open_states
from vd4rl_loader.states.published import expected_file
from vd4rl_loader.states.rewards import (
    IDENTITY,
    MINUS_ONE,
    RewardTransform,
    return_range_transform,
)

__all__ = [
    "IDENTITY",
    "MINUS_ONE",
    "RewardTransform",
    "StateDataset",
    "StateSpec",
    "expected_file",
    "is_state_data",
    "open_states",
    "return_range_transform",
]
