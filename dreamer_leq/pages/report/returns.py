"""The returns of the dataset's episodes, and where the policies are among them."""

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import (
    BLUE,
    GREY,
    RED,
    Chart,
    Style,
    label,
    member_style,
)
from dreamer_leq.pages.parts import shown
from dreamer_leq.pages.report.scores import Scores
from dreamer_leq.pages.run_files import Histogram, RunFiles, Score


def returns_chart(
    run: RunFiles, scores: Scores, members: dict[str, Scores], unit: str
) -> Chart | None:
    """A histogram with a line at each score; None where info.json has none. `members`
    are the scores of a grid's, by name.
    """
    if not run.info or not run.info.histogram:
        return None
    figure = go.Figure(_bars(run.info.histogram))
    top = float(run.info.histogram.counts.max())
    policies = {"policy": (scores.policy, Style(BLUE))}
    for i, (name, own) in enumerate(members.items()):
        policies[name] = (own.policy, member_style(i))
    others = {
        "random actions": (scores.random, Style(RED)),
        "dataset mean": (scores.data_mean, Style(GREY, "dash")),
        "dataset best": (scores.data_best, Style(GREY, "dot")),
    }
    marks = {name: mark for name, mark in (policies | others).items() if mark[0]}
    for name, (score, style) in marks.items():
        figure.add_traces(_mark(name, score, style, top, unit))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title=f"{unit} of an episode", nticks=8, range=_range(figure))
    figure.update_yaxes(title="episodes", range=[0, 1.03 * top])
    note = f"{run.info.episodes:,} episodes, {run.info.steps:,} steps"
    key = {name: style for name, (_, style) in marks.items()}
    return Chart("The dataset's returns", note, figure, 280, key)


def _bars(histogram: Histogram) -> go.Bar:
    edges = histogram.edges
    ranges = np.stack([edges[:-1], edges[1:]], 1)
    return go.Bar(
        x=ranges.mean(1),
        y=histogram.counts,
        width=np.diff(edges),
        customdata=ranges,
        marker=dict(color=GREY, opacity=0.45, line=dict(width=0)),
        hovertemplate="%{customdata[0]:.4~g} … %{customdata[1]:.4~g}: %{y}"
        "<extra></extra>",
    )


def _range(figure: go.Figure) -> list[float]:
    """A range that holds all lines and bars, with a margin."""
    ends = [x for trace in figure.data for x in (min(trace.x), max(trace.x))]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 1.0
    return [low - margin, high + margin]


def _mark(
    name: str, score: Score, style: Style, top: float, unit: str
) -> list[go.Scatter]:
    """A line at a mean, and its interval as an area."""
    x = score.mean
    words = f"{name} {shown(x, unit)}"
    mark = go.Scatter(
        x=[x, x],
        y=[0, top],
        mode="lines",
        name=label(words),
        line=dict(color=style.colour, width=2.2, dash=style.dash),
        hovertemplate=f"{label(words)}<extra></extra>",
    )
    if score.low is None or score.high is None:
        return [mark]
    area = go.Scatter(
        x=[score.low, score.low, score.high, score.high],
        y=[0, top, top, 0],
        fill="toself",
        fillcolor=style.colour,
        opacity=0.16,
        mode="none",
        hoverinfo="skip",
    )
    return [area, mark]
