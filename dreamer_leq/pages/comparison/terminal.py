"""The comparison as tables on the terminal."""

from collections.abc import Iterable, Iterator

from rich import table as rich
from rich.text import Text

from dreamer_leq.pages.comparison.page import Note
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.comparison.tables import (
    improvement_table,
    laid_out,
    legend_table,
    score_table,
    unit,
)
from dreamer_leq.pages.parts import Table

IMPROVEMENT = "probability of improvement, on the same task"


def terminal_tables(summary: Summary, width: int) -> Iterator[rich.Table]:
    """What differs between methods, their scores, and which beats which, in tables that
    are at most `width` characters wide.
    """
    found = {unit(summary): score_table(summary)}
    if summary.legend:
        found = {"methods": legend_table(summary)} | found
    if len(summary.methods) > 1:
        found[IMPROVEMENT] = improvement_table(summary)
    for title, table in found.items():
        first, *others = laid_out(table, width)
        yield _rich(title, first)
        yield from (_rich(None, part) for part in others)


def note_tables(notes: Iterable[Note], width: int) -> Iterator[rich.Table]:
    """Tables that are given beside the comparison's own."""
    for note in notes:
        first, *others = laid_out(note.table, width)
        yield _rich(note.title, first)
        yield from (_rich(None, part) for part in others)


def _rich(title: str | None, table: Table) -> rich.Table:
    made = rich.Table(title=title)
    for i, name in enumerate(table.head):
        side = "left" if i < table.words else "right"
        made.add_column(Text(name), justify=side, overflow="fold")
    for i, row in enumerate(table.rows):
        if i == table.ruled:
            made.add_section()
        made.add_row(*map(Text, row))
    return made
