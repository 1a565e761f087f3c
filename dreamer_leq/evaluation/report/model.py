"""Is the model lying? Its errors over imagined steps, and how far its members differ.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.evaluation.report.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Chart,
    band,
    line,
)
from dreamer_leq.evaluation.report.numbers import curve
from dreamer_leq.evaluation.report.run_files import RunFiles
from dreamer_leq.evaluation.report.section import Section, still_missing

FILE = "analysis/model.json"
ABOUT = (
    "The model sees the first steps of a dataset episode and then predicts from the "
    "actions alone. Errors that stay below the baseline carry information; where the "
    "members of the ensemble agree although the error grows, they are wrong together."
)
_ACTIONS = {"data": GREEN, "policy": ORANGE, "random": RED}


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
            {k: by_horizon(x) for k, x in disagreement.items() if k in _ACTIONS},
            {str(k): str(unit) for k, unit in data.get("units", {}).items()},
            str(data["sentence"]),
        )


def model_section(run: RunFiles) -> Section:
    """Of the run, or of the first member of a grid that has the file."""
    for one in (run, *run.members):
        if analysis := one.read(FILE, ModelAnalysis.of):
            whose = "" if one is run else one.name
            return _section(analysis, whose)
    return still_missing(run.path, "The model's errors are")


def _section(analysis: ModelAnalysis, whose: str) -> Section:
    seen = f"{analysis.episodes} episodes, {analysis.context} steps seen first"
    charts = [_errors(analysis, kind, seen) for kind in analysis.errors]
    if analysis.disagreement:
        charts.append(_disagreement(analysis))
    return Section(ABOUT, [(whose, analysis.sentence)], charts)


def _errors(analysis: ModelAnalysis, kind: str, seen: str) -> Chart:
    error, x = analysis.errors[kind], analysis.horizon
    figure = go.Figure(band(x, error.low, error.high, BLUE))
    for i, member in enumerate(error.members):
        first = dict(legendgroup="members", showlegend=i == 0, opacity=0.55)
        trace = line("members", x, member, GREY, width=1.0, **first)
        figure.add_trace(trace.update(mode="lines", hoverinfo="skip"))
        figure.data[-1].hovertemplate = None
    figure.add_trace(line("baseline", x, error.baseline, ORANGE, dash="dash"))
    figure.add_trace(line("mixture", x, error.mixture, BLUE, width=2.4))
    figure.update_xaxes(title="imagined steps")
    figure.update_yaxes(rangemode="tozero")
    return Chart(f"Error of the {kind}", _note(analysis, kind, seen), figure, 290)


def _disagreement(analysis: ModelAnalysis) -> Chart:
    figure = go.Figure()
    for name, values in analysis.disagreement.items():
        trace = line(f"{name} actions", analysis.horizon, values, _ACTIONS[name])
        figure.add_trace(trace)
    figure.update_xaxes(title="imagined steps")
    figure.update_yaxes(rangemode="tozero")
    note = _note(analysis, "disagreement", "of the members, by where actions come from")
    return Chart("Disagreement", note, figure, 290)


def _note(analysis: ModelAnalysis, kind: str, words: str) -> str:
    unit = analysis.units.get(kind)
    return f"{unit}; {words}" if unit else words
