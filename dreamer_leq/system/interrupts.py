"""SIGTERM and Ctrl-C: finish the updates under way, save, exit."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """A run stopped by a signal, its state saved. `code` is the shell's exit code.

    No library that it is raised in is to take it for a failure of its own.
    """

    def __init__(self, signum: int, where: str) -> None:
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} at {where}; saved - the same command goes on"
        )
        self.code = 128 + signum


class Interrupts:
    """Notes the first signal; a second one of the same kind ends the process at
    once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.pending: int | None = None
        self._breakable: str | None = None  # what a signal breaks off
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        for signum in self.SIGNALS:
            self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.pending = signum
        signal.signal(signum, signal.SIG_DFL)
        if self._breakable:
            self.raise_pending(self._breakable)

    @contextlib.contextmanager
    def breaking_off(self, where: str) -> Iterator[None]:
        """Raise Interrupted out of the body as soon as a signal comes, or at its
        beginning where one has come, or at its end where one was raised in a finaliser
        and lost: for what takes long and is simply done again.
        """
        self._breakable = where
        try:
            self.raise_pending(where)
            yield
        finally:
            self._breakable = None
        self.raise_pending(where)

    def raise_pending(self, where: str) -> None:
        """Raise Interrupted if a signal came; `where` says what had been reached."""
        if self.pending is not None:
            raise Interrupted(self.pending, where)
