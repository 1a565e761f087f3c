"""Ctrl-C, and what schedulers and terminals send: finish the updates under way, save,
exit.
"""

import contextlib
import os
import signal
import stat
import threading
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
    """Notes the first signal. A second Ctrl-C or SIGTERM ends the process at once; the
    others may come again, since kernels and shells repeat them.

    Outside of the main thread Python handles no signals, and nothing is noted. SIGHUP
    stays ignored where it is, as `nohup` leaves it.
    """

    STOPS = (signal.SIGTERM, signal.SIGINT)
    SIGNALS = (*STOPS, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

    def __init__(self) -> None:
        self.pending: int | None = None
        self._breakable: str | None = None  # what a signal breaks off
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is not threading.main_thread():
            return self
        for signum in self.SIGNALS:
            before = signal.getsignal(signum)
            if signum != signal.SIGHUP or before != signal.SIG_IGN:
                self._previous[signum] = before
                signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.pending = signum
        again = signal.SIG_DFL if signum in self.STOPS else signal.SIG_IGN
        signal.signal(signum, again)
        if signum == signal.SIGHUP:
            _leave_terminal_that_has_gone()
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


def _leave_terminal_that_has_gone() -> None:
    """Say the rest to nobody: what still wrote to it would fail."""
    for output in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output):
                os.dup2(os.open(os.devnull, os.O_WRONLY), output)
