"""What a process of the benchmark of rendering does; it has to be importable there."""

import dataclasses
import time
from typing import Any

import numpy as np

from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import PixelEnv


@dataclasses.dataclass
class Player:
    """Plays random actions in a worker process."""

    task: str
    style: RenderStyle
    plain: bool  # drawn by dm_control itself
    seed: int = 0
    env: Any = None

    def __call__(self, count: int) -> tuple[float, np.ndarray]:
        """CPU-seconds for the next `count` frames, and the frames."""
        if self.env is None:
            self.env = (PlainEnv if self.plain else PixelEnv)(
                self.task, self.style, self.seed
            )
            self.rng = np.random.default_rng(self.seed)
            self.env.reset()
        actions = self.rng.uniform(-1, 1, (count, self.env.action_size))
        start = time.process_time()
        images = [self.step(action) for action in actions]
        return time.process_time() - start, np.stack(images)

    def step(self, action: np.ndarray) -> np.ndarray:
        step = self.env.step(action)
        return (self.env.reset() if step.is_last else step).image


class PlainEnv(PixelEnv):
    """The same environment, drawn by dm_control itself."""

    def __init__(self, task: str, style: RenderStyle, seed: int) -> None:
        super().__init__(task, style, seed)
        quality = self._env.physics.model.vis.quality
        quality.shadowsize, quality.offsamples = style.shadows, style.antialias

    def render(self, size: int | None = None) -> np.ndarray:
        style = self._render
        return self._env.physics.render(
            style.size,
            style.size,
            style.camera,
            render_flag_overrides={"reflection": style.reflections},
        )
