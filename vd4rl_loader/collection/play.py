"""Plays single episodes: what a worker process does when a dataset is collected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vd4rl_loader.collection import levels
from vd4rl_loader.collection.recipe import Recipe
from vd4rl_loader.errors import DataError
from vd4rl_loader.files import episode_files
from vd4rl_loader.simulators.simulate import PixelEnv


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
