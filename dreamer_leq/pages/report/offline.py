"""Choosing without the environment: offline estimates beside the online score."""

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.evaluation.statistics import describe_rank_correlation
from dreamer_leq.pages.charts import Chart, dots, spread
from dreamer_leq.pages.parts import (
    Analysed,
    Section,
    Table,
    analysed,
    interval,
    setting,
    shown,
    still_missing,
)
from dreamer_leq.pages.report.scores import scores_of
from dreamer_leq.pages.run_files import OFFLINE, OfflineAnalysis, RunFiles, Score

ABOUT = (
    "Estimates from held-out data alone: the value that fitted Q evaluation (FQE) "
    "finds for the policy, and the bias of the critic there. They rank policies at "
    "best; neither is a score."
)


def offline_section(run: RunFiles) -> Section:
    """The section of offline estimates: of the run, or of a grid's members."""
    sources = analysed(run, OFFLINE, OfflineAnalysis)
    if not sources:
        return still_missing(run, "The estimates from held-out data are")
    pairs = [(one, scores_of(one.run).policy) for one in sources]
    scored = [pair for pair in pairs if pair[1]]
    several = len(sources) > 1
    charts = [_beside(scored)] if len(scored) > 1 else []
    notes = [_ranks(scored)] if several else []
    sentences = [(x.run.name if several else "", x.found.sentence) for x in sources]
    keys = list(sources[0].run.coefficients)
    head = ["", *keys, "FQE", "interval", "bias", "interval", "online", "interval"]
    table = Table(head, [_row(*pair, run.unit) for pair in pairs])
    return Section(ABOUT, sentences, charts, table, notes)


def _ranks(scored: list[tuple[Analysed, Score]]) -> str:
    """How far the estimates order the runs as the environment does."""
    online = np.array([score.mean for _, score in scored])
    fqe = np.array([one.found.fqe.value for one, _ in scored])
    bias = np.array([abs(one.found.calibration.bias) for one, _ in scored])
    about_fqe = describe_rank_correlation(fqe, online, "runs")
    about_bias = describe_rank_correlation(-bias, online, "runs")
    return (
        f"FQE against the online score, {about_fqe}. How small the bias is against it, "
        f"{about_bias}."
    )


def _beside(scored: list[tuple[Analysed, Score]]) -> Chart:
    figure = go.Figure()
    for one, score in scored:
        fqe, bars = one.found.fqe, dict(color=one.colour, thickness=1.2)
        x = spread(fqe.value, fqe.low, fqe.high, **bars)
        y = spread(score.mean, score.ci_low, score.ci_high, **bars)
        axes = [fqe.value], [score.mean], one.colour, ("FQE", "online")
        figure.add_trace(dots(one.run.name, *axes, error_x=x, error_y=y))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="FQE on held-out data", nticks=6)
    figure.update_yaxes(title="online")
    return Chart("FQE beside the online score", "with 95 % intervals", figure, 320)


def _row(one: Analysed, score: Score | None, unit: str) -> list[str]:
    row = [one.run.name, *map(setting, one.run.coefficients.values())]
    fqe, critic = one.found.fqe, one.found.calibration
    row += [shown(fqe.value), interval(fqe.low, fqe.high)]
    row += [shown(critic.bias), interval(critic.low, critic.high)]
    if not score:
        return [*row, "not scored", ""]
    return [*row, shown(score.mean, unit), interval(score.ci_low, score.ci_high, unit)]
