"""Time and memory that a run took, from what its metrics record of the clock."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dreamer_leq.pages.run_files import RunFiles

Clock = tuple[str, float, float]  # phase, wall time, seconds of the process


@dataclass(frozen=True)
class Spent:
    """Seconds by phase, and the most bytes held; empty and None where not recorded."""

    seconds: dict[str, float]
    memory: float | None
    device_memory: float | None


def spent(run: RunFiles) -> Spent:
    """What the run took; of a grid, with its members, who share one process.

    What lies between two records counts for the phase of the second one: encoding and
    compilation too. A process that went on with the run counts from its start; the
    updates that it repeated count once.
    """
    records = [*run.records, *(r for member in run.members for r in member.records)]
    clocks = sorted(_clocks(records), key=lambda clock: clock[1])
    seconds: dict[str, float] = {}
    before = clocks[0][2] if run.grid and clocks else 0.0  # a member joins late
    for phase, _, now in clocks:
        gap = now - before if now >= before else now
        seconds[phase] = seconds.get(phase, 0.0) + gap
        before = now
    peaks = (_most(records, name) for name in ("peak_memory", "peak_device_memory"))
    return Spent(seconds, *peaks)


def _clocks(records: Iterable[dict[str, Any]]) -> Iterable[Clock]:
    for record in records:
        wall, seconds = (time_of(record, key) for key in ("wall", "process_seconds"))
        if wall is not None and seconds is not None:
            yield record["phase"], wall, seconds


def _most(records: Iterable[dict[str, Any]], name: str) -> float | None:
    found = [time_of(record, name) for record in records]
    return max((value for value in found if value is not None), default=None)


def time_of(record: dict[str, Any], name: str) -> float | None:
    """What the clock said of a record, where it said so."""
    times = record.get("time")
    value = times.get(name) if isinstance(times, dict) else None
    return value if isinstance(value, int | float) else None
