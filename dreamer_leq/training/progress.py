"""How far a phase is: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from dreamer_leq.config import sections

# What of a world model's metrics is shown; algorithms have their own (`Section.shows`).
WORLD_MODEL = ("image_loss", "vector_loss", "reward_loss", "dyn_loss")
SECONDS_BETWEEN_LINES = 15.0
WORTH_SAYING = 0.05  # of the time, waited for data


class Progress:
    """Shows phase, updates, updates per second, remaining time and two or three
    figures.
    """

    def __init__(self, log=print) -> None:
        self._log = log
        self._live = sys.stdout.isatty()
        self._bars: Bars | None = None
        self.rate = 0.0

    def start(self, name: str, total: int, done: int, unit: str = "updates") -> None:
        self._name, self._total, self._unit = name, total, unit
        self._first, self._began = done, time.monotonic()
        self._since = self._began
        self._compiled = False
        self.rate = 0.0
        if self._live:
            self._bars = _bars()
            self._task = self._bars.add_task(
                name, total=total, completed=done, figures="compiling"
            )
            self._bars.start()

    def wait(self, source: str) -> None:
        """Say on a live bar that nothing happens until data come from `source`."""
        if self._bars and source:
            self._bars.update(self._task, figures=f"waiting for {source}")

    def update(
        self,
        done: int,
        figures: Mapping[str, float] | None = None,
        source: str = "",
        waited: float = 0.0,
    ) -> None:
        """Show that `done` updates are done, which have waited for data from `source`
        for so many seconds in all.
        """
        now, share = time.monotonic(), 0.0
        # the first call's time is the compiler's, and not counted
        if not self._compiled:
            self._first, self._began, self._compiled = done, now, True
            self._waited = waited
        elif now > self._began:
            self.rate = (done - self._first) / (now - self._began)
            share = (waited - self._waited) / (now - self._began)
        text = self._text(figures or {})
        if share >= WORTH_SAYING:
            text += f"  waits for {source} {share:.0%} of the time"
        if self._bars:
            self._bars.update(self._task, completed=done, figures=text)
        elif now - self._since >= SECONDS_BETWEEN_LINES or done == self._total:
            self._since = now
            eta = (self._total - done) / self.rate if self.rate else 0.0
            self._log(
                f"{self._name} {done:,}/{self._total:,}  {text}  {_clock(eta)} left"
            )

    def finish(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    def _text(self, figures: Mapping[str, float]) -> str:
        section = sections().get(self._name)
        shown = section.shows if section else WORLD_MODEL
        names = [name for name in shown if name in figures]
        parts = [f"{self.rate:.3g} {self._unit}/s"]
        return "  ".join(parts + [f"{name} {figures[name]:.4g}" for name in names])


def scoring_lines(log: Callable[[str], None], episodes: int) -> Callable[[int], None]:
    """Says now and then how far an evaluation is: for `evaluation.rollouts.score`,
    which calls it after each step with the number of episodes that go on.
    """
    start = since = time.monotonic()
    steps = 0

    def after_step(going: int) -> None:
        nonlocal since, steps
        steps, now = steps + 1, time.monotonic()
        if now - since >= SECONDS_BETWEEN_LINES and going:
            since, rate = now, steps / (now - start)
            log(
                f"scoring: step {steps:,}, {going} of {episodes} episodes go on  "
                f"{rate:.3g} steps/s"
            )

    return after_step


def _bars() -> Bars:
    return Bars(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
