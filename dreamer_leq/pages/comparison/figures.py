"""The plots of the comparison's page, and a colour for each of its runs."""

import colorsys
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import (
    COLOURS,
    Chart,
    Style,
    band,
    dots,
    label,
    line,
)
from dreamer_leq.pages.comparison.offline import OfflineTask
from dreamer_leq.pages.comparison.summary import Summary

_THRESHOLDS = 101
_LIGHTEST, _DARKEST = 0.13, -0.13  # shades beside the method's own


def scores_chart(summary: Summary, colours: dict[str, str]) -> Chart:
    """The runs' scores by task, a column of points for each method, with its mean."""
    figure = go.Figure()
    for method in summary.methods:
        by_task = summary.scores[method]
        where = [task for task in summary.tasks for _ in by_task[task]]
        every = 100 * np.concatenate([by_task[task] for task in summary.tasks])
        means = [100 * by_task[task].mean() for task in summary.tasks]
        shared = dict(name=label(method), offsetgroup=method, legendgroup=method)
        dot = dict(color=colours[method])
        bar = dict(dot, opacity=0.35)
        figure.add_bar(x=summary.tasks, y=means, marker=bar, **shared)
        figure.add_scatter(x=where, y=every, mode="markers", marker=dot, **shared)
    figure.update_traces(hovertemplate="%{y:.1f}")
    figure.update_traces(hovertemplate="mean %{y:.1f}", selector=dict(type="bar"))
    figure.update_layout(barmode="group", scattermode="group", hovermode="closest")
    figure.update_yaxes(title=summary.score_name, rangemode="tozero")
    note = "A point is a run, a bar the mean of a method's runs."
    return Chart("Scores of the runs", note, figure, 300)


def profile_chart(summary: Summary, colours: dict[str, str]) -> Chart:
    """The performance profile of each method."""
    every = np.concatenate([s for own in summary.scores.values() for s in own.values()])
    low, high = min(0.0, every.min()), max(1.0, every.max())
    thresholds, figure = np.linspace(low, high, _THRESHOLDS), go.Figure()
    for method in summary.methods:
        found, colour = summary.profile(method, thresholds), colours[method]
        x = 100 * thresholds
        if found.low is not None:
            figure.add_trace(band(x, 100 * found.low, 100 * found.high, colour))
        figure.add_trace(line(method, x, 100 * found.share, Style(colour)))
    figure.update_xaxes(title="score, %")
    figure.update_yaxes(title="runs above it, %", range=[-3, 103])
    note = (
        "How many runs score more than what is below them. A method whose curve is "
        "above another's everywhere is better; bands are pointwise 95 % intervals."
    )
    return Chart("Performance profiles", note, figure, 280)


def offline_chart(task: OfflineTask, colours: dict[str, str]) -> Chart:
    """The estimate of every run against its return in the environment."""
    figure = go.Figure()
    for method, values in task.runs.items():
        axes = values[:, 0], values[:, 3]
        figure.add_trace(dots(method, *axes, colours[method], ("FQE", "return")))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="fitted Q evaluation", showgrid=True)
    figure.update_yaxes(title="return in the environment")
    note = "A point is a run. Where the estimate ranks runs well, points rise."
    return Chart(task.task, note, figure, 260)


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(methods)}


def run_colours(names: Sequence[str], hues: dict[str, str]) -> list[str]:
    """A colour for each run; `names` are their methods."""
    counts, seen = Counter(names), Counter()
    colours = []
    for name in names:
        place = seen[name] / max(1, counts[name] - 1)
        shift = _DARKEST + (_LIGHTEST - _DARKEST) * place if counts[name] > 1 else 0.0
        colours.append(_shifted(hues[name], shift))
        seen[name] += 1
    return colours


def _shifted(colour: str, shift: float) -> str:
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    hue, lightness, saturation = colorsys.rgb_to_hls(*rgb)
    rgb = colorsys.hls_to_rgb(hue, min(0.8, max(0.3, lightness + shift)), saturation)
    return "#" + "".join(f"{round(255 * x):02x}" for x in rgb)
