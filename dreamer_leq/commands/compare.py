"""eval.py --compare: several runs as tables and a page."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from dreamer_leq.pages.comparison.page import comparison_page
from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.pages.comparison.terminal import terminal_tables
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing


def compare(args: Namespace, log: Callable[[str], None]) -> None:
    """What eval.py does with --compare and --out. Raises UserError."""
    out = Path(args.out)
    if out.suffix != ".html":
        raise UserError(f"--out {out}: has to end in .html")
    summary = summarize(open_runs(args.compare))
    console = Console()
    for table in terminal_tables(summary, console.width):
        console.print(table)
    for note in summary.notes:
        log(note)
    page = comparison_page(summary)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log(f"wrote {out}")
