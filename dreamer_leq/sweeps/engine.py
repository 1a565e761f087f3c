"""What an engine is, and the loop that gives it jobs in their order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dreamer_leq.sweeps.plan import Job
from dreamer_leq.sweeps.process import POLL_SECONDS, Outcome, Work, seconds_of
from dreamer_leq.system.interrupts import Interrupts


class Engine(Protocol):
    """Runs jobs somewhere. What it is given runs as soon as there is room."""

    def submit(self, work: Work) -> None: ...

    def room(self) -> int:
        """How many more jobs may be submitted now."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Of the jobs that have ended since the last call."""
        ...

    def stop(self) -> None:
        """Let all that runs save and end; `outcomes` tells of them."""
        ...

    def close(self) -> None:
        """End what still runs, and give back what the engine holds."""
        ...


@dataclass
class State:
    """How far a sweep is: its jobs by name, and what has become of them."""

    jobs: dict[str, Job]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)  # since when

    @property
    def pending(self) -> list[Job]:
        known = self.outcomes.keys() | self.running.keys()
        return [job for name, job in self.jobs.items() if name not in known]

    @property
    def done(self) -> list[str]:
        return [name for name, found in self.outcomes.items() if not found.code]

    @property
    def failed(self) -> dict[str, Outcome]:
        found = self.outcomes.items()
        return {name: x for name, x in found if x.code and not x.stopped}

    def ready(self) -> list[Job]:
        """The jobs that nothing has to be waited for."""
        done = set(self.done)
        return [job for job in self.pending if done.issuperset(job.after)]

    def give_up(self) -> None:
        """Jobs that wait for a failed one will not run."""
        failed = self.outcomes.keys() - set(self.done)
        while lost := [job for job in self.pending if failed & set(job.after)]:
            for job in lost:
                cause = next(name for name in job.after if name in failed)
                reason = f"waits for {cause}, which failed"
                stopped = self.outcomes[cause].stopped
                self.outcomes[job.name] = Outcome(
                    job.name, 1, reason, stopped, ran=False
                )
                failed.add(job.name)


def drive(
    jobs: Sequence[Job],
    engine: Engine,
    interrupts: Interrupts,
    works: Mapping[str, Work] | None = None,
    watch: Callable[[State], None] = lambda state: None,
) -> State:
    """Give the engine the jobs, each after those that it waits for, until all have
    ended or a signal comes; a job that fails ends nothing but those that wait for it.

    `works` has what stands for a job, where it isn't its own command. `watch` is told
    how far it is, about every second.
    """
    state = State({job.name: job for job in jobs})
    works = works or {job.name: Work.of(job) for job in jobs}
    for job in jobs:  # what is done needs no engine
        if seconds_of(works[job.name]) is not None:
            state.outcomes[job.name] = Outcome(job.name, 0, ran=False)
    told, stopping = 0.0, False
    try:
        while state.running or (state.pending and not stopping):
            if interrupts.pending is not None and not stopping:
                stopping = True
                engine.stop()
            if not stopping:
                _submit(state, engine, works)
            for outcome in engine.outcomes():
                state.running.pop(outcome.name, None)
                state.outcomes[outcome.name] = outcome
            state.give_up()
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                watch(state)
            time.sleep(POLL_SECONDS if state.running else 0.0)
    finally:
        engine.close()
    watch(state)
    return state


def _submit(state: State, engine: Engine, works: Mapping[str, Work]) -> None:
    for job in state.ready()[: engine.room()]:
        state.running[job.name] = time.monotonic()
        engine.submit(works[job.name])
