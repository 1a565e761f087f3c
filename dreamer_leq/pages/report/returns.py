"""The returns of the dataset's episodes, and where the policies are among them."""

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import BLUE, GREY, RED, Chart, Style, band, label, line
from dreamer_leq.pages.parts import drawn, shown
from dreamer_leq.pages.report.scores import Scores
from dreamer_leq.pages.run_files import Histogram, RunFiles, Score


def returns_chart(
    run: RunFiles, scores: Scores, members: dict[str, Scores]
) -> Chart | None:
    """A histogram with a line at each score; None where info.json has none. `members`
    are the scores of a grid's, by name.
    """
    data = run.info and run.info.dataset
    if not data or not data.return_histogram:
        return None
    grid = {one.name: style for one, style in drawn(run) if one.name in members}
    marks = {
        "policy": (scores.policy, Style(BLUE)),
        **{name: (members[name].policy, style) for name, style in grid.items()},
        "random actions": (scores.random, Style(RED)),
        "dataset mean": (scores.data_mean, Style(GREY, "dash")),
        "dataset best": (scores.data_best, Style(GREY, "dot")),
    }
    figure = go.Figure(_bars(data.return_histogram))
    top = float(data.return_histogram.counts.max())
    marks = {name: (score, style) for name, (score, style) in marks.items() if score}
    for name, (score, style) in marks.items():
        words = f"{name} {shown(score.mean, run.unit)}"
        figure.add_traces(_mark(words, score, style, top))
    ends = [x for trace in figure.data for x in (min(trace.x), max(trace.x))]
    margin = 0.04 * (max(ends) - min(ends)) or 1.0
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(range=[min(ends) - margin, max(ends) + margin], nticks=8)
    figure.update_xaxes(title=f"{run.unit} of an episode")
    figure.update_yaxes(title="episodes", range=[0, 1.03 * top])
    note = f"{data.statistics.episodes:,} episodes, {data.statistics.steps:,} steps"
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
        hovertemplate="%{customdata[0]:.4~g} … %{customdata[1]:.4~g}: %{y}",
        name="",
    )


def _mark(words: str, score: Score, style: Style, top: float) -> list[go.Scatter]:
    """A line at a mean, over its interval as an area."""
    mark = line(words, [score.mean] * 2, [0, top], style, width=2.2)
    mark.update(mode="lines", hovertemplate=f"{label(words)}<extra></extra>")
    if score.ci_low is None or score.ci_high is None:
        return [mark]
    area = band([score.ci_low, score.ci_high], [0, 0], [top, top], style.colour)
    return [area, mark]
