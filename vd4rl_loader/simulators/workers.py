"""Worker processes that answer requests over a pipe, and whose death is noticed.

A worker is a fresh Python interpreter: it neither inherits the parent's threads, locks
and JAX, nor imports the parent's main script. It answers one request at a time, so that
when it dies, hangs or raises, the request that did it is known. It outlives its parent
by a second at most.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple

from vd4rl_loader.errors import DataError

# Seconds, as `exchange` takes them, after which a worker that plays an episode hangs:
# the longest, drawn in software, take minutes.
EPISODE_LIMIT = 600.0
_IDLE = 1e-3  # share of the limit: who has computed less meanwhile, waits for something
NO_OPENGL = {"MUJOCO_GL": "disable"}  # of workers that draw nothing


class WorkerError(RuntimeError):
    """A worker died, hung or raised: the message says at which request, and why."""


class WorkerLost(WorkerError):
    """A worker died or hung: no fault of the request's, another may answer it."""


class Worker:
    """One process that calls `handler(request)` for every request sent to it."""

    def __init__(
        self,
        handler: Callable[[Any], Any],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process.

        Args:
          handler: a picklable callable, importable in a fresh interpreter. If it has a
            `close` method, the worker calls it before it exits.
          environment: environment variables for the process, beside this one's.
        """
        pickled = pickle.dumps(handler)
        self.connection, theirs = Pipe()
        with theirs:
            self._process = launch(
                # Ctrl-C, and what terminals and schedulers send, reach the whole
                # process group: the parent decides what becomes of us. First of all,
                # so that no import is interrupted.
                "import signal; [signal.signal(getattr(signal, f'SIG{name}'), "
                "signal.SIG_IGN) for name in 'INT TERM HUP USR1 USR2 XCPU'.split()]; "
                "from vd4rl_loader.simulators.workers import serve; "
                f"serve({theirs.fileno()}, {os.getpid()})",
                environment,
                pass_fds=[theirs.fileno()],
            )
        self._send(pickled)

    def ask(self, request: Any) -> None:
        """Sends a request; the answer is fetched with `answer`."""
        self._send(pickle.dumps(request))

    def answer(self, subject: str) -> Any:
        """Waits for the answer to the last request.

        Args:
          subject: what the request was about, for the error message.

        Raises:
          WorkerError: the handler raised; WorkerLost: the process died.
          DataError: the handler raised one: the user can put it right.
        """
        try:
            failure, reply = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerLost(f"{subject}: {self._death()}") from None
        if failure:
            raise failure.error(subject)
        return reply

    def computed(self) -> float:
        """Seconds of a processor that the process has used; 0 where nobody tells."""
        try:
            # how Linux names the clock of another process (clock_getcpuclockid(3))
            return time.clock_gettime((~self._process.pid << 3) | 2)
        except OSError:
            return 0.0

    def hang_up(self) -> None:
        """Tells the process to finish its request and exit."""
        self.connection.close()

    def join(self, patience: float) -> None:
        """Waits `patience` seconds for the process to exit, then kills it."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, pickled: bytes) -> None:
        # When the process is dead, `answer` finds out and reports it.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(pickled)

    def _death(self) -> str:
        self.join(patience=5.0)
        code = self._process.returncode
        if code >= 0:
            return f"its worker process exited with code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker process was killed by {signal.Signals(-code).name}{hint}"


def launch(
    code: str, extra: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Runs Python code in a fresh interpreter that can import what this one can.

    Args:
      code: what to run.
      extra: environment variables for it, beside this process's.
      **options: for `subprocess.Popen`.
    """
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        # Parallelism is over processes: threads within them only get in the way.
        "LP_NUM_THREADS": "0",  # Mesa draws in the thread that asks for it
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **(extra or {}),
    }
    command = [sys.executable, "-P", "-c", code]
    return subprocess.Popen(command, env=environment, **options)


def exchange(
    queues: Iterable[tuple[Worker, Iterator[Any]]],
    subject: Callable[[Any], str],
    limit: float,
    ahead: int = 1,
) -> Iterator[tuple[Any, Any]]:
    """Yields (request, reply) in order of arrival until every queue is answered.

    Args:
      queues: each worker with its requests; workers may share one iterator.
      subject: what a request is about, for the error message.
      limit: seconds after which a worker that has not answered is taken to hang: of
        waiting, or else of its own computing, however long a busy machine takes.
      ahead: requests that a worker has at once, so that it goes on while its answers
        are read. All of them have to fit into a pipe, which takes 64 KiB.

    Raises:
      WorkerError, DataError: as `Worker.answer`, as soon as it happens.
      WorkerLost: a worker hangs.
    """
    busy: dict[Connection, _Queue] = {}
    with selectors.DefaultSelector() as selector:
        for worker, requests in queues:
            queue = _Queue(worker, requests, limit)
            if queue.ask(ahead):
                busy[worker.connection] = queue
                selector.register(worker.connection, selectors.EVENT_READ)
        while busy:
            first = min(busy.values(), key=lambda queue: queue.patience.until)
            left = first.patience.until - time.monotonic()
            ready = [key.fileobj for key, _ in selector.select(max(0.0, left))]
            if not ready and first.patience.is_over():
                raise WorkerLost(
                    f"{subject(first.asked[0])}: no answer from its worker process "
                    f"for {first.patience.waited:.0f} s"
                )
            for connection in ready:
                queue = busy[connection]
                request = queue.asked.popleft()
                reply = queue.worker.answer(subject(request))
                if not queue.ask(ahead):
                    selector.unregister(connection)
                    del busy[connection]
                yield request, reply


class _Queue:
    """A worker's requests: `asked` are those that it has and has not answered."""

    patience: _Patience  # with which the first of them is waited for

    def __init__(self, worker: Worker, requests: Iterator[Any], limit: float) -> None:
        self.worker, self._requests, self._limit = worker, requests, limit
        self.asked: deque[Any] = deque()

    def ask(self, ahead: int) -> bool:
        """Sends requests until it has `ahead`; False where none is left to answer. The
        next answer is waited for from now on.
        """
        for request in islice(self._requests, ahead - len(self.asked)):
            self.worker.ask(request)
            self.asked.append(request)
        self.patience = _Patience(self.worker, self._limit)
        return bool(self.asked)


class _Patience:
    """How long a worker is waited for: `until` says when to ask whether it is over."""

    def __init__(self, worker: Worker, limit: float) -> None:
        self._worker, self._limit, self._began = worker, limit, time.monotonic()
        self._first = self._last = worker.computed()
        self.until = self._began + limit

    @property
    def waited(self) -> float:
        """Seconds since the request."""
        return time.monotonic() - self._began

    def is_over(self) -> bool:
        """Whether the worker hangs; if it doesn't, `until` is later."""
        now, before = self._worker.computed(), self._last
        left = self._limit - (now - self._first)
        self._last = now
        self.until = time.monotonic() + max(left, self._limit / 10)
        return left <= 0 or now - before < _IDLE * self._limit


@contextlib.contextmanager
def pool(
    handler: Callable[[Any], Any],
    count: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[Worker]]:
    """`count` processes with a copy of the handler each. At the end, after an error or
    Ctrl-C too, what they are doing is dropped, not waited for.
    """
    workers: list[Worker] = []
    try:
        workers += (Worker(handler, environment) for _ in range(count))
        yield workers
    finally:
        close_all(workers, patience=0.0)


def close_all(workers: Iterable[Worker], patience: float) -> None:
    """Ends all processes: idle ones at once, busy ones after `patience` seconds."""
    workers = list(workers)
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.join(patience)


def serve(descriptor: int, parent: int) -> None:
    """A worker's main function: answers requests until the parent hangs up."""
    connection = Connection(descriptor)
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    handler = None
    try:
        pickled = connection.recv_bytes()
        while True:
            request = connection.recv_bytes()
            failure, reply = None, None
            try:
                handler = handler or pickle.loads(pickled)
                reply = handler(pickle.loads(request))
            except Exception as error:
                failure = _Failure.of(error)
            connection.send((failure, reply))
    except (EOFError, OSError):
        pass  # the parent hung up, or died
    getattr(handler, "close", lambda: None)()


def _end_with(parent: int) -> None:
    """A killed parent's run may be going on already: what is under way here would be
    written a second time.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _Failure(NamedTuple):
    """An exception as text: the exception itself may not survive pickling."""

    summary: str
    traceback: str
    is_data_error: bool

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        is_data_error = isinstance(error, DataError)
        summary = str(error) if is_data_error else f"{type(error).__name__}: {error}"
        return cls(summary, traceback.format_exc(), is_data_error)

    def error(self, subject: str) -> Exception:
        if self.is_data_error:
            return DataError(self.summary)
        error = WorkerError(f"{subject}: {self.summary}")
        error.add_note(f"In the worker process:\n{self.traceback}")
        return error
