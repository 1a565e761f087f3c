"""A running sweep as one sees it: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator

from dreamer_leq.sweeps.engine import State
from dreamer_leq.sweeps.plan import Job
from dreamer_leq.sweeps.progress import Progress, progress

SECONDS_BETWEEN_LINES = 60.0
_MOST_ROWS = 30
HEAD = ("job", "phase", "updates", "updates/s", "score, %", "left in phase")


class Watch:
    """What `drive` tells, as a table that is drawn again, or as lines for a log."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._known, self._since = log, set(), time.monotonic()
        self._live = None

    def __enter__(self) -> "Watch":
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, state: State) -> None:
        if self._live:
            self._live.update(_table(state))
        else:
            for line in self._lines(state):
                self._log(line)

    def _lines(self, state: State) -> Iterator[str]:
        """What is new, and now and then how far the rest is."""
        for name, outcome in state.outcomes.items():
            if name not in self._known:
                self._known.add(name)
                if outcome.ran or outcome.code:
                    said = "stopped" if outcome.stopped else f"failed, {outcome.reason}"
                    yield f"{name}: {said if outcome.code else 'done'}"
        now = time.monotonic()
        if now - self._since >= SECONDS_BETWEEN_LINES and state.running:
            self._since = now
            yield counts(state)
            for name in list(state.running)[:_MOST_ROWS]:
                cells = row(state.jobs[name], progress(state.jobs[name]))
                yield "  " + "  ".join(cell for cell in cells if cell != NONE)


NONE = "–"


def counts(state: State) -> str:
    """How many jobs are done, run, wait and have failed."""
    numbers = {
        "done": len(state.done),
        "running": len(state.running),
        "waiting": len(state.pending),
        "failed": len(state.failed),
    }
    shown = [f"{n} {word}" for word, n in numbers.items() if n or word == "done"]
    return f"{len(state.jobs)} jobs: {', '.join(shown)}"


def row(job: Job, where: Progress) -> list[str]:
    """The cells of a job that runs."""
    total = f" of {where.total:,}" if where.total else ""
    return [
        job.name,
        where.phase or "starting",
        f"{where.step:,}{total}" if where.step is not None else NONE,
        f"{where.rate:.3g} updates/s" if where.rate else NONE,
        f"score {where.score:.1f}" if where.score is not None else NONE,
        f"{clock(where.left)} left" if where.left is not None else NONE,
    ]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _table(state: State):
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=counts(state))
    for name in HEAD:
        table.add_column(name, justify="left" if name in HEAD[:2] else "right")
    for name in list(state.running)[:_MOST_ROWS]:
        cells = row(state.jobs[name], progress(state.jobs[name]))
        strip = (" updates/s", " left")
        for words in strip:
            cells = [cell.removesuffix(words) for cell in cells]
        cells = [cell.removeprefix("score ") for cell in cells]
        table.add_row(*map(Text, cells))
    return table
