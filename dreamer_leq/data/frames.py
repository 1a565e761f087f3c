"""A dataset of images as transitions between stacks of frames, which are gathered from
single images and are never stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.data.entries import entry_arrays, episode_firsts, episode_lasts
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


@dataclass(frozen=True)
class LaterFrames(StackedTransitions):
    """Pairs i, i + k of one episode with the action played in i, k uniform from 1 to
    `steps` or to the episode's end. `last` in arrays holds the last entry of each one's
    episode, int32.
    """

    def draw(self, key: Array) -> Array:
        """Transitions, and of each 16 random bits for k: [batch, 2]."""
        start_key, ahead_key = jax.random.split(key)
        ahead = jax.random.randint(ahead_key, (self.batch,), 0, 1 << 16)
        return jnp.stack([super().draw(start_key), ahead], -1)

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]:
        start = arrays["transition"][index[:, 0]]
        most = (arrays["last"][start] - start).clip(0, self.steps)
        batch = self.gather_states(
            arrays, start, start + 1 + (index[:, 1] * most >> 16)
        )
        numbers = ("action", "reward")
        batch |= {name: arrays[name][start + 1] for name in numbers}
        return batch | {"cont": 1.0 - arrays["is_terminal"][start + 1]}


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
        stack = self.world.net.config.stack
        settings = dict(batch=batch, states=("image",), gamma=self.gamma, stack=stack)
        if "later" not in reads:
            sampler = StackedTransitions(0, steps=steps, **settings)
            return with_transitions(self._placed, self._entries, sampler, reads)
        plain = StackedTransitions(0, **settings)
        found = with_transitions(self._placed, self._entries, plain, reads)
        starts = found.sampler.transitions
        arrays = found.also({"last": episode_lasts(self.dataset.is_first)})
        return replace(
            found, arrays=arrays, sampler=LaterFrames(starts, steps=steps, **settings)
        )

    def finish(self) -> None:
        pass

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
