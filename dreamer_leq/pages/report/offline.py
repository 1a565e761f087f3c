"""Choosing without the environment: offline estimates beside the online score."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.evaluation.statistics import describe_rank_correlation
from dreamer_leq.pages.charts import Chart, dots, spread
from dreamer_leq.pages.parts import (
    Section,
    Table,
    drawn,
    interval,
    setting,
    shown,
    still_missing,
)
from dreamer_leq.pages.report.scores import scores_of
from dreamer_leq.pages.run_files import OfflineAnalysis, RunFiles, Score

ABOUT = (
    "Estimates from held-out data alone: the value that fitted Q evaluation (FQE) "
    "finds for the policy, and the bias of the critic there. They rank policies at "
    "best; neither is a score."
)


@dataclass(frozen=True)
class _Source:
    """A run's estimates and score, and how they are drawn."""

    run: RunFiles
    analysis: OfflineAnalysis
    online: Score | None
    colour: str


def offline_section(run: RunFiles) -> Section:
    """Of the run, or of all members of a grid that have the file."""
    sources = [
        _Source(one, one.offline, scores_of(one).policy, style.colour)
        for one, style in drawn(run)
        if one.offline
    ]
    if not sources:
        return still_missing(run, "The estimates from held-out data are")
    scored = [source for source in sources if source.online]
    several = len(sources) > 1
    charts = [_beside(scored)] if len(scored) > 1 else []
    notes = [_ranks(scored)] if several else []
    sentences = [(x.run.name if several else "", x.analysis.sentence) for x in sources]
    return Section(ABOUT, sentences, charts, _table(sources, run.unit), notes)


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
        bars = dict(color=one.colour, thickness=1.2)
        x = spread(fqe.value, fqe.low, fqe.high, **bars)
        y = spread(online.mean, online.low, online.high, **bars)
        axes = [fqe.value], [online.mean], one.colour, ("FQE", "online")
        figure.add_trace(dots(one.run.name, *axes, error_x=x, error_y=y))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="FQE on held-out data", nticks=6)
    figure.update_yaxes(title="online")
    return Chart("FQE beside the online score", "with 95 % intervals", figure, 320)


def _table(sources: list[_Source], unit: str) -> Table:
    keys = list(sources[0].run.coefficients)
    head = ["", *keys, "FQE", "interval", "bias", "interval", "online", "interval"]
    return Table(head, [_row(one, unit) for one in sources])


def _row(one: _Source, unit: str) -> list[str]:
    row = [one.run.name, *map(setting, one.run.coefficients.values())]
    for found in (one.analysis.fqe, one.analysis.bias):
        row += [shown(found.value), interval(found.low, found.high)]
    if not one.online:
        return [*row, "not scored", ""]
    online = interval(one.online.low, one.online.high, unit)
    return [*row, shown(one.online.mean, unit), online]
