"""A section of the page: words, plots and a table, or the line that says what to do."""

from dataclasses import dataclass, field

from dreamer_leq.pages.charts import Chart


@dataclass(frozen=True)
class Table:
    """Texts; the columns after the first hold numbers."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """`sentences` are (whose, what) pairs; "" is the run itself. `missing` stands alone
    where there is nothing to show, and `command` beside it.
    """

    about: str = ""
    sentences: list[tuple[str, str]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    table: Table | None = None
    notes: list[str] = field(default_factory=list)
    missing: str = ""
    command: str = ""


def still_missing(run_path: object, what: str) -> Section:
    """A section whose file has not been made."""
    command = f"python eval.py --logdir {run_path} --report"
    return Section(missing=f"{what} not computed yet; this does it:", command=command)
