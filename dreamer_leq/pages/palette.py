"""Colours of what is drawn, and how a line looks."""

from dataclasses import dataclass

# Seen on white and on near-black, and told apart by colour-blind people.
COLOURS = BLUE, ORANGE, GREEN, PURPLE, RED, TEAL, PINK, GOLD = (
    *("#3b82d6", "#d97706", "#2f9e5c", "#9a6ae0"),
    *("#dc4c4c", "#1597a8", "#d6539b", "#a38200"),
)
GREY = "#858d99"
MEMBER_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, TEAL, PINK, GOLD)
DASHES = ("solid", "dash", "dot")


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
