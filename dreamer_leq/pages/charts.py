"""How every plot of the pages looks, and what the page's script draws it from.

Plotly draws SVG: what has to follow dark and light (text, grid, background) is
coloured by style.css; what means something has a colour of the palette.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

# Seen on white and on near-black, and told apart by colour-blind people.
COLOURS = BLUE, ORANGE, GREEN, PURPLE, RED, TEAL, PINK, GOLD = (
    *("#3b82d6", "#d97706", "#2f9e5c", "#9a6ae0"),
    *("#dc4c4c", "#1597a8", "#d6539b", "#a38200"),
)
GREY = "#858d99"
MEMBER_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, TEAL, PINK, GOLD)
DASHES = ("solid", "dash", "dot")

# A range as wide as this, of positive values, is drawn on a logarithmic axis.
LOGARITHMIC = 10.0
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


@dataclass(frozen=True)
class Style:
    """Colour and dash of a line, with Plotly's words."""

    colour: str
    dash: str = "solid"

    @property
    def border(self) -> str:
        """The same in CSS."""
        return {"dash": "dashed", "dot": "dotted"}.get(self.dash, "solid")


def member_style(index: int) -> Style:
    """Colour of the index-th member, and a dash once the colours are used up."""
    round_, colour = divmod(index, len(MEMBER_COLOURS))
    return Style(MEMBER_COLOURS[colour], DASHES[round_ % len(DASHES)])


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

    @property
    def json(self) -> Markup:
        """The figure for a script element; Plotly escapes what could end it."""
        self.figure.update_layout(template=_TEMPLATE)
        return Markup(self.figure.to_json())


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
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.18,
        line=dict(width=0),
        hoverinfo="skip",
    )


def dots(
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    colour: str,
    words: tuple[str, str],
    **more: object,
) -> go.Scatter:
    """Points by two quantities, whose `words` are shown under the pointer."""
    return go.Scatter(
        name=label(name),
        x=x,
        y=y,
        mode="markers",
        marker=dict(color=colour, size=8, opacity=0.8),
        hovertemplate=f"{words[0]} %{{x:.4~g}}<br>{words[1]} %{{y:.4~g}}",
        **more,
    )


def spread(
    value: float, low: float | None, high: float | None, **style: object
) -> dict[str, object]:
    """Plotly's error bar from `low` to `high`; none where they are None."""
    if low is None or high is None:
        return {}
    return dict(type="data", array=[high - value], arrayminus=[value - low], **style)


def estimates(
    rows: Sequence[tuple[str, float, float | None, float | None, str]],
    middle: float | None = None,
) -> go.Figure:
    """A mark and its interval for each row of name, value, low, high and colour;
    `middle` is a vertical line.
    """
    figure = go.Figure()
    for name, value, low, high, colour in rows:
        faint = f"rgba{(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)), 0.4)}"
        figure.add_scatter(
            x=[value],
            y=[label(name)],
            error_x=spread(value, low, high, thickness=5, width=0, color=faint),
            mode="markers",
            marker=dict(color=colour, size=11, symbol="line-ns-open", line_width=4),
            hovertemplate="%{x:.3~g}<extra></extra>",
        )
    if middle is not None:
        figure.add_vline(middle, line=dict(color=GREY, width=1, dash="dot"))
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed", type="category", nticks=None, dtick=1)
    return figure.update_xaxes(showgrid=True)


def scale_values(figure: go.Figure, values: np.ndarray) -> str:
    """Makes the y-axis logarithmic where positive `values` spread widely; the word for
    that, or none.
    """
    values = values[np.isfinite(values)]
    ratio = values.max() / values.min() if len(values) and values.min() > 0 else 1.0
    if ratio <= LOGARITHMIC:
        return ""
    twos = dict(dtick=np.log10(2), tickformat=".4~g")
    figure.update_yaxes(type="log", nticks=None, dtick=1)
    figure.update_yaxes(twos if ratio < 100 else {})
    return "logarithmic"


def thinned(
    x: Sequence[float], y: Sequence[float], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, [N] -> [<= most]: the ends, and of each stretch
    between them the lowest and the highest, so that spikes stay.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= most:
        return x, y
    stretches = np.array_split(np.arange(1, len(x) - 1), max(1, (most - 2) // 2))
    filled = np.where(np.isnan(y), 0.0, y)
    kept = {0, len(x) - 1}
    for rows in stretches:
        kept |= {rows[filled[rows].argmin()], rows[filled[rows].argmax()]}
    index = np.array(sorted(kept))
    return x[index], y[index]
