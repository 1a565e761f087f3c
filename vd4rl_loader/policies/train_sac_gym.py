"""Trains policies as `train_sac` does, on Gymnasium's locomotion tasks.

python -m vd4rl_loader.policies.train_sac_gym Hopper-v4 --steps 220000 --out DIR
"""

from __future__ import annotations

import numpy as np

from vd4rl_loader.policies.train_sac import Task, run
from vd4rl_loader.simulators.locomotion import make_locomotion
from vd4rl_loader.simulators.simulate import Step

RANDOM_STEPS = 5_000


class LocomotionEnv:
    """A locomotion task, seeded; episodes end after 1000 steps or with a fall.

    Attributes:
      action_size: number of action components A.
      observation: float32 [D], without the x position.
    """

    def __init__(self, task: str, seed: int) -> None:
        self._env = make_locomotion(task, x_position=False)
        self._seed: int | None = seed  # until the first reset
        self.action_size = self._env.action_space.shape[0]

    def reset(self) -> Step:
        observation, _ = self._env.reset(seed=self._seed)
        self._seed, self.observation = None, observation.astype(np.float32)
        return Step(None, 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        observation, reward, terminal, timeout, _ = self._env.step(action)
        self.observation = observation.astype(np.float32)
        return Step(None, float(reward), False, terminal or timeout, terminal)


if __name__ == "__main__":
    run(lambda name: Task(name, lambda seed: LocomotionEnv(name, seed), RANDOM_STEPS))
