"""How far jobs are, read from their folders; and how long and how large they get, from
those of the sweep that are done.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dreamer_leq.pages.run_files import RunFiles, record_of, spent
from dreamer_leq.sweeps.plan import TRAIN, Job
from dreamer_leq.sweeps.process import Work, seconds_of

_TAIL = 65_536  # bytes of a metrics file that are looked at


@dataclass(frozen=True)
class Progress:
    """Where a job is; None what it hasn't said yet."""

    phase: str | None = None
    step: int | None = None
    total: int | None = None
    rate: float | None = None
    score: float | None = None  # normalised, in %: of its runs so far

    @property
    def left(self) -> float | None:
        """Seconds to the end of its phase."""
        if not self.rate or self.total is None or self.step is None:
            return None
        return max(0, self.total - self.step) / self.rate


def progress(job: Job) -> Progress:
    """Of a job, from the ends of its metrics."""
    runs = [Path(folder) for folder in job.runs]
    own = [_records(folder / "metrics.jsonl") for folder in {*runs, job.folder}]
    records = [record for found in own for record in found]
    if not records:
        return Progress()
    last = max(records, key=lambda r: _time(r, "wall") or 0.0)
    rates = [r for r in records if r["phase"] == last["phase"] and _rate(r)]
    scores = [found[-1] for folder in runs if (found := _scores(folder))]
    return Progress(
        last["phase"],
        last["step"],
        _total(job, last["phase"]),
        _rate(max(rates, key=lambda r: r["step"])) if rates else None,
        sum(scores) / len(scores) if scores else None,
    )


def _records(file: Path) -> list[dict[str, Any]]:
    """The last records of a metrics file."""
    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _TAIL))
            lines = opened.read().split(b"\n")[1 if size > _TAIL else 0 : -1]
    except OSError:
        return []
    return [record for line in lines if (record := record_of(line)) is not None]


def _time(record: Mapping[str, Any], name: str) -> float | None:
    times = record.get("time")
    value = times.get(name) if isinstance(times, dict) else None
    return value if isinstance(value, int | float) else None


def _rate(record: Mapping[str, Any]) -> float | None:
    return _time(record, "updates_per_second")


def _scores(folder: Path) -> list[float]:
    try:
        scores = json.loads((folder / "scores.json").read_text())
        return [scores[step]["normalized"] for step in sorted(scores, key=int)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _total(job: Job, phase: str) -> int | None:
    """The updates of a phase, where they are known before."""
    config = job.config
    name = config.world_model_section if phase == "world_model" else phase
    return getattr(getattr(config, name, None), "updates", None)


# --- what jobs will take


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes that a job takes; None what is not known."""

    seconds: float | None = None
    memory: float | None = None


def measured(job: Job) -> Cost | None:
    """What a job took, where it is done."""
    seconds = seconds_of(Work.of(job))
    if seconds is None:
        return None
    took = spent(RunFiles(job.folder))
    whole = sum(took.seconds.values()) if job.kind == TRAIN else 0.0
    return Cost(max(seconds, whole), took.device_memory or took.memory)


def costs(jobs: Sequence[Job]) -> dict[str, Cost]:
    """What each job took, or is expected to take: as the middle one of those that are
    done and are most like it.
    """
    known = {job.name: cost for job in jobs if (cost := measured(job))}
    found = {}
    for job in jobs:
        own = known.get(job.name)
        found[job.name] = own or _expected(job, jobs, known)
    return found


def _expected(job: Job, jobs: Sequence[Job], known: Mapping[str, Cost]) -> Cost:
    """By jobs of the same method and number of runs, else of the same algorithm."""

    def like(other: Job, closely: bool) -> bool:
        own = (job.kind, job.config.algorithm, job.config.world_model)
        same = own == (other.kind, other.config.algorithm, other.config.world_model)
        near = (job.method, len(job.runs)) == (other.method, len(other.runs))
        return same and (near or not closely)

    for closely in (True, False):
        costs = [known[x.name] for x in jobs if x.name in known and like(x, closely)]
        if costs:
            memories = [cost.memory for cost in costs if cost.memory]
            seconds = median(cost.seconds for cost in costs)
            return Cost(seconds, max(memories, default=None))
    return Cost()
