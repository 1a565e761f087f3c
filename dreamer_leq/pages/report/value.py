"""Is the value lying? What is predicted against what the environment then gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import BLUE, GREY, Chart, label, member_style
from dreamer_leq.pages.parts import (
    NONE,
    Section,
    Table,
    interval,
    shown,
    still_missing,
)
from dreamer_leq.pages.run_files import RunFiles, curve, number

FILE = "analysis/value.json"
ABOUT = (
    "A dot for each start: what was predicted there, and the discounted return that "
    "the policy then really got. Dots below the line promise more than there is; the "
    "bias is how much that is in the mean."
)
TITLES = {
    "q": "Q",
    "lambda_return": "λ-return",
    "imagined_return": "Imagined return",
}


@dataclass(frozen=True)
class Calibration:
    """Predictions and what came of them [N], and their mean difference."""

    predicted: np.ndarray
    real: np.ndarray
    bias: float
    low: float
    high: float
    correlation: float | None

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Calibration":
        predicted = curve(data["predicted"])
        real = curve(data["real"], len(predicted))
        numbers = (number(data[name]) for name in ("bias", "low", "high"))
        found = data.get("correlation")  # undefined where all are the same
        defined = found is not None and np.isfinite(found)
        return cls(predicted, real, *numbers, number(found) if defined else None)


@dataclass(frozen=True)
class ValueAnalysis:
    """analysis/value.json, checked; `kinds` has those of TITLES."""

    tau: float
    discount: float
    horizon: int
    episodes: int
    kinds: dict[str, Calibration]
    sentence: str

    @classmethod
    def of(cls, data: Any) -> "ValueAnalysis":
        return cls(
            number(data["tau"]),
            number(data["discount"]),
            int(data["horizon"]),
            int(data["episodes"]),
            {kind: Calibration.of(data[kind]) for kind in TITLES},
            str(data["sentence"]),
        )


@dataclass(frozen=True)
class _Source:
    """One run's analysis, and how it is drawn; `name` is "" for the page's own."""

    name: str
    analysis: ValueAnalysis
    colour: str


def value_section(run: RunFiles) -> Section:
    """Of the run, or of all members of a grid that have the file."""
    sources = _sources(run)
    if not sources:
        return still_missing(run.path, "The values' bias is")
    charts = [_scatter(sources, kind) for kind in TITLES]
    if len(sources) > 1:
        charts += [_biases(sources, kind) for kind in TITLES]
    sentences = [(one.name, one.analysis.sentence) for one in sources]
    return Section(ABOUT, sentences, charts, _table(sources))


def _sources(run: RunFiles) -> list[_Source]:
    if not run.members:
        found = run.read(FILE, ValueAnalysis.of)
        return [_Source("", found, BLUE)] if found else []
    read = ((m, i, m.read(FILE, ValueAnalysis.of)) for i, m in enumerate(run.members))
    return [
        _Source(m.name, found, member_style(i).colour) for m, i, found in read if found
    ]


def _scatter(sources: list[_Source], kind: str) -> Chart:
    figure = go.Figure()
    found = [source.analysis.kinds[kind] for source in sources]
    ends = _ends([values for one in found for values in (one.predicted, one.real)])
    line = dict(color=GREY, width=1.2, dash="dash")
    identity = dict(mode="lines", line=line, hoverinfo="skip", name="as predicted")
    figure.add_trace(go.Scatter(x=ends, y=ends, **identity))
    for source, one in zip(sources, found, strict=True):
        colour = source.colour
        dots = dict(color=colour, size=7, opacity=0.65)
        trace = go.Scatter(
            x=one.predicted,
            y=one.real,
            mode="markers",
            name=label(source.name),
            marker=dots,
            hovertemplate="predicted %{x:.4~g}<br>real %{y:.4~g}",
        )
        figure.add_trace(trace)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="predicted", range=ends, nticks=6)
    figure.update_yaxes(title="real", range=ends)
    return Chart(TITLES[kind], _note(sources, kind), figure, 320)


def _ends(values: list[np.ndarray]) -> list[float]:
    """One range for both axes."""
    low = min((float(x.min()) for x in values if len(x)), default=0.0)
    high = max((float(x.max()) for x in values if len(x)), default=1.0)
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def _note(sources: list[_Source], kind: str) -> str:
    analysis = sources[0].analysis
    far = f"over {analysis.horizon} steps" if kind == "imagined_return" else ""
    if len(sources) > 1:
        return far or "a colour for each run"
    one = analysis.kinds[kind]
    bias = f"bias {shown(one.bias)} ({interval(one.low, one.high)})"
    return f"{bias}, {far}" if far else bias


def _biases(sources: list[_Source], kind: str) -> Chart:
    """A dot with its interval for each run."""
    figure = go.Figure()
    for source in sources:
        one, colour = source.analysis.kinds[kind], source.colour
        spread = dict(
            type="data",
            array=[one.high - one.bias],
            arrayminus=[one.bias - one.low],
            color=colour,
            thickness=1.6,
        )
        trace = go.Scatter(
            x=[one.bias],
            y=[label(source.name)],
            error_x=spread,
            mode="markers",
            marker=dict(color=colour, size=9),
            hovertemplate="%{x:.4~g}<extra></extra>",
        )
        figure.add_trace(trace)
    figure.add_vline(x=0, line=dict(color=GREY, width=1.2, dash="dash"))
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed", nticks=None, type="category")
    figure.update_xaxes(title="predicted − real")
    height = 90 + 28 * len(sources)
    return Chart(f"Bias: {TITLES[kind]}", "with its 95 % interval", figure, height)


def _table(sources: list[_Source]) -> Table:
    """A row for each prediction; of several runs one for each of them."""
    if len(sources) > 1:
        head = ["", "τ", *(f"bias: {title}" for title in TITLES.values())]
        return Table(head, [_biases_of(source) for source in sources])
    head = ["", "bias", "95 % interval", "correlation", "starts"]
    kinds = sources[0].analysis.kinds
    return Table(head, [_row(TITLES[kind], one) for kind, one in kinds.items()])


def _biases_of(source: _Source) -> list[str]:
    found = source.analysis.kinds.values()
    biases = [f"{shown(x.bias)} ({interval(x.low, x.high)})" for x in found]
    return [source.name, f"{source.analysis.tau:g}", *biases]


def _row(title: str, one: Calibration) -> list[str]:
    related = NONE if one.correlation is None else f"{one.correlation:.2f}"
    count = str(len(one.predicted))
    return [title, shown(one.bias), interval(one.low, one.high), related, count]
