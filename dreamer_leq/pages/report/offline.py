"""Choosing τ without the environment: offline estimates beside the online score."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.evaluation.statistics import describe_rank_correlation
from dreamer_leq.pages.charts import BLUE, Chart, label, member_style
from dreamer_leq.pages.parts import Section, Table, interval, shown, still_missing
from dreamer_leq.pages.report.scores import Score, scores_of
from dreamer_leq.pages.run_files import OfflineAnalysis, RunFiles

ABOUT = (
    "Estimates from held-out data alone: the value that fitted Q evaluation (FQE) "
    "finds for the policy, and the bias of the critic there. They rank policies at "
    "best; neither is a score."
)


@dataclass(frozen=True)
class _Source:
    name: str
    analysis: OfflineAnalysis
    online: Score | None
    colour: str


def offline_section(run: RunFiles) -> Section:
    """Of the run, or of all members of a grid that have the file."""
    sources = _sources(run)
    if not sources:
        return still_missing(run.path, "The estimates from held-out data are")
    unit = run.config.about.unit if run.config else "return"
    scored = [source for source in sources if source.online]
    several = len(sources) > 1
    charts = [_beside(scored)] if len(scored) > 1 else []
    notes = [_ranks(scored)] if several else []
    sentences = [(x.name if several else "", x.analysis.sentence) for x in sources]
    return Section(ABOUT, sentences, charts, _table(sources, unit), notes)


def _sources(run: RunFiles) -> list[_Source]:
    runs = run.members or [run]
    found = []
    for i, one in enumerate(runs):
        if analysis := one.offline:
            colour = member_style(i).colour if run.members else BLUE
            found.append(_Source(one.name, analysis, scores_of(one).policy, colour))
    return found


def _ranks(scored: list[_Source]) -> str:
    """How far the estimates order the runs as the environment does."""
    online = np.array([one.online.mean for one in scored])
    fqe = np.array([one.analysis.fqe.value for one in scored])
    bias = np.array([abs(one.analysis.bias.value) for one in scored])
    about_fqe = describe_rank_correlation(fqe, online, "runs")
    about_bias = describe_rank_correlation(-bias, online, "runs")
    return (
        f"FQE against the online score, {about_fqe}. How small the bias is against it, "
        f"{about_bias}."
    )


def _beside(scored: list[_Source]) -> Chart:
    figure = go.Figure()
    for one in scored:
        fqe, online = one.analysis.fqe, one.online
        bars = dict(type="data", color=one.colour, thickness=1.2)
        low = online.mean if online.low is None else online.low
        high = online.mean if online.high is None else online.high
        trace = go.Scatter(
            x=[fqe.value],
            y=[online.mean],
            error_x=bars
            | dict(array=[fqe.high - fqe.value], arrayminus=[fqe.value - fqe.low]),
            error_y=bars
            | dict(array=[high - online.mean], arrayminus=[online.mean - low]),
            mode="markers",
            marker=dict(color=one.colour, size=10),
            name=label(one.name),
            hovertemplate="FQE %{x:.4~g}<br>online %{y:.4~g}",
        )
        figure.add_trace(trace)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="FQE on held-out data", nticks=6)
    figure.update_yaxes(title="online")
    return Chart("FQE beside the online score", "with 95 % intervals", figure, 320)


def _table(sources: list[_Source], unit: str) -> Table:
    head = ["τ", "FQE", "interval", "bias", "interval", "online", "interval"]
    rows = []
    for one in sources:
        row = [f"{one.analysis.tau:g}"]
        for found in (one.analysis.fqe, one.analysis.bias):
            row += [shown(found.value), interval(found.low, found.high)]
        rows.append([one.name, *row, *_online(one.online, unit)])
    return Table(["", *head], rows)


def _online(score: Score | None, unit: str) -> list[str]:
    if not score:
        return ["not scored", ""]
    return [shown(score.mean, unit), interval(score.low, score.high, unit)]
