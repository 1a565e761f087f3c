"""Is the value lying? What is predicted against what the environment then gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import GREY, Chart, dots, estimates
from dreamer_leq.pages.parts import (
    NONE,
    Section,
    Table,
    drawn,
    interval,
    setting,
    shown,
    still_missing,
)
from dreamer_leq.pages.run_files import RunFiles, curve, number, words

FILE = "analysis/value.json"
ABOUT = (
    "A dot for each start: what was predicted there, and the discounted return that "
    "the policy then really got. Dots below the line promise more than there is; the "
    "bias is how much that is in the mean."
)
_TITLES = {"q": "Q", "lambda_return": "λ-return"}


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
    """analysis/value.json, checked: a calibration of each kind of prediction."""

    horizon: int
    kinds: dict[str, Calibration]
    sentence: str

    @classmethod
    def of(cls, data: Any) -> "ValueAnalysis":
        found = {k: x for k, x in data.items() if isinstance(x, dict) and "real" in x}
        kinds = {kind: Calibration.of(one) for kind, one in found.items()}
        return cls(int(data["horizon"]), kinds, str(data["sentence"]))


@dataclass(frozen=True)
class _Source:
    """A run's analysis, and how it is drawn."""

    run: RunFiles
    colour: str
    analysis: ValueAnalysis


def value_section(run: RunFiles) -> Section:
    """Of the run, or of all members of a grid that have the file."""
    sources = [
        _Source(one, style.colour, found)
        for one, style in drawn(run)
        if (found := one.read(FILE, ValueAnalysis.of))
    ]
    if not sources:
        return still_missing(run, "The values' bias is")
    by_kind = {
        kind: [source for source in sources if kind in source.analysis.kinds]
        for kind in dict.fromkeys(k for one in sources for k in one.analysis.kinds)
    }
    charts = [_scatter(own, kind) for kind, own in by_kind.items()]
    if run.members:
        charts += [_biases(own, kind) for kind, own in by_kind.items()]
        sentences = [(one.run.name, one.analysis.sentence) for one in sources]
        return Section(ABOUT, sentences, charts, _members_table(sources, by_kind))
    analysis = sources[0].analysis
    return Section(ABOUT, [("", analysis.sentence)], charts, _table(analysis))


def _title(kind: str) -> str:
    return _TITLES.get(kind) or words(kind).capitalize()


def _scatter(sources: list[_Source], kind: str) -> Chart:
    found = [source.analysis.kinds[kind] for source in sources]
    both = [values for one in found for values in (one.predicted, one.real)]
    ends = _ends(np.concatenate(both))
    line = dict(color=GREY, width=1.2, dash="dash")
    identity = dict(mode="lines", line=line, hoverinfo="skip", name="as predicted")
    figure = go.Figure(go.Scatter(x=ends, y=ends, **identity))
    for source, one in zip(sources, found, strict=True):
        axes = one.predicted, one.real
        name = source.run.name if source.run.grid else ""
        figure.add_trace(dots(name, *axes, source.colour, ("predicted", "real")))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="predicted", range=ends, nticks=6)
    figure.update_yaxes(title="real", range=ends)
    return Chart(_title(kind), _note(sources, kind), figure, 320)


def _ends(values: np.ndarray) -> list[float]:
    """One range for both axes."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 1.0
    return [float(low - margin), float(high + margin)]


def _note(sources: list[_Source], kind: str) -> str:
    analysis = sources[0].analysis
    far = f"over {analysis.horizon} steps" if kind == "imagined_return" else ""
    if len(sources) > 1:
        return far or "a colour for each run"
    bias = f"bias {_bias(analysis.kinds[kind])}"
    return f"{bias}, {far}" if far else bias


def _biases(sources: list[_Source], kind: str) -> Chart:
    """A mark with its interval for each run."""
    found = [(one.run.name, one.analysis.kinds[kind], one.colour) for one in sources]
    figure = estimates([(name, x.bias, x.low, x.high, c) for name, x, c in found], 0.0)
    figure.update_xaxes(title="predicted − real")
    height = 90 + 28 * len(sources)
    return Chart(f"Bias: {_title(kind)}", "with its 95 % interval", figure, height)


def _members_table(sources: list[_Source], kinds: dict[str, list[_Source]]) -> Table:
    """A row for each run."""
    keys = list(sources[0].run.coefficients)
    rows = [
        [
            one.run.name,
            *map(setting, one.run.coefficients.values()),
            *(_bias(one.analysis.kinds.get(kind)) for kind in kinds),
        ]
        for one in sources
    ]
    return Table(["", *keys, *(f"bias: {_title(kind)}" for kind in kinds)], rows)


def _table(analysis: ValueAnalysis) -> Table:
    """A row for each kind of prediction."""
    head = ["", "bias", "95 % interval", "correlation", "starts"]
    return Table(head, [_row(_title(k), one) for k, one in analysis.kinds.items()])


def _bias(one: Calibration | None) -> str:
    return f"{shown(one.bias)} ({interval(one.low, one.high)})" if one else NONE


def _row(title: str, one: Calibration) -> list[str]:
    related = NONE if one.correlation is None else f"{one.correlation:.2f}"
    count = str(len(one.predicted))
    return [title, shown(one.bias), interval(one.low, one.high), related, count]
