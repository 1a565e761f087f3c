"""One loop for all phases: many updates per dispatch, everything on the device.

The number of updates of a dispatch is an argument of the compiled program. It follows
the machine's speed and changes nothing of the result, bit for bit, so that a run that
was stopped anywhere and resumed equals one that was not.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.config import sections
from dreamer_leq.data.sampling import Source, update_key
from dreamer_leq.nn.parallel import everywhere
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.system.processes import gathered
from dreamer_leq.system.shortages import is_out_of_memory, out_of_memory
from dreamer_leq.training.checkpoints import Checkpoints, SharedCheckpoints
from dreamer_leq.training.metrics import MetricsLogger, NoMetrics
from dreamer_leq.training.progress import Progress

# Dispatches take about this long: short enough to stop and to report in time, long
# enough for the host's part not to count.
SECONDS_PER_DISPATCH = 2.0

# So much for each turn where the members of a grid take turns, but no more than this
# for all.
MOST_SECONDS_PER_DISPATCH = 10.0

# So many samples give a CPU enough to do: in turns four members of 256 took 3.96
# instead of 4.2 times one, but 4.3 instead of 3.3 times with 32 (docs/performance.md).
SAMPLES_AT_ONCE = 256

# A change of turns copies the state. With MOPO's ring of 200 MiB a member, four took 27
# times one where they were in one dispatch of 2 updates each, side by side 3.9 times.
MOST_BYTES_FOR_TURNS = 2**27


class Phase(Protocol):
    """A pure update over pytrees. A phase is a pytree itself: what it holds frozen,
    such as a trained world model, is an argument of the compiled program, not a
    constant in it.
    """

    def update(
        self, state: Any, batch: dict[str, Array], key: Array
    ) -> tuple[Any, dict[str, Array]]:
        """One update. Metrics are scalars, and a run stops where one is not finite."""
        ...


@dataclass
class Session:
    """What a run's phases share."""

    logger: MetricsLogger | NoMetrics
    checkpoints: Checkpoints | SharedCheckpoints
    progress: Progress
    interrupts: Interrupts
    log_every: int
    checkpoint_every: int
    devices: Devices = ONE_DEVICE
    keep_evaluated: bool = False  # a checkpoint of every evaluation

    def forget_unsaved(self, phases: Sequence[str]) -> None:
        """Drop the records after the last checkpoint: the run goes on from there."""
        latest = self.checkpoints.latest
        reached = [phase for phase in phases if latest(phase) is not None]
        phase = reached[-1] if reached else phases[0]
        self.logger.truncate(phases, phase, latest(phase) if reached else -1)

    def agree(self, speed: float) -> float:
        """Speed and signals are each process's own, but all processes have to do the
        same updates and to stop after the same one: returns the lowest speed.
        """
        own = (speed, self.interrupts.pending or 0)
        speeds, signals = zip(*gathered(own), strict=True)
        self.interrupts.pending = int(max(signals)) or None
        return min(speeds)

    def stop_if_asked(self, where: str) -> None:
        """Raise Interrupted after a signal; everything is saved."""
        self.agree(0.0)
        if self.interrupts.pending:
            self.checkpoints.wait()
            self.interrupts.raise_pending(where)


