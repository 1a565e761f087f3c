"""Plays single episodes: what a worker process does when a dataset is collected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.collection import levels
from vd4rl_loader.collection.recipe import Recipe
from vd4rl_loader.errors import DataError
from vd4rl_loader.files import episode_files
from vd4rl_loader.simulators.locomotion import make_locomotion
from vd4rl_loader.simulators.simulate import PixelEnv

if TYPE_CHECKING:
    import gymnasium

# Observation float32 [D] -> action float32 [A] in [-1, 1], and its log-density.
Actor = Callable[[np.ndarray], tuple[np.ndarray, float]]

_load_policy = cache(levels.load_policy)


@dataclass(frozen=True)
class EpisodeMaker:
    """Plays and writes single episodes of a recipe; runs in the worker processes."""

    recipe: Recipe

    def __call__(self, index: int) -> None:
        """Makes the files of episode number `index`."""
        recipe = self.recipe
        behaviour = recipe.behaviours[index % len(recipe.behaviours)]
        env, rng = self.begin(index)
        with contextlib.closing(env):
            act = levels.actor(behaviour, recipe.task, recipe.policies, env, rng)
            sizes = {suffix: style.size for suffix, style in recipe.styles.items()}
            episode, images = play_episode(env, act, set(sizes.values()))
        for suffix, size in sizes.items():
            folder, name = recipe.folder(suffix), recipe.name(index)
            whole = {"image": images[size], **episode}
            try:
                episode_files.write_episode(folder, name, suffix, whole)
            except OSError as error:
                raise DataError(f"{folder}: cannot write: {error}") from error

    def begin(self, index: int) -> tuple[PixelEnv, np.random.Generator]:
        """An episode's own environment, and generator of its actions."""
        recipe = self.recipe
        states, actions = np.random.SeedSequence([recipe.seed, index]).spawn(2)
        # Not an earlier episode's environment: what was done to that cannot matter.
        seed = int(states.generate_state(1)[0])
        env = PixelEnv(recipe.task, recipe.render, seed, recipe.action_repeat)
        return env, np.random.default_rng(actions)


def play_episode(
    env: PixelEnv, act: Callable[[np.ndarray], np.ndarray], sizes: set[int]
) -> tuple[dict[str, np.ndarray], dict[int, np.ndarray]]:
    """Plays one episode and stores it in arrival order.

    Args:
      env: the environment.
      act: from state observation float32 [D] to action float32 [A] in [-1, 1].
      sizes: image sizes S to render.

    Returns:
      The episode without images (see `episode_files.write_episode`) and, for every
      size, the images uint8 [T, S, S, 3].
    """
    images: dict[int, list[np.ndarray]] = {size: [] for size in sizes}
    actions, steps = [], []
    action, step = np.zeros(env.action_size, np.float32), env.reset()
    while True:
        actions.append(action)
        steps.append(step)
        for size, frames in images.items():
            same = size == len(step.image)
            frames.append(step.image if same else env.render(size))
        if step.is_last:
            break
        action = act(env.observation)
        step = env.step(action)
    terminal = np.array([step.is_terminal for step in steps])
    episode = {
        "action": np.stack(actions),
        "reward": np.array([step.reward for step in steps], np.float32),
        "discount": 1.0 - terminal.astype(np.float32),
        "is_first": np.array([step.is_first for step in steps]),
        "is_last": np.array([step.is_last for step in steps]),
        "is_terminal": terminal,
    }
    return episode, {size: np.stack(frames) for size, frames in images.items()}


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
    parts: tuple[tuple[levels.Behaviour, ...], ...]
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
        return play_transitions(self._env, act, seed, self.x_position)

    def close(self) -> None:
        """Frees the simulation."""
        if "_env" in vars(self):
            self._env.close()

    @cached_property
    def _env(self) -> gymnasium.Env:
        return make_locomotion(self.task, x_position=True)

    def _actor(self, behaviour: levels.Behaviour, rng: np.random.Generator) -> Actor:
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


def play_transitions(
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
