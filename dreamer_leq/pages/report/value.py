"""Is the value lying? What is predicted against what the environment then gives."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import GREY, Chart, dots, estimates
from dreamer_leq.pages.parts import (
    NONE,
    Analysed,
    Section,
    Table,
    analysed,
    interval,
    setting,
    shown,
    still_missing,
)
from dreamer_leq.pages.run_files import RunFiles

FILE = "analysis/value.json"
ABOUT = (
    "A dot for each start: what was predicted there, and the discounted return that "
    "the policy then really got. Dots below the line promise more than there is; the "
    "bias is how much that is in the mean."
)
TITLES = {"q": "Q", "lambda_return": "λ-return", "imagined_return": "Imagined return"}


@dataclass(frozen=True)
class Calibration:
    """Predictions and what came of them [N], and their mean difference."""

    predicted: np.ndarray
    real: np.ndarray
    bias: float
    low: float
    high: float
    correlation: float | None = None  # undefined where all are the same

    def __post_init__(self) -> None:
        if len(self.predicted) != len(self.real):
            raise ValueError(f"{len(self.predicted)} predictions of {len(self.real)}")


@dataclass(frozen=True)
class ValueAnalysis:
    """analysis/value.json: what each of TITLES predicts, where the run has it."""

    sentence: str
    horizon: int
    q: Calibration | None = None
    lambda_return: Calibration | None = None
    imagined_return: Calibration | None = None

    @property
    def kinds(self) -> dict[str, Calibration]:
        """The calibrations that there are."""
        found = {kind: getattr(self, kind) for kind in TITLES}
        return {kind: one for kind, one in found.items() if one}


def value_section(run: RunFiles) -> Section:
    """The section of the values' bias: of the run, or of a grid's members."""
    sources = analysed(run, FILE, ValueAnalysis)
    if not sources:
        return still_missing(run, "The values' bias is")
    by_kind = {
        kind: [source for source in sources if kind in source.found.kinds]
        for kind in dict.fromkeys(k for one in sources for k in one.found.kinds)
    }
    charts = [_scatter(own, kind) for kind, own in by_kind.items()]
    if run.members:
        charts += [_biases(own, kind) for kind, own in by_kind.items()]
        sentences = [(one.run.name, one.found.sentence) for one in sources]
        return Section(ABOUT, sentences, charts, _members_table(sources, by_kind))
    analysis = sources[0].found
    return Section(ABOUT, [("", analysis.sentence)], charts, _table(analysis))


def _scatter(sources: list[Analysed], kind: str) -> Chart:
    found = [source.found.kinds[kind] for source in sources]
    both = np.concatenate([x for one in found for x in (one.predicted, one.real)])
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 1.0
    ends = [low - margin, high + margin]  # of both axes
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
    return Chart(TITLES[kind], _note(sources, kind), figure, 320)


def _note(sources: list[Analysed], kind: str) -> str:
    analysis = sources[0].found
    far = f"over {analysis.horizon} steps" if kind == "imagined_return" else ""
    if len(sources) > 1:
        return far or "a colour for each run"
    bias = f"bias {_bias(analysis.kinds[kind])}"
    return f"{bias}, {far}" if far else bias


def _biases(sources: list[Analysed], kind: str) -> Chart:
    """A mark with its interval for each run."""
    found = [(one.run.name, one.found.kinds[kind], one.colour) for one in sources]
    figure = estimates([(name, x.bias, x.low, x.high, c) for name, x, c in found], 0.0)
    figure.update_xaxes(title="predicted − real")
    height = 90 + 28 * len(sources)
    return Chart(f"Bias: {TITLES[kind]}", "with its 95 % interval", figure, height)


def _members_table(sources: list[Analysed], kinds: dict[str, list[Analysed]]) -> Table:
    """A row for each run."""
    keys = list(sources[0].run.coefficients)
    rows = [
        [
            one.run.name,
            *map(setting, one.run.coefficients.values()),
            *(_bias(one.found.kinds.get(kind)) for kind in kinds),
        ]
        for one in sources
    ]
    return Table(["", *keys, *(f"bias: {TITLES[kind]}" for kind in kinds)], rows)


def _table(analysis: ValueAnalysis) -> Table:
    """A row for each kind of prediction."""
    head = ["", "bias", "95 % interval", "correlation", "starts"]
    return Table(head, [_row(TITLES[k], one) for k, one in analysis.kinds.items()])


def _bias(one: Calibration | None) -> str:
    return f"{shown(one.bias)} ({interval(one.low, one.high)})" if one else NONE


def _row(title: str, one: Calibration) -> list[str]:
    related = NONE if one.correlation is None else f"{one.correlation:.2f}"
    count = str(len(one.predicted))
    return [title, shown(one.bias), interval(one.low, one.high), related, count]
