"""One job's process, wherever an engine puts it: started once in its folder, tied to
who started it, and begun again when something else has killed it.
"""

import contextlib
import ctypes
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dreamer_leq.config.checks import relevant
from dreamer_leq.sweeps.plan import ESTIMATE, Job
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json, write_json
from dreamer_leq.system.locks import only_user

RESTARTS = 5  # after somebody else's signals
POLL_SECONDS = 0.2
GRACE_SECONDS = 60.0  # for saving: a run that still works notices a signal in about two
_WAIT_SECONDS = 2.0  # between two looks at a folder that is in use
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
# What a run ends with that a signal has stopped, after it has saved.
_STOPPED = {128 + n for n in (1, 2, 10, 12, 15, 24)}
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Work:
    """What an engine has to know of a job: able to be sent to another machine.

    `place` is where the command's paths begin; `program` what stands before its words,
    None: this package's commands; `settings` what its words come to, key by key.
    """

    name: str
    words: tuple[str, ...]
    folder: str
    kind: str
    environment: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] | None = None
    place: str = field(default_factory=os.getcwd)
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, environment: Mapping[str, str] | None = None) -> "Work":
        kind = ESTIMATE if job.kind == ESTIMATE else "job"
        folder, given = str(job.folder.absolute()), environment or {}
        settings = {key: str(value) for key, value in relevant(job.config).items()}
        return cls(job.name, job.words, folder, kind, given, settings=settings)

    @property
    def command(self) -> str:
        return shlex.join(self.words)

    @property
    def log(self) -> Path:
        return Path(self.folder, f"{self.kind}.log")

    @property
    def record(self) -> Path:
        """The file that says that the job is done."""
        return Path(self.folder, f"{self.kind}.json")


@dataclass(frozen=True)
class Outcome:
    """How a job has ended: exit code 0, or another and the reason in a line.

    `stopped`: this sweep was stopped, and the same command goes on.
    """

    name: str
    code: int
    reason: str = ""
    stopped: bool = False
    ran: bool = True  # False where it was done before


def seconds_of(work: Work) -> float | None:
    """The seconds of the job's last process, where the job is done with this command
    and what its presets say today; else None.
    """
    try:
        found = read_json(work.record)
        then, now = found.get("settings", {}), work.settings
        kept = all(then[key] == now[key] for key in then.keys() & now.keys())
        same = found["command"] == work.command and kept
        return float(found["seconds"]) if same else None
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None


class JobProcess:
    """A job that runs, or waits until nobody else is in its folder.

    `poll` has to be called now and then: it gives the outcome once there is one.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._stack = contextlib.ExitStack()  # holds the folder
        self._process: subprocess.Popen | None = None
        self._began, self._looked, self._restarts = 0.0, 0.0, 0
        self._stopping, self._deadline, self._overdue = False, math.inf, False
        self._outcome: Outcome | None = None
        self.waits = ""  # for whom, where it does

    def poll(self) -> Outcome | None:
        """The outcome, once the process has ended for good."""
        if self._outcome is None and self._process is None:
            self._outcome = self._entered()
        elif self._outcome is None:
            if time.monotonic() > self._deadline and self._process.poll() is None:
                self._overdue = True  # in native code, which notices no signal
                self._kill()
            if (code := self._process.poll()) is not None:
                self._outcome = self._ended(code)
        return self._outcome

    def stop(self) -> None:
        """Let it save and end, or kill it after GRACE_SECONDS; `poll` tells when it has
        ended.
        """
        self._stopping = True
        self._deadline = min(self._deadline, time.monotonic() + GRACE_SECONDS)
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def wait(self) -> Outcome:
        """The outcome, when it has come."""
        while (outcome := self.poll()) is None:
            time.sleep(POLL_SECONDS)
        return outcome

    def save(self) -> None:
        """Stop, and wait until that is over."""
        self.stop()
        self.wait()

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        if self._process and self._process.poll() is None:
            self._kill()
        self._stack.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _entered(self) -> Outcome | None:
        """Begin, as soon as the folder is free and if there is something to do."""
        if self._stopping:
            return Outcome(self._work.name, 1, "stopped", stopped=True, ran=False)
        if time.monotonic() - self._looked < _WAIT_SECONDS and self._looked:
            return None
        self._looked = time.monotonic()
        try:
            self._stack.enter_context(only_user(self._work.folder, "sweep"))
            with only_user(self._work.folder, "train"):
                pass  # a process of a sweep that was killed may still be saving
        except UserError as error:
            self._stack.close()
            self.waits = str(error)
            return None
        except OSError as error:
            return self._over(1, f"{error}")
        self.waits = ""
        if seconds_of(self._work) is not None:
            self._stack.close()
            return Outcome(self._work.name, 0, ran=False)
        return self._start()

    def _start(self) -> Outcome | None:
        own = (sys.executable, "-m", "dreamer_leq")
        command = [*(self._work.program or own), *self._work.words]
        self._began = time.monotonic()
        try:
            with open(self._work.log, "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._work.place,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._work.environment},
                    start_new_session=True,  # a terminal's Ctrl-C is for the sweep
                    preexec_fn=_end_with_parent,
                )
        except OSError as error:
            return self._over(1, f"{error}")
        return None

    def _ended(self, code: int) -> Outcome | None:
        killed = code < 0 or code in _STOPPED
        if self._overdue:
            late = f"killed, as it had not ended {GRACE_SECONDS:g} s after SIGTERM"
            return self._over(code, late)
        if killed and self._stopping:
            return self._over(128 - code if code < 0 else code, "stopped", True)
        if killed and self._restarts < RESTARTS:
            self._restarts += 1
            return self._start()
        if code:
            signed = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            return self._over(code, f"{signed}: {last_line(self._work.log)}")
        seconds = time.monotonic() - self._began
        record = {"command": self._work.command, "seconds": round(seconds, 1)}
        record["settings"] = dict(self._work.settings)
        try:
            write_json(self._work.record, record)
        except OSError as error:
            return self._over(1, f"{error}")
        return self._over(0)

    def _over(self, code: int, reason: str = "", stopped: bool = False) -> Outcome:
        self._stack.close()
        return Outcome(self._work.name, code, reason, stopped)


def run_to_end(work: Work) -> Outcome:
    """The outcome of a job that runs here: what engines do on other machines.

    An exception that comes meanwhile, such as KeyboardInterrupt, lets the job save.
    """
    process = JobProcess(work)
    try:
        return process.wait()
    except BaseException:
        process.save()
        raise


def last_line(log: Path) -> str:
    """The last error of a log, or its last line."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-200:]
    except OSError:
        return f"no log in {log}"
    errors = [line for line in lines if line.startswith("error: ")]
    found = errors or [line for line in lines if line.strip()] or ["it said nothing"]
    return found[-1].removeprefix("error: ").strip()


def _end_with_parent() -> None:
    """Get SIGTERM when the thread that started this process is gone, however."""
    _LIBC.prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