@dataclass
class PhaseRun:
    """One phase from its first update, or its last checkpoint, to its end.

    `source` makes the phase's source of batches, and is not called where nothing is
    left to do. Every `refresh_every` updates `refresh` gives a new state, and metrics,
    for what is done more rarely than an update; with `refresh_first` also before the
    first one. `evaluate`, where given, is called with
    state and step every `evaluate_every` updates and at the end; it returns False where
    a signal cut it short, and is then called again when the run goes on. `finished`
    tells from what only a refresh changes of the state whether the phase is over before
    its last update.

    Members of a grid are trained side by side: `key` holds one for each, [M], and every
    array of the state has them as its leading axis. Each one's metrics go to its own of
    the `loggers`, or without any their mean to the session's.
    """

    session: Session
    name: str
    phase: Phase
    source: Callable[[], Source]
    updates: int
    key: Array
    evaluate: Callable[[Any, int], bool | None] | None = None
    evaluate_every: int = 0
    refresh: Callable[[Any, int], tuple[Any, dict[str, Array]]] | None = None
    refresh_every: int = 0
    refresh_first: bool = False
    finished: Callable[[Any], bool] = lambda state: False
    loggers: Sequence[MetricsLogger] = ()
    section: str = ""  # of the configuration, which says how large its updates are
    about: Mapping[str, Any] = field(default_factory=dict)  # kept in its checkpoints
    advice: str = "lower the learning rate"  # where a loss is not finite
    _speed: float = field(default=0.0, init=False)  # updates per second, 0 = unknown
    _feed: Any = field(default=None, init=False)
    _compiling: Future | None = field(default=None, init=False)
    _turns: int = field(default=1, init=False)  # that members of a grid take
    _since: int = field(
        default=0, init=False
    )  # the step after which metrics are summed

    def prepare(self, like: Any) -> None:
        """Begin to compile the updates of a new phase, while its first state is made.

        like: a state, or its shapes and types as `jax.eval_shape` gives them.
        """
        new = self.session.checkpoints.latest(self.name) is None
        # on a mesh the program is for states that lie there already
        if new and self.updates and self.session.devices.mesh is None:
            pool = ThreadPoolExecutor(1)
            self._compiling = pool.submit(self._compile, self._open_feed(0), like)
            pool.shutdown(wait=False)

    def run(self, state: Any) -> Any:
        """Train from `state`, or from the phase's last checkpoint; returns the last
        state.

        Raises UserError where a loss is no longer finite or memory runs out, and
        Interrupted after a signal, the state being saved.
        """
        devices, step = self.session.devices, 0
        try:
            state, step, totals = self._resume(_finished(state))
            if self._over(state, step):
                return devices.local(state)
            feed = self._open_feed(step)
            data, _ = feed.data(step, 1)
            self._turns = _count_turns(feed.read, data, self.key, state)
            if self._compiling:
                self._compiling.result()
        except Exception as error:
            self._explain(error, step)
            raise
        state, self.phase = devices.replicate((state, self.phase))
        if self.refresh_first and step == 0:
            with devices.in_use():
                state, _ = _finished(self.refresh(state, step))
        totals = devices.replicate(self._zero_totals(feed, state, step) | totals)
        self.session.progress.start(self.name, self.updates, step)
        try:
            while not self._over(state, step):
                if not feed.ready(step):
                    self.session.progress.wait(feed.waits_for)
                data, n = feed.data(step, self._most(step))
                start = time.monotonic()
                state, totals = self._dispatch(feed.read, data, state, totals, step, n)
                step += n
                state = self._after(state, step, totals, n, start)
                if self._since == step:
                    totals = jax.tree.map(jnp.zeros_like, totals)
        finally:
            feed.close()
            self.session.progress.finish()
        return devices.local(state)

    def _dispatch(
        self,
        read: Callable,
        data: Any,
        state: Any,
        totals: dict[str, Array],
        step: int,
        n: int,
    ) -> tuple[Any, dict[str, Array]]:
        """`_advance`, to its end. Where memory runs out the state before it is saved,
        unless it is gone: it was donated.
        """
        try:
            with self.session.devices.in_use():
                done = _advance(
                    read, self.phase, data, state, totals, self.key, step, n
                )
                return _finished(done)
        except Exception as error:
            gone = any(x.is_deleted() for x in jax.tree.leaves((state, totals)))
            if is_out_of_memory(error) and not gone and not self.session.devices.mesh:
                extra = self._extra(jax.device_get(totals))
                self.session.checkpoints.save(self.name, step, state, extra)
            self._explain(error, step)
            raise

    def _explain(self, error: Exception, step: int) -> None:
        """Raise UserError where `error` means that memory ran out."""
        if is_out_of_memory(error):
            saved = self.session.checkpoints.latest(self.name) or 0
            advice = out_of_memory(error, *self._sizes())
            raise UserError(
                f"{self.name} update {step}: {advice}; the same command goes on from "
                f"update {saved}"
            ) from error

    def _sizes(self) -> tuple[str, Sequence[str]]:
        """The section of the phase, and of an algorithm the keys that say how large its
        updates are.
        """
        algorithm = sections().get(self.section)
        sizes = algorithm.sizes if algorithm else ()
        return self.section, [f"{self.section}.{key}" for key in sizes]

    def _resume(self, state: Any) -> tuple[Any, int, dict[str, Array]]:
        """State, step and unwritten metric sums of the last checkpoint, or of the
        start.
        """
        checkpoints = self.session.checkpoints
        step = checkpoints.latest(self.name)
        if step is None:
            # what a run that diverges at once goes back to
            over = self._over(state, 0)
            checkpoints.save(self.name, 0, state, self._extra({}) | {"over": over})
            return state, 0, {}
        state, extra = checkpoints.restore(self.name, state)
        if step > self.updates:
            raise UserError(
                f"checkpoint {step} of {self.name} is beyond its {self.updates} "
                "updates: delete it to go on from an earlier one"
            )
        try:
            stored = extra["totals"].items()
            totals = {name: jnp.asarray(x, jnp.float32) for name, x in stored}
            self._since = int(extra.get("since", step))
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"checkpoint {step} of {self.name} has no sums of metrics: delete it "
                "to go on from an earlier one"
            ) from error
        if self.evaluate and extra.get("unevaluated"):
            self.evaluate(state, step)
            self.session.stop_if_asked(f"{self.name} update {step}")
        return state, step, totals

    def _open_feed(self, step: int) -> Any:
        """The feed from `step` on, opened at the first call."""
        if self._feed is None:
            self._feed = self.source().feed(self.key, step)
        return self._feed

    def _compile(self, feed: Any, like: Any) -> None:
        """Have JAX hold the program that `_advance` is for such a state."""
        totals = self._zero_totals(feed, like, 0)
        data, n = feed.data(0, 1)
        arguments = (feed.read, self.phase, data, like, totals, self.key, 0, n)
        _advance.lower(*arguments).compile()

    def _zero_totals(self, feed: Any, state: Any, step: int) -> dict[str, Array]:
        def metrics(phase, data, state, key):
            return _updates(feed.read, phase, data, state, key, step)[1]

        data, _ = feed.data(step, 1)
        with self.session.devices.in_use():
            shapes = jax.eval_shape(metrics, self.phase, data, state, self.key)
        return {name: jnp.zeros(x.shape, jnp.float32) for name, x in shapes.items()}

    def _over(self, state: Any, step: int) -> bool:
        return step == self.updates or self.finished(state)

    def _due(self, state: Any, step: int, every: int) -> bool:
        """Whether it is time for what is done every `every` updates and at the end."""
        return self._over(state, step) or (every > 0 and step % every == 0)

    def _most(self, step: int) -> int:
        """Updates of the next dispatch: up to the next record, checkpoint or
        evaluation.
        """
        session = self.session
        marks = (
            session.log_every,
            session.checkpoint_every,
            self.evaluate_every,
            self.refresh_every,
        )
        ahead = [every - step % every for every in marks if every > 0]
        seconds = min(SECONDS_PER_DISPATCH * self._turns, MOST_SECONDS_PER_DISPATCH)
        paced = max(1, round(seconds * self._speed))
        return min(*ahead, self.updates - step, paced)

    def _after(
        self, state: Any, step: int, totals: dict[str, Array], n: int, start: float
    ) -> Any:
        """What follows a dispatch; returns the state to go on with.

        The checkpoint comes last: whatever stands before its step in the metrics has
        then been written.
        """
        session = self.session
        sums = {name: np.asarray(x) for name, x in jax.device_get(totals).items()}
        seconds = time.monotonic() - start
        if self._speed or n > 1:  # the first dispatch compiles
            self._speed = n / seconds
        else:
            self._speed = 1e-9
        self._check_finite(sums, step)
        count = step - self._since
        means = {name: x.astype(float) / count for name, x in sums.items()}
        shown = {name: x.mean() for name, x in means.items()}
        session.progress.update(step, shown, self._feed.waits_for, self._feed.waited)
        refreshed = {}
        if self.refresh and step % self.refresh_every == 0:
            with session.devices.in_use():
                state, refreshed = _finished(self.refresh(state, step))
        if self._due(state, step, session.log_every):
            speed = {"updates_per_second": session.progress.rate}
            self._write(step, means, speed)
            sums, self._since = {}, step
        if refreshed:
            metrics = {name: float(x) for name, x in refreshed.items()}
            session.logger.write(self.name, step, metrics)
        extra = self._extra(sums) | {"over": self._over(state, step)}
        evaluated = self._evaluate(state, step, extra)
        self._speed = session.agree(self._speed)
        stopped, kept = session.interrupts.pending, session.keep_evaluated and evaluated
        if stopped or kept or self._due(state, step, session.checkpoint_every):
            session.checkpoints.save(self.name, step, state, extra)
        if stopped:
            session.stop_if_asked(f"{self.name} update {step}")
        return state

    def _extra(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds beside the state: sums of metrics since a step."""
        totals = {name: x.tolist() for name, x in sums.items()}
        return {"totals": totals, "since": self._since, **self.about}

    def _evaluate(self, state: Any, step: int, extra: dict[str, Any]) -> bool:
        """Evaluate where it is time to; returns whether it was. What comes of an
        evaluation that fails, or is cut short, is that it is done again: `extra` will
        say so.
        """
        if not self.evaluate or not self._due(state, step, self.evaluate_every):
            return False
        try:
            done = self.evaluate(state, step)
        except Exception:
            extra["unevaluated"] = True
            self.session.checkpoints.save(self.name, step, state, extra)
            raise
        if done is False:
            extra["unevaluated"] = True
        return True

    def _write(
        self, step: int, means: Mapping[str, np.ndarray], speed: dict[str, float]
    ) -> None:
        if not self.loggers:
            mean = {name: x.mean() for name, x in means.items()}
            self.session.logger.write(self.name, step, mean, speed)
        for i, logger in enumerate(self.loggers):
            own = {name: x.reshape(-1)[i] for name, x in means.items()}
            logger.write(self.name, step, own, speed)

    def _check_finite(self, sums: dict[str, np.ndarray], step: int) -> None:
        bad = [name for name, x in sums.items() if not np.isfinite(x).all()]
        if not bad:
            return
        bad.sort(key=lambda name: (not name.endswith("_loss"), name))
        saved = self.session.checkpoints.latest(self.name)
        raise UserError(
            f"{bad[0]} is not finite at {self.name} update {step}"
            + (f" (nor {', '.join(bad[1:])})" if bad[1:] else "")
            + f"; the checkpoint of update {saved} is from before: look at the data, "
            f"or {self.advice}"
        )


def _finished(tree: Any) -> Any:
    """Waits for arrays, and raises what went wrong while they were computed.

    NumPy would wait for such an array without end, or abort (jax 0.10.1 on the CPU).
    """
    return jax.block_until_ready(tree)


@partial(jax.jit, static_argnums=0, donate_argnums=(3, 4))
def _advance(
    read: Callable,
    phase: Phase,
    data: Any,
    state: Any,
    totals: dict[str, Array],
    key: Array,
    first: Array,
    n: Array,
) -> tuple[Any, dict[str, Array]]:
    """`n` updates from update `first` on; metrics are added to `totals` one by one."""

    def advance(state, totals, key):
        def body(step, carry):
            state, totals = carry
            state, metrics = _updates(read, phase, data, state, key, step)
            totals = {name: total + metrics[name] for name, total in totals.items()}
            return everywhere((state, totals))

        return jax.lax.fori_loop(first, first + n, body, (state, totals))

    turns = _count_turns(read, data, key, state)
    if turns == 1:
        return advance(state, totals, key)
    # all updates of some, then those of the next: a change of turns is a copy
    together, members = len(key) // turns, (state, totals, key)
    size = together if together > 1 else None
    return jax.lax.map(lambda member: advance(*member), members, batch_size=size)


@partial(jax.jit, static_argnums=0, inline=True)
def _updates(
    read: Callable, phase: Phase, data: Any, state: Any, key: Array, step: Array
) -> tuple[Any, dict[str, Array]]:
    """One update, of all members side by side where there are several; jitted so that
    it is traced once, for `_zero_totals` and the loop.
    """

    def update(state, key):
        return phase.update(state, read(data, key, step), update_key(key, step))

    if not key.ndim:
        return update(state, key)
    return jax.vmap(update)(state, key)


def _count_turns(read: Callable, data: Any, key: Array, state: Any) -> int:
    """How many turns the members of a grid take: 1 where all are updated at once.
    Members whose batches give a CPU enough to do only get in each other's way in its
    caches. But what a change of turns copies has to be small.
    """
    members = len(key) if key.ndim else 1
    if members == 1 or jax.default_backend() != "cpu":
        return 1
    arrays = jax.tree.leaves(state)
    copied = sum(x.size * x.dtype.itemsize for x in arrays) / members
    if copied > MOST_BYTES_FOR_TURNS:
        return 1
    batch = jax.eval_shape(read, data, key[0], 0)
    samples = jax.tree.leaves(batch)[0].shape[0]
    most = max(1, SAMPLES_AT_ONCE // samples)
    return members // max(n for n in range(1, most + 1) if members % n == 0)
