"""Runs one command on one bad input, and says what it must not have done.

The command has to end with exit code 0, or 2 and one clear line, within limits of time
and memory, and may write to its cache and log folders only.
"""

import contextlib
import io
import os
import re
import resource
import signal
import stat
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

SECONDS = 180  # after which a command hangs; a busy machine takes its time
MEMORY = 1 << 30  # bytes that it may use beside what the process has
MAPPED = 3 << 30  # and that it may map: threads map more than they use
LONGEST = 1000  # characters of a line for a person
_OURS = ("cache", "run", "datasets")  # of caches, runs, and data that are made

# The log's own lines on stderr, of datasets that are read.
_LOG = re.compile(
    r"reading |skip_bad: |\S.*: [\d,]+ transitions in |waiting for |rendering with "
    r"|collecting |\S+ row \d+: dropped |guessed, |the longest |all [\d,]+ ep"
    r"|[\d,]+ (?:terminals|episodes) |the first and the last |what was dropped |  \S"
)

Main = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
      code: exit code, None where an exception escaped.
      said: stderr.
      fault: what it must not have done; empty where it behaved.
      seconds: how long it took.
      grown: bytes by which the process's peak memory has risen.
    """

    code: int | None
    said: str
    fault: str
    seconds: float
    grown: int

    @property
    def word(self) -> str:
        """The outcome in a word, for a table."""
        return "fault" if self.fault else {0: "taken", 2: "refused"}[self.code]


def attempt(main: Main, arguments: Sequence[str], folder: Path) -> Outcome:
    """Runs `main` with `folder` as the working folder, home and place of caches."""
    before = listing(folder)
    peak = _peak()
    start = os.times().elapsed
    code, output, errors, fault = _called(main, arguments, folder)
    seconds, grown = os.times().elapsed - start, _peak() - peak
    fault = fault or _fault(code, output, errors) or _strays(before, listing(folder))
    if not fault and grown > MEMORY:
        fault = f"took {grown / 1e6:,.0f} MB"
    return Outcome(code, errors, fault, seconds, grown)


def _called(
    main: Main, arguments: Sequence[str], folder: Path
) -> tuple[int | None, str, str, str]:
    """(exit code, stdout, stderr, fault) of a command within limits."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    errors.reconfigure(errors="backslashreplace")  # as a real stderr has it
    code, fault = None, ""
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            with _at_home(folder), _limits():
                code = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        except _TooLongError:
            fault = f"still running after {SECONDS} s"
        except BaseException:
            fault = traceback.format_exc()
    texts = []
    for stream in (output, errors):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))
    return code, *texts, fault


class _TooLongError(BaseException):
    """Time is over; no handler of the command's may swallow it."""


@contextlib.contextmanager
def _at_home(folder: Path) -> Iterator[None]:
    """All that is written by default lands in the folder, where it is noticed."""
    places = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    cache = {"XDG_CACHE_HOME": folder / "cache", "COLUMNS": "120"}
    minari = {"MINARI_DATASETS_PATH": folder / "data"}
    variables = {k: str(v) for k, v in (places | cache | minari).items()}
    with contextlib.chdir(folder), mock.patch.dict(os.environ, variables):
        yield


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def too_long(signum, frame):
        raise _TooLongError

    old, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped() + MAPPED, hard))
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (old, hard))


def _mapped() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _fault(code: int | None, output: str, errors: str) -> str:
    """What is wrong with an exit code and the words that came with it."""
    if code not in (0, 2):
        return f"exit code {code}"
    if "Traceback" in errors + output:
        return "a traceback"
    lines = errors.splitlines()
    refusals = [line for line in lines if line.startswith("error: ")]
    if len(refusals) != (code == 2):
        return f"{len(refusals)} lines with an error"
    for line in lines:
        if len(line) > LONGEST:
            return f"a line of {len(line)} characters"
        if not line.isprintable():
            return f"a line that can't be printed: {line!r}"
        if not _LOG.match(line) and line not in refusals:
            return f"an unexpected line: {line}"
    return ""


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of all that lies in a folder, but for caches and logs."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _ours(folder, parent, name)]
        for name in (*names, *folders):
            path = Path(parent, name)
            info = path.lstat()
            about = (stat.S_IFMT(info.st_mode), info.st_size, info.st_mtime_ns)
            where = str(path.relative_to(folder))
            # a cache beside the data changes the time of its folder
            found[where] = (about[0], 0, 0) if path.is_dir() else about
    return found


def _ours(root: Path, parent: str, name: str) -> bool:
    return name == ".cache" or (Path(parent) == root and name in _OURS)


def _strays(before: dict, after: dict) -> str:
    """Files outside of the log and cache folders that came, went or changed."""
    changed = sorted(
        name for name in before | after if before.get(name) != after.get(name)
    )
    return f"touched {', '.join(changed)}" if changed else ""


def in_child(work: Callable[[], tuple[str, Outcome]]) -> tuple[str, Outcome]:
    """`work` in a forked process, whose death is an outcome too."""
    import pickle

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(work(), stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not answer:
        return "", Outcome(None, "", f"the process ended with {status}", 0, 0)
    return pickle.loads(answer)
