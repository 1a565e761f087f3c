"""Is the model lying? Errors over imagined steps, and how far its members differ."""

from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import BLUE, GREY, ORANGE, RED, Chart, Style, band, line
from dreamer_leq.pages.parts import Section, drawn, still_missing
from dreamer_leq.pages.run_files import RunFiles

FILE = "analysis/model.json"
ABOUT = (
    "The model sees the first steps of a dataset episode and then predicts from the "
    "actions alone. Errors that stay below the baseline carry information; where the "
    "members of the ensemble agree although the error grows, they are wrong together."
)
HEIGHT = 260
_MIXTURE, _MEMBERS, _BASELINE = Style(BLUE), Style(GREY), Style(ORANGE, "dash")
_ACTIONS = {"data": Style(GREY, "dash"), "random": Style(RED, "dash")}


@dataclass(frozen=True)
class Error:
    """Errors by horizon [H]; `members` are [M, H]."""

    mixture: np.ndarray
    members: list[np.ndarray]
    low: np.ndarray
    high: np.ndarray
    baseline: np.ndarray


@dataclass(frozen=True)
class ModelAnalysis:
    """analysis/model.json: errors by kind, and disagreement by where actions come
    from, [H], over the steps of `horizon`.
    """

    context: int
    horizon: np.ndarray
    episodes: int
    error: dict[str, Error]
    disagreement: dict[str, np.ndarray]
    sentence: str
    units: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        curves = [x for one in self.error.values() for x in (one.mixture, *one.members)]
        curves += self.disagreement.values()
        if any(len(curve) != len(self.horizon) for curve in curves):
            raise ValueError("curves of several lengths")


def model_section(run: RunFiles) -> Section:
    """The section of the model's errors: of the run, or of a grid's members, who share
    the model and not the policy.
    """
    runs = [(run, Style(BLUE)), *(pair for pair in drawn(run) if pair[0] is not run)]
    found = {one.name: (one.read(FILE, ModelAnalysis), style) for one, style in runs}
    found = {name: pair for name, pair in found.items() if pair[0]}
    if not found:
        return still_missing(run, "The model's errors are")
    first, _ = next(iter(found.values()))
    seen = f"{first.episodes} episodes, {first.context} steps seen first"
    charts = [_errors(first, kind, seen) for kind in first.error]
    policies = {
        name if len(found) > 1 else "policy": (own.disagreement["policy"], style)
        for name, (own, style) in found.items()
        if "policy" in own.disagreement
    }
    if first.disagreement:
        charts.append(_disagreement(first, policies))
    said = {name: analysis.sentence for name, (analysis, _) in found.items()}
    return Section(ABOUT, _sentences(said), charts)


def _sentences(said: dict[str, str]) -> list[tuple[str, str]]:
    """What the runs say of the model once, where it is the same, and then what each
    says of its own policy.
    """
    if len(said) == 1:
        return [("", sentence) for sentence in said.values()]
    parts = {name: sentence.partition("; ") for name, sentence in said.items()}
    (model, *others) = {head for head, _, _ in parts.values()}
    if others:
        return list(said.items())
    each = {name: tail for name, (_, _, tail) in parts.items() if tail}
    own = [(name, tail[0].upper() + tail[1:]) for name, tail in each.items()]
    return [("", f"{model}."), *own] if own else [("", model)]


def _errors(analysis: ModelAnalysis, kind: str, seen: str) -> Chart:
    error, x = analysis.error[kind], analysis.horizon
    figure = go.Figure(band(x, error.low, error.high, BLUE))
    for i, member in enumerate(error.members):
        trace = line(f"member {i + 1}", x, member, _MEMBERS, width=1.0, opacity=0.6)
        figure.add_trace(trace.update(mode="lines"))
    figure.add_trace(line("baseline", x, error.baseline, _BASELINE))
    figure.add_trace(line("mixture", x, error.mixture, _MIXTURE, width=2.4))
    key = {"mixture": _MIXTURE, "members": _MEMBERS, "baseline": _BASELINE}
    title, unit = f"Error of the {kind}", analysis.units.get(kind)
    return _by_horizon(title, unit, seen, figure, key)


def _disagreement(
    analysis: ModelAnalysis, policies: dict[str, tuple[np.ndarray, Style]]
) -> Chart:
    known, figure = analysis.disagreement, go.Figure()
    lines = {x: (known[x], style) for x, style in _ACTIONS.items() if x in known}
    lines |= policies
    for name, (values, style) in lines.items():
        figure.add_trace(line(name, analysis.horizon, values, style))
    key = {name: style for name, (_, style) in lines.items()}
    about = "of the members, by where actions come from"
    unit = analysis.units.get("disagreement")
    return _by_horizon("Disagreement", unit, about, figure, key)


def _by_horizon(
    title: str, unit: str | None, about: str, figure: go.Figure, key: dict[str, Style]
) -> Chart:
    figure.update_xaxes(title="imagined steps", nticks=6)
    figure.update_yaxes(rangemode="tozero")
    return Chart(title, f"{unit}; {about}" if unit else about, figure, HEIGHT, key)
