"""eval.py --compare: several runs as tables and a page."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from dreamer_leq.pages.comparison.page import Note, comparison_page
from dreamer_leq.pages.comparison.published import published_note
from dreamer_leq.pages.comparison.published import read as read_published
from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import Summary, summarize
from dreamer_leq.pages.comparison.terminal import note_tables, terminal_tables
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing

Log = Callable[[str], None]


def compare(args: Namespace, log: Log) -> None:
    """What eval.py does with --compare, --out and --published. Raises UserError."""
    out = Path(args.out)
    if out.suffix != ".html":
        raise UserError(f"--out {out}: has to end in .html")
    known = read_published(args.published) if args.published else []
    summary = summarize(open_runs(args.compare, log))
    notes = [published_note(summary, known)] if known else []
    show(summary, notes, log)
    write_comparison(out, summary, notes, log)


def show(summary: Summary, notes: Sequence[Note], log: Log) -> None:
    """The tables on the terminal."""
    console = Console()
    for table in terminal_tables(summary, console.width):
        console.print(table)
    for table in note_tables(notes, console.width):
        console.print(table)
    for note in summary.notes:
        log(note)


def write_comparison(
    out: Path, summary: Summary, notes: Sequence[Note], log: Log
) -> None:
    """The page."""
    page = comparison_page(summary, notes)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log(f"wrote {out}")
