"""Times, memory and operations of a phase in the program of the real loop."""

import resource
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from case import Case, Rare, Setup
from flops import flops
from peak import matmul_peak

from dreamer_leq.data.sampling import Source
from dreamer_leq.training.loop import _advance, _updates


class Program:
    """A phase compiled as the loop runs it, some updates at a time.

    `planned` compiles it from shapes alone, and can't run: for programs that are too
    large for the machine.
    """

    def __init__(self, setup: Setup, placement: str, planned: bool = False) -> None:
        self.setup = setup
        make = jax.eval_shape if planned else (lambda make: jax.jit(make)())
        self.phase, self.state, arrays = make(setup.make)
        host = placement == "host"
        self.arrays = jax.device_get(arrays) if host else arrays
        if setup.rare and not planned:  # as it is when updates begin
            self.state = setup.rare.run(self.phase, self.state, self.arrays)
        self._key, self._done = jax.random.key(1), 0
        if setup.members > 1:
            self._key = jax.random.split(self._key, setup.members)
        source = Source(self.arrays, setup.sampler, on_device=not host)
        self._feed = source.feed(self._key, 0)
        self._compile()

    def _compile(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        data, _ = self._feed.data(0, 1)
        metrics = jax.eval_shape(self._metrics, data, self.phase, self.state)
        self._totals = {name: jnp.zeros(x.shape) for name, x in metrics.items()}
        self._traced = _advance.trace(
            self._feed.read,
            self.phase,
            data,
            self.state,
            self._totals,
            self._key,
            0,
            1,
        )
        self.compiled = self._traced.lower().compile()
        self.compile_seconds = time.perf_counter() - wall
        self.compile_cpu_seconds = time.process_time() - cpu

    def _metrics(self, data: Any, phase: Any, state: Any) -> dict[str, jax.Array]:
        return _updates(self._feed.read, phase, data, state, self._key, 0)[1]

    def flops(self) -> int:
        """Of one update, of all members: of the body of the loop over updates."""
        program, members = self._traced.jaxpr.jaxpr, 1
        names = {e.primitive.name: e for e in program.eqns}
        if "while" not in names:  # that over members is around it
            turns = names["scan"].params
            program, members = turns["jaxpr"].jaxpr, turns["length"]
        loop = next(e for e in program.eqns if e.primitive.name == "while")
        return members * flops(loop.params["body_jaxpr"].jaxpr)

    def seconds(self, n: int) -> float:
        """Time of the next n updates, the metrics being fetched as the loop does."""
        start, end = time.perf_counter(), self._done + n
        while self._done < end:
            data, served = self._feed.data(self._done, end - self._done)
            self.state, self._totals = self.compiled(
                self.phase,
                data,
                self.state,
                self._totals,
                self._key,
                self._done,
                served,
            )
            jax.device_get(self._totals)
            self._done += served
        return time.perf_counter() - start

    def rare_seconds(self, rare: Rare) -> float:
        """Time of what is done more rarely; it has been compiled."""
        start = time.perf_counter()
        state = rare.run(self.phase, self.state, self.arrays)
        self.state = jax.block_until_ready(state)
        return time.perf_counter() - start

    def close(self) -> None:
        self._feed.close()

    def planned_memory(self) -> dict[str, int]:
        """Bytes that the compiled program asks for: of the arrays that it is given
        (dataset, parameters, the optimiser's state), and of what it needs meanwhile.
        """
        plan = self.compiled.memory_analysis()
        return {
            "arguments": plan.argument_size_in_bytes,
            "temporaries": plan.temp_size_in_bytes,
        }


def measure(
    case: Case,
    small: bool,
    flags: tuple[str, ...],
    entries: int,
    repeats: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """A row of figures per variant, each of `repeats` repeats of about `seconds`."""
    programs = {}
    for name in case.variants:
        config = case.config(name, small, flags)
        setup = case.setup(config, entries)
        programs[name] = Program(setup, config.data.placement, not case.timed)
    rows = {name: {"variant": name} for name in programs}
    if case.timed:
        for name, times in _times(programs, repeats, seconds).items():
            rows[name] |= {"seconds": times, "rare": _rare(programs[name])}
        # of several programs in one process, or after the products, it says nothing
        if len(programs) == 1:
            rows[name]["peak_memory"] = peak_memory()
        peaks = {p.setup.dtype: 0.0 for p in programs.values()}
        peaks = {dtype: matmul_peak(dtype)[0] for dtype in peaks}
    for name, program in programs.items():
        rows[name] |= _facts(program)
        if case.timed:
            rows[name]["matmul_peak"] = peaks[program.setup.dtype]
        program.close()
    return list(rows.values())


def _times(
    programs: dict[str, Program], repeats: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds per update in each repeat, the programs taking turns."""
    updates = {}
    for name, program in programs.items():
        program.seconds(1)
        updates[name] = max(1, round(seconds / program.seconds(1)))
    times = {name: [] for name in programs}
    for _ in range(repeats):
        for name, n in updates.items():
            times[name].append(programs[name].seconds(n) / n)
    return times


def _facts(program: Program) -> dict[str, Any]:
    """What doesn't depend on the clock, but for the compiler's."""
    return {
        "size": program.setup.size,
        "dtype": program.setup.dtype,
        "flop": program.flops(),
        "compile_seconds": program.compile_seconds,
        "compile_cpu_seconds": program.compile_cpu_seconds,
        "planned_memory": program.planned_memory(),
    }


def _rare(program: Program) -> dict[str, Any] | None:
    rare = program.setup.rare
    if rare is None:
        return None
    seconds = program.rare_seconds(rare)
    return {"name": rare.name, "every": rare.every, "seconds": seconds}


def peak_memory() -> dict[str, Any]:
    """The most that was in use, in bytes: on the device; on CPUs by this process."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return {"bytes": stats["peak_bytes_in_use"], "of": "device"}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"bytes": peak, "of": "process"}
