"""Curves of the metrics: those of a grid's members side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import (
    BLUE,
    GREY,
    Chart,
    Style,
    line,
    member_style,
    scale_values,
    thinned,
)
from dreamer_leq.pages.phases import PHASES
from dreamer_leq.pages.report import metric_names as names
from dreamer_leq.pages.run_files import Record, RunFiles, clock

POINTS = 4000  # of all curves of a plot together
MOST_POINTS, FEWEST_POINTS = 600, 60  # of one curve
NOT_METRICS = ("phase", "step", "time", *names.HIDDEN)


@dataclass(frozen=True)
class Source:
    """A run whose curves are drawn, and how."""

    name: str
    records: list[Record]
    style: Style


@dataclass(frozen=True)
class Group:
    name: str
    charts: list[Chart]


def curves(run: RunFiles) -> list[Group]:
    """The curves of a run, or of a grid and its members, by group."""
    found: dict[str, list[Chart]] = {name: [] for name in names.GROUPS}
    sources = _sources(run)
    for phase, metric in _metrics(sources):
        chart = _chart(sources, phase, metric)
        if chart:
            found[names.group(phase, metric)].append(chart)
    return [Group(name, charts) for name, charts in found.items() if charts]


def _sources(run: RunFiles) -> list[Source]:
    members = [
        Source(member.name, member.records, member_style(i))
        for i, member in enumerate(run.members)
    ]
    own = Source(run.name, run.records, Style(GREY if members else BLUE))
    return [own, *members]


def _metrics(sources: list[Source]) -> Iterator[tuple[str, str]]:
    """Phases and metrics that occur: phases in the order of training, then metrics in
    that of METRICS, unknown ones last.
    """
    found = {
        (record["phase"], name)
        for source in sources
        for record in source.records
        for name in (*record, *names.CLOCK)
        if name not in NOT_METRICS
    }
    order = {name: i for i, name in enumerate((*PHASES, *names.METRICS))}
    last = len(order)
    yield from sorted(
        found, key=lambda pair: [(order.get(word, last), word) for word in pair]
    )


def _chart(sources: list[Source], phase: str, metric: str) -> Chart | None:
    figure, seen = go.Figure(), []
    drawn = [s for s in sources if len(_points(s.records, phase, metric)[0])]
    for source in drawn:
        x, y, (low, high) = _points(source.records, phase, metric)
        most = min(MOST_POINTS, max(FEWEST_POINTS, POINTS // len(drawn)))
        errors = {}
        if metric == "eval_mean" and len(x) <= most:
            errors["error_y"] = _error_bars(y, low, high, source.style.colour)
        x, y = thinned(x, y, most)
        figure.add_trace(line(source.name, x, y, source.style, **errors))
        seen.append(y)
    if not seen:
        return None
    figure.update_xaxes(rangemode="tozero")
    words = (names.words(metric), scale_values(figure, np.concatenate(seen)))
    note = "; ".join(word for word in words if word)
    return Chart(f"{metric} · {PHASES.get(phase, phase)}", note, figure)


def _points(
    records: list[Record], phase: str, metric: str
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Steps and values [N] of a metric, and the bounds of its interval, or NaN."""
    rows = []
    for record in records:
        if record["phase"] != phase:
            continue
        value = _value(record, metric)
        if not np.isnan(value):
            bounds = (_value(record, f"eval_ci_{end}") for end in ("low", "high"))
            rows.append((record["step"], value, *bounds))
    table = np.array(rows, float).reshape(-1, 4)
    return table[:, 0], table[:, 1], [table[:, 2], table[:, 3]]


def _value(record: Record, metric: str) -> float:
    value = clock(record, metric) if metric in names.CLOCK else record.get(metric)
    return float(value) if isinstance(value, int | float) else np.nan


def _error_bars(y: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> dict:
    return dict(
        type="data",
        array=np.nan_to_num(high - y),
        arrayminus=np.nan_to_num(y - low),
        color=colour,
        thickness=1.2,
        width=4,
    )
