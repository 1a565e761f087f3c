"""Where batches come from: arrays on the device, or in host memory or on disk with
prefetching.

What is drawn at update `step` depends on the phase's key and `step` alone, so that it
is the same from either place, after a resume, and for any number of updates per
dispatch.
"""

import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.nn.parallel import divided
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.memory import available_memory
from dreamer_leq.system.processes import all_agree
from vd4rl_loader.row_file import RowFile, is_whole_map

Arrays = Mapping[str, Any]

# Batches per chunk, where the data isn't on the device; two chunks are held at a time.
CHUNK = 8

# Rows of mapped files that are shorter are held in memory: all of them take little, and
# each reading of a disk takes a sector at least.
SECTOR = 512  # bytes


class Sampler(Protocol):
    """Draws indices with a key and gathers what they mean, from JAX or NumPy arrays."""

    def draw(self, key: Array) -> Array: ...

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Windows:
    """Uniform windows of `length` consecutive entries of a stream of `entries`.

    A window may run over an episode's end: is_first inside it resets the state there.
    """

    entries: int
    batch: int
    length: int

    def draw(self, key: Array) -> Array:
        return jax.random.randint(key, (self.batch,), 0, self.entries - self.length + 1)

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]:
        """[N, ...] arrays and starts [B] -> [B, T, ...]."""
        rows = index[:, None] + np.arange(self.length)
        return {name: array[rows] for name, array in arrays.items()}


@dataclass(frozen=True)
class EpisodeWindows:
    """Uniform windows that stay inside an episode: `starts` in arrays lists where."""

    starts: int
    batch: int
    length: int

    def draw(self, key: Array) -> Array:
        return jax.random.randint(key, (self.batch,), 0, self.starts)

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]:
        rows = arrays["starts"][index][:, None] + np.arange(self.length)
        return {name: array[rows] for name, array in arrays.items() if name != "starts"}


@dataclass(frozen=True)
class Transitions:
    """Uniform transitions i -> i+1 inside episodes: `transition` in arrays lists the i.

    `states` are the arrays that make up a state, such as deter and stoch. In arrival
    order: the action and reward of i -> i+1 are entry i+1's. Where arrays hold return
    [N], rank [N] or next_action [N, A] (`entries.extra_arrays`), so does a batch.

    With n `steps` it is i -> i+n with the action of the first and the rewards of all,
    discounted by γ, up to an end among them: Σ_k γ^k r_{i+1+k}. Where arrays hold
    chunk [N], a batch has each of the steps as well: actions [N, n, A], rewards and
    ends [N, n]. What would come after an episode's last entry is that entry again.
    """

    transitions: int
    batch: int
    states: tuple[str, ...]
    steps: int = 1
    gamma: float = 1.0  # of the rewards of a transition

    def draw(self, key: Array) -> Array:
        return jax.random.randint(key, (self.batch,), 0, self.transitions)

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]:
        start = arrays["transition"][index]
        rows = start[:, None] + np.arange(1, self.steps + 1)
        if "chunk" in arrays:
            rows = rows.clip(max=arrays["chunk"][start][:, None])
        first, after = rows[:, 0], rows[:, -1]
        batch = self.gather_states(arrays, start, after)
        batch["action"] = arrays["action"][first]
        reward, cont = arrays["reward"][first], 1.0
        for k in range(1, self.steps):
            cont = cont * (1.0 - arrays["is_terminal"][rows[:, k - 1]])
            reward = reward + self.gamma**k * cont * arrays["reward"][rows[:, k]]
        batch |= {"reward": reward, "cont": cont * (1.0 - arrays["is_terminal"][after])}
        if "chunk" in arrays:
            batch["actions"] = arrays["action"][rows]
            batch["rewards"] = arrays["reward"][rows]
            batch["ends"] = arrays["is_terminal"][rows]
        batch |= {k: arrays[k][start] for k in ("return", "rank") if k in arrays}
        if "next_action" in arrays:
            batch["next_action"] = arrays["next_action"][after]
        return batch

    def gather_states(self, arrays: Arrays, start: Any, after: Any) -> dict[str, Any]:
        """The states of the entries in which transitions begin and end, [N] both."""
        return {name: arrays[name][start] for name in self.states} | {
            f"next_{name}": arrays[name][after] for name in self.states
        }


@dataclass(frozen=True)
class Everything:
    """All arrays at every update, for a phase that chooses its rows itself."""

    def draw(self, key: Array) -> Array:
        return jnp.zeros((), jnp.int32)

    def gather(self, arrays: Arrays, index: Any) -> dict[str, Any]:
        return dict(arrays)


@dataclass(frozen=True)
class Source:
    """Arrays, how to sample them, whether they live on the devices, and on which."""

    arrays: Arrays
    sampler: Sampler
    on_device: bool
    devices: Devices = ONE_DEVICE

    def also(self, arrays: Arrays) -> Arrays:
        """The source's arrays with others beside them, at the same place."""
        placed = self.devices.replicate(dict(arrays)) if self.on_device else arrays
        return {**self.arrays, **placed}

    def sample(self, key: Array, batch: int) -> dict[str, Array]:
        """One batch of another size than the updates'."""
        sampler = replace(self.sampler, batch=batch)
        index = sampler.draw(key)
        if not self.on_device:
            index = np.asarray(index)
        return self.devices.replicate(sampler.gather(self.arrays, index))

    def feed(self, key: Array, first: int) -> "Resident | Streamed":
        """What the loop reads from, beginning with update `first`."""
        if self.on_device:
            return Resident(self.arrays, self.sampler)
        return Streamed(self, key, first)


