"""The plots of the comparison's page."""

import colorsys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.evaluation.statistics import Estimate
from dreamer_leq.pages.charts import COLOURS, GREY, Style, label, line, scale_values
from dreamer_leq.pages.comparison.curves import Curve
from dreamer_leq.pages.comparison.offline import OfflineTask
from dreamer_leq.pages.comparison.summary import Summary


def score_figure(summary: Summary, colours: dict[str, str]) -> go.Figure:
    """The runs' scores by task, a column of points for each method, with its mean."""
    figure = go.Figure()
    for method in summary.methods:
        by_task = summary.scores[method]
        where = [task for task in summary.tasks for _ in by_task[task]]
        every = 100 * np.concatenate([by_task[task] for task in summary.tasks])
        means = [100 * by_task[task].mean() for task in summary.tasks]
        shared = dict(name=label(method), offsetgroup=method, legendgroup=method)
        bar = dict(color=colours[method], opacity=0.35)
        figure.add_bar(
            x=summary.tasks,
            y=means,
            marker=bar,
            hovertemplate="mean %{y:.1f}",
            **shared,
        )
        points = dict(color=colours[method], size=7)
        figure.add_scatter(
            x=where,
            y=every,
            mode="markers",
            marker=points,
            hovertemplate="%{y:.1f}",
            **shared,
        )
    figure.update_layout(barmode="group", scattermode="group", hovermode="closest")
    figure.update_yaxes(title="score, %", rangemode="tozero")
    return figure


def estimate_figure(
    rows: Sequence[tuple[str, Estimate]],
    colours: Sequence[str],
    *,
    scale: float = 1.0,
    middle: float | None = None,
) -> go.Figure:
    """A statistic of each row with its 95 % interval; `middle` is a vertical line."""
    figure = go.Figure()
    for (name, found), colour in zip(rows, colours, strict=True):
        errors = {}
        if found.low is not None:
            errors["error_x"] = dict(
                type="data",
                array=[scale * (found.high - found.value)],
                arrayminus=[scale * (found.value - found.low)],
                thickness=5,
                width=0,
                color=_faint(colour),
            )
        figure.add_scatter(
            x=[scale * found.value],
            y=[label(name)],
            mode="markers",
            marker=dict(color=colour, size=11, symbol="line-ns-open", line_width=4),
            hovertemplate="%{x:.3~g}<extra></extra>",
            **errors,
        )
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed", nticks=len(rows))
    figure.update_xaxes(showgrid=True)
    if middle is not None:
        figure.add_vline(middle, line=dict(color=GREY, width=1, dash="dot"))
    return figure


def curve_figure(
    drawn: Sequence[Curve], styles: Sequence[tuple[str, Style]]
) -> tuple[go.Figure, str]:
    """The curves of one metric, each with its name and style, and a word on their axis,
    or none.
    """
    figure = go.Figure()
    for curve, (name, style) in zip(drawn, styles, strict=True):
        # half the bytes of what is not read that exactly
        x, y = curve.step.astype(np.float32), curve.value.astype(np.float32)
        figure.add_trace(line(name, x, y, style, width=1.6))
    values = np.concatenate([curve.value for curve in drawn])
    return figure, scale_values(figure, values)


def offline_figure(task: OfflineTask, colours: dict[str, str]) -> go.Figure:
    """The estimate of every run against its return in the environment."""
    figure = go.Figure()
    for method, points in task.points.items():
        figure.add_scatter(
            x=points[:, 0],
            y=points[:, 1],
            name=label(method),
            mode="markers",
            marker=dict(color=colours[method], size=9),
            hovertemplate="FQE %{x:.4~g}<br>return %{y:.4~g}",
        )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="fitted Q evaluation", showgrid=True)
    figure.update_yaxes(title="return in the environment")
    return figure


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"


_LIGHTEST, _DARKEST = 0.13, -0.13  # shades beside the method's own


def method_colours(methods: Sequence[str]) -> dict[str, str]:
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
