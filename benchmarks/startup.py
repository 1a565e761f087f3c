"""From the command to the first update of the world model, and where the time goes.

    python benchmarks/startup.py                            # vd4rl size1m: conv, 1M
    python benchmarks/startup.py --repeats 3 --configs demo

Starts train_offline.py in fresh processes, on two episodes that are collected before:
with an empty cache ("cold"), with the programs that this left ("warm"), and going on
with the run that the latter has begun ("resumed"). The first update is reached when
its dispatch has returned; how long it then takes is run.py's to say. CPU seconds are
of all threads and child processes: on a machine with other work they say more than the
clock. What else is given goes to train_offline.py; --data saves the collecting.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = ["--configs", "vd4rl", "size1m"]
TOTAL = "first update"
Marks = list[tuple[str, float, float]]  # part, seconds and CPU seconds at its end


class Clock:
    """The ends of a start's parts, in seconds since it was asked for."""

    def __init__(self, start: float) -> None:
        self.marks: Marks = []
        self._start = start

    def mark(self, part: str) -> None:
        kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
        used = [resource.getrusage(kind) for kind in kinds]
        cpu = sum(u.ru_utime + u.ru_stime for u in used)
        self.marks.append((part, time.monotonic() - self._start, cpu))

    def before(self, owner: Any, name: str, part: str) -> None:
        """Mark when `owner.name` is called."""
        function = getattr(owner, name)

        def marked(*arguments: Any, **options: Any) -> Any:
            self.mark(part)
            return function(*arguments, **options)

        setattr(owner, name, marked)

    def after(self, owner: Any, name: str, part: str) -> None:
        """Mark when `owner.name` returns."""
        function = getattr(owner, name)

        def marked(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            self.mark(part)
            return result

        setattr(owner, name, marked)


class Reached(BaseException):
    """The first update is under way; nothing of the run is to handle this."""


def child(report: str, start: str, *arguments: str) -> None:
    """train_offline.py with these arguments until its first update, in this process."""
    clock = Clock(float(start))
    clock.mark("Python")
    from dreamer_leq import cli, config

    clock.after(config, "load", "flags, configs.yaml")
    announced = cli._announced

    @contextlib.contextmanager
    def watched(folder: Path) -> Iterator[None]:
        with announced(folder):
            yield
        clock.mark("imports, beside them a rendered frame")
        watch(clock)

    cli._announced = watched
    try:
        failure = cli.train_main(arguments)
    except Reached:
        Path(report).write_text(json.dumps(clock.marks))
        failure = 0
    sys.stdout.flush()
    os._exit(failure)  # without waiting for the update


def watch(clock: Clock) -> None:
    """Mark the parts that follow the imports."""
    from dreamer_leq.commands import train
    from dreamer_leq.training import loop
    from dreamer_leq.training.checkpoints import Checkpoints

    advance = loop._advance

    def first(*arguments: Any) -> None:
        clock.mark("program of the updates, the rest of it")
        advance(*arguments)
        clock.mark("dispatch")
        raise Reached

    first.lower = advance.lower
    loop._advance = first
    clock.before(train, "fit_world_model", "dataset, run folder")
    for name in ("save", "restore"):
        clock.before(Checkpoints, name, "first state")
        clock.after(Checkpoints, name, "its checkpoint")


def start(place: Path, run: str, arguments: list[str]) -> Marks:
    """One start in the folder `place`, in a process of its own."""
    report = place / "marks.json"
    command = [sys.executable, __file__, "--child", str(report), str(time.monotonic())]
    command += [*arguments, "--logdir", str(place / run)]
    finished(command, place)
    return json.loads(report.read_text())


def finished(command: list[str], place: Path) -> None:
    """Runs a command whose caches lie in `place`; exits as it does if it fails."""
    variables = {"XDG_CACHE_HOME": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(command, env=clean | variables, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)


def collect(out: Path) -> None:
    """Two episodes of walker_walk."""
    command = [sys.executable, "-m", "vd4rl_loader", "collect", "--task", "walker_walk"]
    command += ["--level", "medium_expert", "--episodes", "2", "--seed", "0"]
    finished([*command, "--render", "fast", "--out", str(out)], out)


def measure(arguments: list[str]) -> dict[str, Marks]:
    """A cold start, a warm one, and one that goes on, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if "--data" not in arguments:
            collect(place / "data")
            arguments = [*arguments, "--data", str(place / "data")]
        runs = {"cold": "a", "warm": "b", "resumed": "b"}
        return {name: start(place, run, arguments) for name, run in runs.items()}


def parts(marks: Marks) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of every part, and of all up to the first update."""
    found, before = {}, (0.0, 0.0)
    for name, *after in marks:
        found[name] = after[0] - before[0], after[1] - before[1]
        before = after
    return found | {TOTAL: before}


def imports() -> list[tuple[float, float]]:
    """Seconds and CPU seconds of `import dreamer_leq` and of Python alone."""
    return [timed("import dreamer_leq"), timed("pass")]


def timed(code: str) -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    seconds = time.monotonic() - begin
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def medians(
    measured: list[dict[str, Marks]], kind: str
) -> dict[str, tuple[float, float]]:
    """Each part's median seconds and CPU seconds over the repeats."""
    found = [parts(marks[kind]) for marks in measured]
    middle: Callable = lambda name, i: median(one[name][i] for one in found)  # noqa: E731
    return {name: (middle(name, 0), middle(name, 1)) for name in found[0]}


def show(title: str, kinds: dict[str, dict[str, tuple[float, float]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}: seconds (CPU seconds)")
    table.add_column("part")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for name in next(iter(kinds.values())):
        cells = [f"{one[name][0]:.2f} ({one[name][1]:.2f})" for one in kinds.values()]
        table.add_row(name, *cells, style="bold" if name == TOTAL else None)
    (whole, cpu), (bare, bare_cpu) = imports()
    table.caption = (
        f"import dreamer_leq: {whole:.2f} ({cpu:.2f}), of which Python itself "
        f"{bare:.2f} ({bare_cpu:.2f}); {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1, help="medians of that many")
    args, rest = parser.parse_known_args()
    arguments = rest if "--configs" in rest else [*DEFAULTS, *rest]
    measured = [measure(arguments) for _ in range(args.repeats)]
    kinds = {kind: medians(measured, kind) for kind in measured[0]}
    show(" ".join(arguments), kinds)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    sys.exit(main())
