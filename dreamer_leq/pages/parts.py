"""Numbers as one reads them, and the sections that a page is made of."""

from dataclasses import dataclass, field
from typing import Any

from dreamer_leq.pages.charts import BLUE, Chart, Style, member_style
from dreamer_leq.pages.run_files import RunFiles

NONE = "–"


def shown(value: float | None, unit: str = "return") -> str:
    """Three digits or the whole number; a share in percent where `unit` is success."""
    if value is None:
        return NONE
    return _digits(value, unit).replace("-", "−")


def _digits(value: float, unit: str) -> str:
    if unit == "success":
        return f"{100 * value:.0f} %"
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def interval(low: float | None, high: float | None, unit: str = "return") -> str:
    """An interval, as `shown`."""
    if low is None or high is None:
        return NONE
    return f"{shown(low, unit)} … {shown(high, unit)}"


def setting(value: Any) -> str:
    """A value of the configuration, as one writes it after its flag."""
    if isinstance(value, tuple):
        return " ".join(map(setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def size(number_of_bytes: float) -> str:
    """A size in the unit that suits it."""
    if number_of_bytes >= 1e9:
        return f"{number_of_bytes / 1e9:.1f} GB"
    return f"{number_of_bytes / 1e6:.0f} MB"


@dataclass(frozen=True)
class Table:
    """A table of texts: the first `words` columns are read, the others hold numbers; a
    line lies above the row `ruled`.
    """

    head: list[str]
    rows: list[list[str]]
    words: int = 1
    ruled: int | None = None


@dataclass(frozen=True)
class Section:
    """A section of a page: `sentences` are (whose, what) pairs; "" is the run itself.
    `missing` stands alone where there is nothing to show, and `command` beside it.
    """

    about: str = ""
    sentences: list[tuple[str, str]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    table: Table | None = None
    notes: list[str] = field(default_factory=list)
    missing: str = ""
    command: str = ""


def still_missing(run: RunFiles, what: str) -> Section:
    """A section whose file has not been made."""
    command = f"python eval.py --logdir {run.path} --report"
    return Section(missing=f"{what} not computed yet; this does it:", command=command)


@dataclass(frozen=True)
class Analysed:
    """A run, what its analysis found, and how the page draws it."""

    run: RunFiles
    found: Any
    colour: str


def analysed(run: RunFiles, file: str, kind: type) -> list[Analysed]:
    """The run, or those members of a grid, that have the file of an analysis."""
    read = ((one, one.read(file, kind), style.colour) for one, style in drawn(run))
    return [Analysed(*one) for one in read if one[1]]


def drawn(run: RunFiles) -> list[tuple[RunFiles, Style]]:
    """The members of a grid, or the one run, and how the page draws each."""
    members = [(member, member_style(i)) for i, member in enumerate(run.members)]
    return members or [(run, Style(BLUE))]
