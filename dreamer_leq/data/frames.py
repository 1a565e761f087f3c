"""A dataset of images as transitions between stacks of frames, which are gathered from
single images and are never stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.data.entries import entry_arrays, episode_firsts
from dreamer_leq.data.sampling import Arrays, Source, Transitions, place
from dreamer_leq.data.transitions import with_transitions
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.world_models.frames import Frames, random_shift
from vd4rl_loader import Dataset


@dataclass(frozen=True)
class StackedTransitions(Transitions):
    """Transitions whose states are the last `stack` images: uint8 [N, H, W, 3 stack].

    `first` in arrays holds the first entry of each one's episode, int32: it stands
    before itself too.
    """

    stack: int = 1

    def gather_states(self, arrays: Arrays, start: Any, after: Any) -> dict[str, Any]:
        stacks = lambda end: stacked(arrays["image"], end, arrays["first"], self.stack)  # noqa: E731
        return {"image": stacks(start), "next_image": stacks(after)}


def stacked(image: Any, end: Any, first: Any, stack: int) -> Any:
    """The `stack` images up to each entry of `end` [N], oldest first, side by side in
    channels: [N, H, W, 3 stack]. image [T, H, W, 3]; first [T] as `episode_firsts` has
    it.
    """
    rows = end[:, None] + np.arange(1 - stack, 1)
    frames = image[rows.clip(first[end][:, None])]  # [N, stack, H, W, 3]
    return frames.transpose(0, 2, 3, 1, 4).reshape(*end.shape, *image.shape[1:3], -1)


@struct.dataclass
class Shifted:
    """A phase that sees each state of a batch moved by up to `pad` pixels."""

    phase: Any
    pad: int = struct.field(pytree_node=False)

    def update(
        self, state: Any, batch: dict[str, Array], key: Array
    ) -> tuple[Any, dict]:
        for i, name in enumerate(("image", "next_image")):
            own = jax.random.fold_in(key, i)
            batch = batch | {name: random_shift(batch[name], own, self.pad)}
        return self.phase.update(state, batch, key)


@dataclass
class FrameData:
    """The images of a dataset as stacks."""

    world: Frames
    dataset: Dataset
    reward: np.ndarray  # [N] as the algorithms see it
    gamma: float
    placement: str
    log: Callable[[str], None]
    devices: Devices = ONE_DEVICE

    def phase(self, learner: Any) -> Any:
        """The learner, whose batches are moved at random where it has an encoder."""
        return Shifted(learner, self.world.net.config.shift)

    def source(self, batch: int, reads: Sequence[str] = (), steps: int = 1) -> Source:
        settings = (steps, self.gamma, self.world.net.config.stack)
        sampler = StackedTransitions(0, batch, ("image",), *settings)
        return with_transitions(self._placed, self._entries, sampler, reads)

    @cached_property
    def _entries(self) -> dict[str, np.ndarray]:
        return entry_arrays(self.dataset, self.world.observations, self.reward)

    @cached_property
    def _placed(self) -> Source:
        arrays = {k: x for k, x in self._entries.items() if k != "is_first"}
        arrays["first"] = episode_firsts(self.dataset.is_first)
        where = (self.placement, self.devices)
        source, note = place(arrays, Transitions(0, 0, ("image",)), *where)
        self.log(f"frames: {note}")
        return source
