"""The update of V-D4RL's DrQ-v2+BC (torch), by its own agent with its configuration's
numbers, on random stacks of three images of 84 x 84.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from official_torch import facts
from stand_ins import one_by_one, stand_in
from turns import Facts

ACTION, BATCH, ROWS, SIDE = 6, 256, 2000, 84


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of the update, and the seconds of n of them."""
    stand_in("hydra", "omegaconf", "dmc", "dm_env")
    sys.path.insert(0, str(Path("drqbc").resolve()))
    agent = importlib.import_module("drqv2").DrQV2Agent(
        obs_shape=(9, SIDE, SIDE),
        action_shape=(ACTION,),
        device="cpu",
        lr=1e-4,
        feature_dim=50,
        hidden_dim=1024,
        critic_target_tau=0.01,
        num_expl_steps=0,
        update_every_steps=1,
        stddev_schedule="linear(1.0,0.1,500000)",
        stddev_clip=0.3,
        use_tb=False,
        offline=True,
    )
    batches = _batches()
    return facts(f"{BATCH} of {SIDE} px"), one_by_one(lambda: agent.update(batches, 0))


def _batches() -> Any:
    """As its replay buffer gives them: stacks gathered from single images."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (ROWS, 3, SIDE, SIDE), np.uint8)

    def stacks(rows: np.ndarray) -> np.ndarray:
        parts = [images[rows - back] for back in (2, 1, 0)]
        return np.concatenate(parts, 1)

    while True:
        rows = draw.integers(2, ROWS - 1, BATCH)
        action = draw.uniform(-1, 1, (BATCH, ACTION)).astype(np.float32)
        reward = draw.uniform(size=(BATCH, 1)).astype(np.float32)
        discount = np.full((BATCH, 1), 0.99, np.float32)
        yield stacks(rows), action, reward, discount, stacks(rows + 1)
