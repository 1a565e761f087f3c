"""How every plot of the page looks, and its HTML.

Plotly draws SVG: what has to follow dark and light (text, grid, background) is
coloured by style.css; what means something has a colour here that is seen on both.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.io import to_html

# Seen on white and on near-black, and told apart by colour-blind people.
BLUE, ORANGE, GREEN, PURPLE, RED, TEAL, PINK, GOLD = (
    *("#3b82d6", "#d97706", "#2f9e5c", "#9a6ae0"),
    *("#dc4c4c", "#1597a8", "#d6539b", "#a38200"),
)
GREY = "#858d99"
MEMBER_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, TEAL, PINK, GOLD)
DASHES = ("solid", "dash", "dot")

_TEMPLATE = go.layout.Template(
    layout=dict(
        font=dict(family="system-ui, sans-serif", size=12),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=dict(l=8, r=12, t=8, b=8),
        hovermode="x unified",
        xaxis=dict(automargin=True, zeroline=False, showgrid=False, ticks="outside"),
        yaxis=dict(automargin=True, zeroline=False, nticks=6, exponentformat="power"),
        modebar=dict(bgcolor="rgba(0,0,0,0)", color=GREY, activecolor=BLUE),
        showlegend=False,
        colorway=MEMBER_COLOURS,
    )
)
_BUTTONS = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d"]],
    "responsive": True,
}


@dataclass(frozen=True)
class Style:
    """Colour and dash of a line, with Plotly's words."""

    colour: str
    dash: str = "solid"

    @property
    def border(self) -> str:
        """The same in CSS."""
        return {"dash": "dashed", "dot": "dotted"}.get(self.dash, "solid")


@dataclass(frozen=True)
class Chart:
    """A plot with its title and a line of words; `height` in pixels.

    `key` says what is drawn how. The page writes it: Plotly's own key would take its
    room from the plot.
    """

    title: str
    note: str
    figure: go.Figure
    height: int = 230
    key: dict[str, Style] = field(default_factory=dict)


def plot(chart: Chart, name: str) -> Markup:
    """HTML of a chart's plot under an id of its own."""
    chart.figure.update_layout(template=_TEMPLATE)
    options = dict(config=_BUTTONS, include_plotlyjs=False, full_html=False)
    sizes = dict(default_width="100%", default_height=f"{chart.height}px")
    return Markup(to_html(chart.figure, div_id=name, **options, **sizes))


def label(text: str) -> str:
    """Text for a plot: Plotly reads a few HTML tags in it."""
    return html.escape(text, quote=False)


def line(
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    style: Style,
    *,
    width: float = 1.8,
    **more: object,
) -> go.Scatter:
    """A curve; with markers where it has few points."""
    return go.Scatter(
        name=label(name),
        x=np.asarray(x),
        y=np.asarray(y),
        mode="lines+markers" if len(x) <= 12 else "lines",
        line=dict(color=style.colour, width=width, dash=style.dash),
        marker=dict(size=6),
        hovertemplate="%{y:.4~g}",
        **more,
    )


def band(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str
) -> go.Scatter:
    """The area between two curves."""
    return go.Scatter(
        x=[*x, *reversed(list(x))],
        y=[*high, *reversed(list(low))],
        fill="toself",
        fillcolor=colour,
        opacity=0.18,
        line=dict(width=0),
        hoverinfo="skip",
    )


def member_style(index: int) -> Style:
    """Colour of the index-th member, and a dash once the colours are used up."""
    round_, colour = divmod(index, len(MEMBER_COLOURS))
    return Style(MEMBER_COLOURS[colour], DASHES[round_ % len(DASHES)])
