"""A run's imagined videos: its world model beside the data, and its policy's dream."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from dreamer_leq.config import Video
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.imagined import dream, open_loop, sequence_starts
from dreamer_leq.evaluation.videos import dream_grid, open_loop_grid, write_video
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.world_models.latent import LatentWorldModel
from vd4rl_loader import Dataset


def write_open_loop(
    folder: RunFolder, world_model: LatentWorldModel, dataset: Dataset, config: Video
) -> None:
    """videos/open_loop: mp4 and gif."""
    _write(folder.video("open_loop"), open_loop_film(world_model, dataset, config))


def write_dream(
    folder: RunFolder, agent: Agent, dataset: Dataset, config: Video
) -> None:
    """videos/dream: mp4 and gif."""
    _write(folder.video("dream"), dream_film(agent, dataset, config))


def _write(path: Path, film: np.ndarray) -> None:
    write_video(path, film)
    write_video(path.with_suffix(".gif"), film)


def open_loop_film(
    world_model: LatentWorldModel, dataset: Dataset, config: Video
) -> np.ndarray:
    """True | imagined | difference of dataset sequences: frames uint8 [T, h, w, 3]."""
    seen = world_model.observations
    batch = _sequences(dataset, seen, config.length, config.sequences)
    images = open_loop(world_model, batch, config.context, jax.random.key(0))
    return open_loop_grid(batch["image"], images, config.context)


def dream_film(agent: Agent, dataset: Dataset, config: Video) -> np.ndarray:
    """The policy's dream from one dataset state, a row per member: [T, h, w, 3]."""
    seen = agent.world_model.observations
    batch = _sequences(dataset, seen, config.context, 1)
    images, reward = dream(agent, batch, config.length, jax.random.key(0))
    return dream_grid(images, reward)


def _sequences(
    dataset: Dataset, observations: Sequence[str], length: int, count: int
) -> dict[str, np.ndarray]:
    starts = sequence_starts(np.asarray(dataset.is_first), length, count)
    rows = starts[:, None] + np.arange(length)
    names = (*observations, "action")
    return {name: getattr(dataset, name)[rows] for name in names}
