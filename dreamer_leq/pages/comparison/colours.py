"""A colour for every run: its method's hue, in a shade for each of its runs."""

import colorsys
from collections import Counter
from collections.abc import Sequence

from dreamer_leq.pages.palette import COLOURS

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
