"""Where the time of a phase goes: a trace of jax.profiler, summed up.

The trace itself stays in the folder, for Perfetto or XProf.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from hlo import Operation, operations
from jax.profiler import ProfileData
from measuring import Program

MOST = 20  # operations in the summary


@dataclass(frozen=True)
class Span:
    """One execution of an operation, or of a kernel of unknown operation."""

    name: str
    start: float  # seconds
    end: float


def profile(program: Program, seconds: float, folder: Path) -> dict[str, Any]:
    """Runs updates for about this long under the profiler.

    Returns the sums by kind of operation, by part of the model, and of the operations
    that take longest.
    """
    program.seconds(1)
    updates = max(1, round(seconds / program.seconds(1)))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # its events would fill the trace
    with jax.profiler.trace(folder, profiler_options=options):
        wall = program.seconds(updates)
    trace = max(folder.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    known = operations(program.compiled.as_text())
    times = {"updates": updates, "wall_seconds": wall, "trace": str(trace)}
    return times | summary(list(spans(ProfileData.from_file(str(trace)), known)), known)


def spans(data: ProfileData, known: dict[str, Operation]) -> Iterator[Span]:
    """What the device executed: a GPU's kernels, or the operations on the CPU."""
    planes = [p for p in data.planes if p.name.startswith("/device:")]
    if planes:
        lines = [line for plane in planes for line in plane.lines]
        streams = [line for line in lines if line.name.startswith("Stream")]
        yield from _kernels(streams, known)
    else:
        for plane in data.planes:
            if plane.name == "/host:CPU":
                yield from _thunks(plane.lines, known)


def _kernels(lines: Iterable[Any], known: dict[str, Operation]) -> Iterator[Span]:
    for line in lines:
        for event in line.events:
            op = dict(event.stats).get("hlo_op", "")
            start, length = event.start_ns / 1e9, event.duration_ns / 1e9
            yield Span(op if op in known else event.name, start, start + length)


def _thunks(lines: Iterable[Any], known: dict[str, Operation]) -> Iterator[Span]:
    """An operation that threads share ends with an event of its own, which knows by a
    number to which beginning it belongs.
    """
    began, ended = {}, {}
    for line in lines:
        for event in line.events:
            stats, start = dict(event.stats), event.start_ns
            if (name := stats.get("hlo_op")) in known:
                number = stats.get("_p", len(began))
                began[number] = name, start, start + event.duration_ns
            elif event.name.startswith("end: "):
                ended[stats.get("_c")] = start
    for number, (name, start, end) in began.items():
        yield Span(name, start / 1e9, ended.get(number, end) / 1e9)


def summary(spans: list[Span], known: dict[str, Operation]) -> dict[str, Any]:
    """Seconds by kind, by part, and by operation, the most first; all add up to those
    in which anything ran.
    """
    seconds, calls = shares(spans), Counter(span.name for span in spans)
    kinds, parts = defaultdict(float), defaultdict(float)
    for name, spent in seconds.items():
        op = known.get(name, UNKNOWN)
        kinds[op.kind] += spent
        parts[op.part, op.way, op.looped] += spent
    return {
        "busy_seconds": sum(seconds.values()),
        "kinds": dict(_falling(kinds)),
        "parts": [
            {"part": part, "way": way, "looped": looped, "seconds": spent}
            for (part, way, looped), spent in _falling(parts)
        ],
        "operations": [
            {"name": name, "calls": calls[name], "seconds": spent}
            | vars(known.get(name, UNKNOWN))
            for name, spent in _falling(seconds)[:MOST]
        ],
    }


def shares(spans: list[Span]) -> dict[str, float]:
    """Seconds by name: every moment belongs in equal parts to what runs in it.

    An operation that threads share may wait for them while others run; so it counts
    for no more than its part of that time.
    """
    spans = [span for span in spans if span.start < span.end]
    edges = [(span.start, True, i) for i, span in enumerate(spans)]
    edges += [(span.end, False, i) for i, span in enumerate(spans)]
    seconds, running, last = defaultdict(float), set(), 0.0
    for moment, begins, i in sorted(edges):
        for other in running:
            seconds[spans[other].name] += (moment - last) / len(running)
        (running.add if begins else running.discard)(i)
        last = moment
    return dict(seconds)


UNKNOWN = Operation("unnamed", "unnamed", "", False, "", "", 0)


def _falling(sums: dict[Any, float]) -> list[tuple[Any, float]]:
    return sorted(sums.items(), key=lambda item: item[1], reverse=True)