@dataclass(frozen=True)
class ReadResident:
    """Gathers the batch of an update from arrays on the device, inside the program."""

    sampler: Sampler

    def __call__(self, arrays: Arrays, key: Array, step: Array) -> dict[str, Array]:
        index = divided(self.sampler.draw(batch_key(key, step)))
        return self.sampler.gather(arrays, index)


@dataclass(frozen=True)
class ReadChunk:
    """Takes the batch of an update from a chunk of batches."""

    def __call__(self, chunk: Any, key: Array, step: Array) -> dict[str, Array]:
        first, batches = chunk
        return divided(jax.tree.map(lambda x: x[step - first], batches))


class Resident:
    """Feeds any number of updates from arrays on the device."""

    waits_for, waited = "", 0.0

    def __init__(self, arrays: Arrays, sampler: Sampler) -> None:
        self._arrays = arrays
        self.read = ReadResident(sampler)

    def ready(self, step: int) -> bool:
        return True

    def data(self, step: int, most: int) -> tuple[Any, int]:
        """The arrays, and for how many updates from `step` on they serve."""
        return self._arrays, most

    def close(self) -> None:
        pass


class Streamed:
    """Feeds from host memory or disk: a thread gathers the next chunk while the device
    works.

    Attributes:
      waits_for: where the batches come from, for who is waiting.
      waited: seconds for which the device had nothing to do.
    """

    read = ReadChunk()

    def __init__(self, source: Source, key: Array, first: int) -> None:
        self._source = source
        sampler = source.sampler
        steps = jnp.arange(CHUNK)
        self._draw = jax.jit(
            lambda first: jax.vmap(lambda i: sampler.draw(batch_key(key, first + i)))(
                steps
            )
        )
        on_disk = any(isinstance(x, RowFile) for x in source.arrays.values())
        self.waits_for = "the disk" if on_disk else "the host's memory"
        self.waited = 0.0
        self._pool = ThreadPoolExecutor(1)
        self._first = first
        self._chunk = self._load(first)
        self._next = self._pool.submit(self._load, first + CHUNK)

    def ready(self, step: int) -> bool:
        """Whether `data` of `step` is there already."""
        return step < self._first + CHUNK or self._next.done()

    def data(self, step: int, most: int) -> tuple[Any, int]:
        """A chunk that holds `step`, and for how many updates from there it serves."""
        if step >= self._first + CHUNK:
            self._first += CHUNK
            start = time.monotonic()
            self._chunk = self._next.result()
            self.waited += time.monotonic() - start
            self._next = self._pool.submit(self._load, self._first + CHUNK)
        return (self._first, self._chunk), min(most, self._first + CHUNK - step)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _load(self, first: int) -> dict[str, Array]:
        source, picks = self._source, np.asarray(self._draw(first))
        picks = picks[:, source.devices.rows(picks.shape[1])]
        # the batches of all updates as one, so that nothing has to be copied together
        flat = picks.reshape(-1, *picks.shape[2:])
        batches = source.sampler.gather(source.arrays, flat)
        chunk = {
            k: x.reshape(*picks.shape[:2], *x.shape[1:]) for k, x in batches.items()
        }
        return source.devices.divide(chunk, axis=1)


def batch_key(key: Array, step: Array | int) -> Array:
    """The key with which the batch of update `step` is drawn."""
    return jax.random.fold_in(jax.random.fold_in(key, step), 0)


def update_key(key: Array, step: Array | int) -> Array:
    """The key that update `step` itself gets."""
    return jax.random.fold_in(jax.random.fold_in(key, step), 1)


def window_starts(is_first: np.ndarray, length: int) -> np.ndarray:
    """All starts of `length` entries inside one episode: int32."""
    episode = np.cumsum(is_first)
    same = episode[: len(episode) - length + 1] == episode[length - 1 :]
    return np.flatnonzero(same).astype(np.int32)


def nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def device_budget() -> int:
    """Bytes that data may take on the device: half of what it has."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] // 2
    return host_budget() // jax.local_device_count()


def host_budget() -> int:
    """Bytes that data may take in host memory: half of what can be taken now."""
    return available_memory() // 2


def place(
    arrays: Arrays, sampler: Sampler, placement: str, devices: Devices = ONE_DEVICE
) -> tuple[Source, str]:
    """The source for `arrays`, and a line for the log that says where they lie
    and why.
    """
    size, budget = nbytes(arrays), device_budget()
    fits = all_agree(size <= budget)
    on_device = placement == "device" or (placement == "auto" and fits)
    if on_device:
        arrays = devices.replicate(dict(arrays))
        where = "on the device" if devices.count == 1 else "on every device"
    else:
        arrays = {name: from_disk(array) for name, array in arrays.items()}
        on_disk = any(isinstance(array, RowFile) for array in arrays.values())
        where = "on disk, read ahead" if on_disk else "in host memory, prefetched"
    note = f"{size / 2**20:,.0f} MiB {where} (budget {budget / 2**20:,.0f} MiB)"
    return Source(arrays, sampler, on_device, devices), note


def from_disk(array: Any) -> Any:
    """A mapped file to be read by rows, or in memory where its rows are short; other
    arrays as they are.
    """
    if not is_whole_map(array):
        return array
    row = array.nbytes // max(len(array), 1)
    return RowFile(array) if row >= SECTOR else np.array(array)


def named_key(seed: int, name: str) -> Array:
    """The random key of one component of a run with this seed."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
