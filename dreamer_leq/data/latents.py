"""The dataset seen through a frozen world model: every entry's posterior, computed
once.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.data.entries import entry_arrays, extra_arrays, transition_starts
from dreamer_leq.data.latent_files import Kinds, LatentFiles, key_of, size
from dreamer_leq.data.sampling import (
    EpisodeWindows,
    Source,
    Transitions,
    from_disk,
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

SECONDS_BETWEEN_LINES = 15.0


def latent_kinds(world_model: LatentWorldModel, entries: int) -> Kinds:
    """Shapes and types of the latents of N entries: deter [N, D], stoch [N, S]."""
    config = world_model.net.config
    return {
        "deter": ((entries, config.deter), np.float32),
        "stoch": ((entries, config.stoch), np.uint8),
    }


def encode_dataset(
    world_model: LatentWorldModel,
    arrays: Arrays,
    key: Array,
    *,
    episodes: int = 16,
    steps: int = 64,
    report: Callable[[int, int], None] = lambda done, total: None,
    devices: Devices = ONE_DEVICE,
    files: LatentFiles | None = None,
    samples: int = 1,
) -> dict[str, np.ndarray]:
    """Posterior of every entry, filtered from its episode's start.

    arrays: observations, action and is_first [N, ...] in arrival order. Returns deter
    float32 [K N, D] and stoch uint8 [K N, S], the classes of one posterior sample, K =
    `samples` times, one after the other. Runs `episodes` side by side, or all where
    there are fewer, `steps` at a time. With `files` they are written there, from where
    they end on.
    """
    entries = len(arrays["action"])
    n = samples * entries
    # filling up to `episodes` with copies would cost as much as episodes do
    there = int(np.count_nonzero(arrays["is_first"]))
    episodes = min(episodes, -(-there // devices.count) * devices.count)
    kinds = latent_kinds(world_model, n)
    to = files.rows if files else {k: np.empty(*kind) for k, kind in kinds.items()}
    names = [*world_model.net.encoders, "action", "is_first"]
    read = lambda rows: {name: arrays[name][rows] for name in names}  # noqa: E731
    old = done = files.entries if files else 0
    world_model = devices.replicate(world_model)
    chunks = enumerate(_chunks(arrays, episodes, steps))
    new = ((i, chunk) for i, chunk in chunks if samples * chunk.before >= old)
    for (index, chunk), batch in _read_ahead(read, new):
        if chunk.opens:  # a new group of episodes
            initial = world_model.net.rssm.initial(samples * len(chunk.rows))
            state = devices.replicate(initial)
            if files:
                files.record(samples * chunk.before)
        with devices.in_use():
            chunk_key = jax.random.fold_in(key, index)
            # where memory runs out this raises, and NumPy would wait without end
            state, out = jax.block_until_ready(
                _observe_all(world_model, state, batch, chunk_key)
            )
        rows = np.add.outer(np.arange(0, n, entries), chunk.rows[chunk.valid]).ravel()
        valid = np.tile(chunk.valid, (samples, 1))
        to["deter"][rows] = np.asarray(out.deter)[valid]
        to["stoch"][rows] = np.asarray(out.stoch.argmax(-1))[valid]
        done += len(rows)
        report(done, n)
    if files:
        files.record(n)
        return files.opened()
    return to


@dataclass(frozen=True)
class Chunk:
    """Entries of several episodes that are encoded side by side.

    Attributes:
      opens: whether it is the first one of its group of episodes.
      before: entries of the groups before it.
      rows: [episodes, steps].
      valid: bool [episodes, steps], which of them are not there to fill up.
    """

    opens: bool
    before: int
    rows: np.ndarray
    valid: np.ndarray


def _chunks(arrays: Arrays, episodes: int, steps: int) -> Iterator[Chunk]:
    """All entries, `episodes` side by side and `steps` at a time."""
    starts = np.flatnonzero(arrays["is_first"])
    ends = np.append(starts[1:], len(arrays["is_first"]))
    for first in range(0, len(starts), episodes):
        picks = np.arange(first, first + episodes).clip(max=len(starts) - 1)
        real = np.arange(first, first + episodes) < len(starts)
        longest = (ends[picks] - starts[picks]).max()
        for step in range(0, longest, steps):
            rows = starts[picks][:, None] + np.arange(step, step + steps)
            valid = (rows < ends[picks][:, None]) & real[:, None]
            rows = rows.clip(max=ends[picks][:, None] - 1)
            yield Chunk(step == 0, int(starts[first]), rows, valid)


def _read_ahead(
    read: Callable[[np.ndarray], dict[str, np.ndarray]],
    chunks: Iterable[tuple[int, Chunk]],
) -> Iterator[tuple[tuple[int, Chunk], dict[str, np.ndarray]]]:
    """Numbered chunks, each with what `read` gives for its rows; a thread reads the
    next one meanwhile.
    """
    with ThreadPoolExecutor(1) as pool:
        before = None
        for chunk in chunks:
            coming = chunk, pool.submit(read, chunk[1].rows)
            if before:
                yield before[0], before[1].result()
            before = coming
        if before:
            yield before[0], before[1].result()


@jax.jit
def _observe(
    world_model: LatentWorldModel, state: RSSMState, batch: dict[str, Array], key: Array
) -> tuple[RSSMState, RSSMState]:
    """Filter [B, T] entries from `state` [K B], K times: the last state [K B] and all
    [K B, T]. What is seen is encoded once.
    """
    net, params = world_model.net, world_model.params
    seen = net.encode(params, batch), batch["action"], batch["is_first"]
    copies = len(state.deter) // len(batch["action"])
    seen = (jnp.tile(x, (copies, *[1] * (x.ndim - 1))) for x in seen)
    states, _ = net.rssm.observe(params["rssm"], state, *seen, key)
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

    For datasets whose latents fit neither into memory nor on disk. A batch of
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
    before |= {k: batch[k][:, :-1] for k in ("return", "rank") if k in batch}
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

    They lie on the device, in host memory, or in `folder` on disk, by size; where they
    fit nowhere, the observations are encoded again in every update.
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
    folder: Path | None = None  # None: not on disk
    samples: int = 1  # of the posterior of each entry, where they are kept

    def phase(self, learner: Any) -> Any:
        return learner if self.fits else Reencoding(learner)

    def finish(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def source(self, batch: int, reads: Sequence[str] = (), steps: int = 1) -> Source:
        if self.fits:
            states = ("deter", "stoch")
            sampler = Transitions(0, batch, states, steps, self.gamma)
            return with_transitions(self._placed, self._sampled, sampler, reads)
        if steps > 1:
            raise UserError(
                "n_step: the latents fit neither into memory nor on disk, and what is "
                "encoded anew are single steps: set it to 1"
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

    @property
    def fits(self) -> bool:
        """Whether the latents can be kept, in memory or on disk."""
        return self._in_memory or self._on_disk

    @cached_property
    def _in_memory(self) -> bool:
        """Whether they fit into host memory, where they are collected first."""
        return all_agree(size(self._kinds) <= host_budget())

    @cached_property
    def _on_disk(self) -> bool:
        alone = self.folder is not None and jax.process_count() == 1
        return alone and LatentFiles.fit(self.folder, self._kinds)

    @property
    def _kinds(self) -> Kinds:
        return latent_kinds(self.world, self.samples * len(self.reward))

    @cached_property
    def _placed(self) -> Source:
        arrays = self._sampled | self._latents()
        where = (self.placement, self.devices)
        source, note = place(arrays, Transitions(0, 0, ("deter", "stoch")), *where)
        self.log(f"latents: {note}")
        return source

    def _latents(self) -> dict[str, np.ndarray]:
        seen = {name: from_disk(array) for name, array in self._observations.items()}
        arrays = self._entries | seen
        files, n = None, self.samples * len(self.reward)
        if not self._in_memory:
            files = LatentFiles(self.folder, self._kinds, key_of(self.world, self.key))
            self.log(
                f"latents: {size(self._kinds) / 2**20:,.0f} MiB, too many for the "
                f"memory: kept in {self.folder} while the policy is trained"
            )
        old, start = files.entries if files else 0, time.monotonic()
        if old:
            self.log(f"latents: {old:,} of {n:,} entries are there already")
        lines = _encoding_lines(self.log, old)
        settings = dict(devices=self.devices, files=files, samples=self.samples)
        latents = encode_dataset(self.world, arrays, self.key, report=lines, **settings)
        if old < n:
            seconds = time.monotonic() - start
            self.log(f"latents: encoded {n - old:,} entries in {seconds:.0f} s")
        return latents

    @cached_property
    def _entries(self) -> dict[str, np.ndarray]:
        return entry_arrays(self.dataset, (), self.reward)

    @cached_property
    def _sampled(self) -> dict[str, np.ndarray]:
        """The entries, once for each sample of their latents."""
        if self.samples == 1:
            return self._entries
        return {k: np.concatenate([x] * self.samples) for k, x in self._entries.items()}

    @property
    def _observations(self) -> dict[str, np.ndarray]:
        names = self.world.observations
        return {name: getattr(self.dataset, name) for name in names}


def _encoding_lines(log: Callable[[str], None], old: int) -> Callable[[int, int], None]:
    """Says now and then how far the encoding is that begins after `old` entries."""
    start = since = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal since
        now = time.monotonic()
        if now - since >= SECONDS_BETWEEN_LINES and done < total:
            since, rate = now, (done - old) / (now - start)
            minutes, seconds = divmod(round((total - done) / rate), 60)
            log(
                f"latents: encoding {done:,}/{total:,}  {rate:,.0f} entries/s  "
                f"{minutes}:{seconds:02d} left"
            )

    return report
