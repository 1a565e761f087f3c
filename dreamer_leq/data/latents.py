"""The dataset seen through a frozen world model: every entry's posterior, computed
once.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.data.entries import entry_arrays, extra_arrays, transition_starts
from dreamer_leq.data.sampling import (
    EpisodeWindows,
    Source,
    Transitions,
    host_budget,
    place,
    window_starts,
)
from dreamer_leq.data.transitions import with_transitions
from dreamer_leq.nn.parallel import divided, everywhere
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.processes import all_agree
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.rssm import RSSMState
from vd4rl_loader import Dataset
from vd4rl_loader.states import StateDataset

Arrays = Mapping[str, np.ndarray]


def encode_dataset(
    world_model: LatentWorldModel,
    arrays: Arrays,
    key: Array,
    *,
    episodes: int = 16,
    steps: int = 64,
    report: Callable[[int, int], None] = lambda done, total: None,
    devices: Devices = ONE_DEVICE,
) -> dict[str, np.ndarray]:
    """Posterior of every entry, filtered from its episode's start as the policy will
    be.

    arrays: observations, action and is_first [N, ...] in arrival order. Returns deter
    float32 [N, D] and stoch uint8 [N, S], the classes of one posterior sample. Runs
    `episodes` side by side, or all where there are fewer, `steps` at a time.
    """
    n = len(arrays["action"])
    # filling up to `episodes` with copies would cost as much as episodes do
    there = int(np.count_nonzero(arrays["is_first"]))
    episodes = min(episodes, -(-there // devices.count) * devices.count)
    config = world_model.net.config
    deter = np.empty((n, config.deter), np.float32)
    stoch = np.empty((n, config.stoch), np.uint8)
    names = [*world_model.net.encoders, "action", "is_first"]
    done, world_model = 0, devices.replicate(world_model)
    for index, (group, rows, valid) in enumerate(_chunks(arrays, episodes, steps)):
        if group:  # a new group of episodes
            state = devices.replicate(world_model.net.rssm.initial(len(rows)))
        batch = {name: arrays[name][rows] for name in names}
        with devices.in_use():
            chunk_key = jax.random.fold_in(key, index)
            # where memory runs out this raises, and NumPy would wait without end
            state, out = jax.block_until_ready(
                _observe_all(world_model, state, batch, chunk_key)
            )
        deter[rows[valid]] = np.asarray(out.deter)[valid]
        stoch[rows[valid]] = np.asarray(out.stoch.argmax(-1))[valid]
        done += int(valid.sum())
        report(done, n)
    return {"deter": deter, "stoch": stoch}


def _chunks(
    arrays: Arrays, episodes: int, steps: int
) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """(first chunk of its group?, rows [episodes, steps], valid [episodes, steps])."""
    starts = np.flatnonzero(arrays["is_first"])
    ends = np.append(starts[1:], len(arrays["is_first"]))
    for first in range(0, len(starts), episodes):
        picks = np.arange(first, first + episodes).clip(max=len(starts) - 1)
        real = np.arange(first, first + episodes) < len(starts)
        longest = (ends[picks] - starts[picks]).max()
        for step in range(0, longest, steps):
            rows = starts[picks][:, None] + np.arange(step, step + steps)
            valid = (rows < ends[picks][:, None]) & real[:, None]
            yield step == 0, rows.clip(max=ends[picks][:, None] - 1), valid


@jax.jit
def _observe(
    world_model: LatentWorldModel, state: RSSMState, batch: dict[str, Array], key: Array
) -> tuple[RSSMState, RSSMState]:
    """Filter [B, T] entries from `state`: the last state [B] and all [B, T]."""
    net, params = world_model.net, world_model.params
    tokens = net.encode(params, batch)
    states, _ = net.rssm.observe(
        params["rssm"], state, tokens, batch["action"], batch["is_first"], key
    )
    return jax.tree.map(lambda x: x[:, -1], states), states


@partial(jax.jit, donate_argnums=1)
def _observe_all(
    world_model: LatentWorldModel, state: RSSMState, batch: dict[str, Array], key: Array
) -> tuple[RSSMState, RSSMState]:
    """`_observe`, by all devices and for all of them."""
    return everywhere(_observe(world_model, *divided((state, batch)), key))


@struct.dataclass
class Reencoding:
    """A phase over latents, fed with windows of observations that it encodes each time.

    For datasets whose latents fit neither on the device nor in host memory. A batch of
    windows [B, T] inside episodes becomes B * (T - 1) transitions.
    """

    phase: Any

    def update(
        self, state: Any, batch: dict[str, Array], key: Array
    ) -> tuple[Any, dict]:
        encode_key, phase_key = jax.random.split(key)
        world_model = self.phase.world
        first = jnp.zeros(batch["action"].shape[:2], bool).at[:, 0].set(True)
        start = world_model.net.rssm.initial(first.shape[0])
        _, states = _observe(
            world_model, start, batch | {"is_first": first}, encode_key
        )
        return self.phase.update(state, transitions(states, batch), phase_key)


def transitions(states: RSSMState, batch: Mapping[str, Array]) -> dict[str, Array]:
    """Consecutive entries of [B, T] windows as a flat batch of B * (T - 1)
    transitions.
    """
    stoch = states.stoch.argmax(-1)
    before = {"deter": states.deter[:, :-1], "stoch": stoch[:, :-1]}
    if "return" in batch:
        before["return"] = batch["return"][:, :-1]
    after = {
        "next_deter": states.deter[:, 1:],
        "next_stoch": stoch[:, 1:],
        "action": batch["action"][:, 1:],
        "reward": batch["reward"][:, 1:],
        "cont": 1.0 - batch["is_terminal"][:, 1:],
    }
    if "next_action" in batch:
        after["next_action"] = batch["next_action"][:, 1:]
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    return {name: flat(x) for name, x in (before | after).items()}


@dataclass
class LatentData:
    """The latents of a dataset as a source of transitions, made when first asked for.

    They lie on the device or in host memory, by size; where they fit into neither, the
    observations are encoded again in every update.
    """

    world: LatentWorldModel
    dataset: Dataset | StateDataset
    reward: np.ndarray  # [N] as the algorithms see it
    key: Array
    length: int  # of the windows, where observations are encoded again
    gamma: float  # of returns
    placement: str
    log: Callable[[str], None]
    devices: Devices = ONE_DEVICE

    def phase(self, learner: Any) -> Any:
        return learner if self.fits else Reencoding(learner)

    def source(self, batch: int, reads: Sequence[str] = (), steps: int = 1) -> Source:
        if self.fits:
            states = ("deter", "stoch")
            sampler = Transitions(0, batch, states, steps, self.gamma)
            return with_transitions(self._placed, self._entries, sampler, reads)
        if steps > 1:
            raise UserError(
                "n_step: the latents fit neither on the device nor in host memory, and "
                "what is encoded anew are single steps: set it to 1"
            )
        extra = extra_arrays(self._entries, reads, self.gamma)
        arrays = self._entries | self._observations | extra
        starts = self._window_starts(tuple(extra))
        windows = -(-batch // (self.length - 1))
        sampler = EpisodeWindows(len(starts), windows, self.length)
        where = (self.placement, self.devices)
        source, note = place(arrays | {"starts": starts}, sampler, *where)
        self.log(f"observations, to be encoded again and again: {note}")
        return source

    def _window_starts(self, reads: Sequence[str]) -> np.ndarray:
        """All starts of windows inside episodes, each of whose transitions is one that
        `transition_starts` has.
        """
        ends = self._entries["is_first"], self._entries["is_terminal"]
        starts = window_starts(ends[0], self.length)
        known = transition_starts(*ends, reads)
        return starts[np.isin(starts + self.length - 2, known)]

    @cached_property
    def fits(self) -> bool:
        """Whether the latents fit into host memory, where they are collected first."""
        config = self.world.net.config
        size = len(self.dataset.reward) * (4 * config.deter + config.stoch)
        return all_agree(size <= host_budget())

    @cached_property
    def _placed(self) -> Source:
        arrays = self._entries | self._latents()
        where = (self.placement, self.devices)
        source, note = place(arrays, Transitions(0, 0, ("deter", "stoch")), *where)
        self.log(f"latents: {note}")
        return source

    def _latents(self) -> dict[str, np.ndarray]:
        arrays = self._entries | self._observations
        start = time.monotonic()
        latents = encode_dataset(self.world, arrays, self.key, devices=self.devices)
        seconds = time.monotonic() - start
        self.log(
            f"latents: encoded {len(arrays['action']):,} entries in {seconds:.0f} s"
        )
        return latents

    @cached_property
    def _entries(self) -> dict[str, np.ndarray]:
        return entry_arrays(self.dataset, (), self.reward)

    @property
    def _observations(self) -> dict[str, np.ndarray]:
        return {name: getattr(self.dataset, name) for name in self.world.observations}
