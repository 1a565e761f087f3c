"""The progress bar of long collections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


@contextlib.contextmanager
def progress_bar(
    visible: bool, text: str, total: int, completed: int = 0
) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives the function that advances it by a number."""
    columns = (
        TextColumn(text),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not visible) as bar:
        job = bar.add_task("", total=total, completed=completed)
        yield lambda count: bar.advance(job, count)
