"""Is the model lying? Errors over imagined steps, and how far its members differ."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    Chart,
    Style,
    band,
    line,
    member_style,
)
from dreamer_leq.pages.parts import Section, still_missing
from dreamer_leq.pages.run_files import RunFiles, curve

FILE = "analysis/model.json"
ABOUT = (
    "The model sees the first steps of a dataset episode and then predicts from the "
    "actions alone. Errors that stay below the baseline carry information; where the "
    "members of the ensemble agree although the error grows, they are wrong together."
)
HEIGHT = 260
_MIXTURE, _MEMBERS, _BASELINE = Style(BLUE), Style(GREY), Style(ORANGE, "dash")
_ACTIONS = {"data": Style(GREY, "dash"), "random": Style(RED, "dash")}
_POLICY = Style(BLUE)


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
    """analysis/model.json, checked: errors by kind, disagreement by actions."""

    context: int
    horizon: np.ndarray
    episodes: int
    errors: dict[str, Error]
    disagreement: dict[str, np.ndarray]
    units: dict[str, str]
    sentence: str

    @classmethod
    def of(cls, data: Any) -> "ModelAnalysis":
        horizon = curve(data["horizon"])

        def by_horizon(values: Any) -> np.ndarray:
            return curve(values, len(horizon))

        def error(found: dict[str, Any]) -> Error:
            names = ("mixture", "low", "high", "baseline")
            curves = {name: by_horizon(found[name]) for name in names}
            return Error(members=[by_horizon(x) for x in found["members"]], **curves)

        disagreement = data["disagreement"]
        return cls(
            int(data["context"]),
            horizon,
            int(data["episodes"]),
            {str(kind): error(found) for kind, found in data["error"].items()},
            {str(k): by_horizon(x) for k, x in disagreement.items()},
            {str(k): str(unit) for k, unit in data.get("units", {}).items()},
            str(data["sentence"]),
        )


def model_section(run: RunFiles) -> Section:
    """Of the run, or of the members of a grid: the model is the same, the policies
    differ.
    """
    found = {one.name: one.read(FILE, ModelAnalysis.of) for one in (run, *run.members)}
    analyses = {name: analysis for name, analysis in found.items() if analysis}
    if not analyses:
        return still_missing(run, "The model's errors are")
    first = next(iter(analyses.values()))
    seen = f"{first.episodes} episodes, {first.context} steps seen first"
    charts = [_errors(first, kind, seen) for kind in first.errors]
    styles = {member.name: member_style(i) for i, member in enumerate(run.members)}
    if first.disagreement:
        charts.append(_disagreement(first, _policies(analyses, styles)))
    return Section(ABOUT, _sentences(analyses), charts)


def _sentences(analyses: dict[str, ModelAnalysis]) -> list[tuple[str, str]]:
    """What they say of the model once, where it is the same, and then what each says of
    its own policy.
    """
    parts = {name: x.sentence.partition("; ") for name, x in analyses.items()}
    (model, *others) = {head for head, _, _ in parts.values()}
    if others or len(parts) == 1:
        one = len(parts) == 1
        return [("" if one else name, x.sentence) for name, x in analyses.items()]
    each = [
        (name, tail[0].upper() + tail[1:])
        for name, (_, _, tail) in parts.items()
        if tail
    ]
    return [("", f"{model}."), *each] if each else [("", model)]


def _policies(
    analyses: dict[str, ModelAnalysis], styles: dict[str, Style]
) -> dict[str, tuple[np.ndarray, Style]]:
    """Disagreement on the actions of each run's policy."""
    several = len(analyses) > 1
    return {
        name if several else "policy": (
            analysis.disagreement["policy"],
            styles.get(name, _POLICY) if several else _POLICY,
        )
        for name, analysis in analyses.items()
        if "policy" in analysis.disagreement
    }


def _errors(analysis: ModelAnalysis, kind: str, seen: str) -> Chart:
    error, x = analysis.errors[kind], analysis.horizon
    figure = _by_horizon()
    figure.add_trace(band(x, error.low, error.high, BLUE))
    for i, member in enumerate(error.members):
        trace = line(f"member {i + 1}", x, member, _MEMBERS, width=1.0, opacity=0.6)
        figure.add_trace(trace.update(mode="lines"))
    figure.add_trace(line("baseline", x, error.baseline, _BASELINE))
    figure.add_trace(line("mixture", x, error.mixture, _MIXTURE, width=2.4))
    key = {"mixture": _MIXTURE, "members": _MEMBERS, "baseline": _BASELINE}
    return Chart(
        f"Error of the {kind}", _note(analysis, kind, seen), figure, HEIGHT, key
    )


def _disagreement(
    analysis: ModelAnalysis, policies: dict[str, tuple[np.ndarray, Style]]
) -> Chart:
    lines = {
        name: (analysis.disagreement[name], style)
        for name, style in _ACTIONS.items()
        if name in analysis.disagreement
    }
    figure = _by_horizon()
    for name, (values, style) in (lines | policies).items():
        figure.add_trace(line(name, analysis.horizon, values, style))
    note = _note(analysis, "disagreement", "of the members, by where actions come from")
    key = {name: style for name, (_, style) in (lines | policies).items()}
    return Chart("Disagreement", note, figure, HEIGHT, key)


def _by_horizon() -> go.Figure:
    figure = go.Figure()
    figure.update_xaxes(title="imagined steps", nticks=6)
    return figure.update_yaxes(rangemode="tozero")


def _note(analysis: ModelAnalysis, kind: str, words: str) -> str:
    unit = analysis.units.get(kind)
    return f"{unit}; {words}" if unit else words
