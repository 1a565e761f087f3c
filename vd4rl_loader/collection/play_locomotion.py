"""Plays episodes of locomotion tasks: what a worker process does when collecting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.collection.levels import Behaviour, load_policy
from vd4rl_loader.simulators.locomotion import make_locomotion

if TYPE_CHECKING:
    import gymnasium

# Observation float32 [D] -> action float32 [A] in [-1, 1], and its log-density.
Actor = Callable[[np.ndarray], tuple[np.ndarray, float]]

_load_policy = cache(load_policy)


@dataclass(frozen=True)
class EpisodePlayer:
    """Plays single episodes of a task; runs in the worker processes.

    Attributes:
      task: one of `locomotion.TASKS`.
      seed: of initial states and actions.
      parts: the behaviours of every part of the dataset, which take turns in it.
      policies: a folder of policies for the task; None for the package's own.
      x_position: whether the observations begin with x. Policies do not see it.
    """

    task: str
    seed: int
    parts: tuple[tuple[Behaviour, ...], ...]
    policies: str | None
    x_position: bool

    def __call__(self, episode: tuple[int, int]) -> dict[str, np.ndarray]:
        """Plays number `index` of part `part`; an episode depends on no other.

        Returns:
          Its transitions, as `state_files.write_d4rl` takes them.
        """
        part, index = episode
        turns = self.parts[part]
        states, actions = np.random.SeedSequence([self.seed, *episode]).spawn(2)
        rng = np.random.default_rng(actions)
        act = self._actor(turns[index % len(turns)], rng)
        seed = int(states.generate_state(1)[0])
        return _play(self._env, act, seed, self.x_position)

    def close(self) -> None:
        """Frees the simulation."""
        if "_env" in vars(self):
            self._env.close()

    @cached_property
    def _env(self) -> gymnasium.Env:
        return make_locomotion(self.task, x_position=True)

    def _actor(self, behaviour: Behaviour, rng: np.random.Generator) -> Actor:
        size = self._env.action_space.shape[0]
        if behaviour.checkpoint is None:
            density = -size * np.log(2.0)
            return lambda _: (rng.uniform(-1, 1, size).astype(np.float32), density)
        sizes = self._env.observation_space.shape[0] - 1, size  # without x
        policy = _load_policy(behaviour.checkpoint, self.task, self.policies, sizes)
        if behaviour.mode == "sampled":
            return lambda observation: policy.sample(observation, rng)
        # A mean action has no density.
        return lambda observation: (policy.act(observation, rng, "mean"), np.nan)


def _play(
    env: gymnasium.Env, act: Actor, seed: int, x_position: bool
) -> dict[str, np.ndarray]:
    first = 0 if x_position else 1
    data = env.unwrapped.data
    observation, _ = env.reset(seed=seed)
    rows = []
    over = False
    while not over:
        qpos, qvel = data.qpos.astype(np.float32), data.qvel.astype(np.float32)
        action, density = act(observation[1:].astype(np.float32))
        following, reward, terminal, timeout, _ = env.step(action)
        over = terminal or timeout
        rows.append(
            {
                "observations": observation[first:].astype(np.float32),
                "actions": action,
                "next_observations": following[first:].astype(np.float32),
                "rewards": np.float32(reward),
                # D4RL's rule for falling in the very last step: the clock was first.
                "terminals": np.bool_(terminal and not timeout),
                "timeouts": np.bool_(timeout),
                "infos/qpos": qpos,
                "infos/qvel": qvel,
                "infos/action_log_probs": np.float32(density),
            }
        )
        observation = following
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
