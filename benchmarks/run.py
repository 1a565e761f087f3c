"""Speed, memory and compilation of the phases of training, and where their time goes.

    python benchmarks/run.py                            all cases of this device
    python benchmarks/run.py --only state_leq leq_12m   some of them
    python benchmarks/run.py --compare OLD.json         ... and ratios to older figures
    python benchmarks/run.py --compare OLD.json NEW.json        ratios of two files
    python benchmarks/run.py --profile --only state_leq
    python benchmarks/run.py --sweep                    how cost grows; a plot

On a CPU the cases from pixels are as small as what the official code was measured at;
on an accelerator, and with --paper, they have the paper's sizes. Data are random
numbers. Each case runs in a process of its own. Every key of configs.yaml is a flag
here too: `--only world_model_12m --latent.remat`. Figures go to OUT/figures.json.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tables
from cases import CASES
from job import JobFailed, in_process
from sweep import MODELS, check_plotting, curves, plot

from dreamer_leq.config.checks import did_you_mean
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import write_json

Row = dict[str, Any]
SHORT = {"batch": "latent.batch", "length": "latent.length", "starts": "leq.batch"}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parse(argv)
        files = [(path, read(path)["rows"]) for path in args.compare]
        if len(files) < 2:
            return Benchmark(args, argv).run(files)
        (_, old), (_, new) = files
        tables.show(tables.comparison(new, old))
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags, and in `config` those of configs.yaml. Raises UserError."""
    cases = "\n".join(f"  {name:18} {case.about}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"cases:\n{cases}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="CASE", help="the names are below")
    add("--paper", action="store_true", help="the paper's sizes, on a CPU too")
    add("--profile", action="store_true", help="where the time of the cases goes")
    add("--sweep", action="store_true", help="how cost grows, to a plot")
    add("--compare", nargs="+", default=(), metavar="JSON", help="older figures")
    add("--cores", type=int, help="use this many of the cores")
    add("--repeats", type=int, default=5, help="of each case (5)")
    add("--seconds", type=float, default=2.0, help="of each repeat, about (2)")
    add("--entries", type=int, default=0, help="of the dataset, not the case's own")
    add("--batch", help="sequences per update, short for latent.batch")
    add("--length", help="steps per sequence, short for latent.length")
    add("--starts", help="imagined rollouts per update, short for leq.batch")
    now = time.strftime("%Y-%m-%dT%H-%M-%S")
    add("--out", type=Path, default=Path("runs/benchmarks", now), help="folder")
    args, args.config = parser.parse_known_args(argv)
    for short, key in SHORT.items():
        if value := getattr(args, short):
            args.config += [f"--{key}", value]
    check(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Raises UserError for flags that can't be."""
    for name in args.only or ():
        if name not in CASES and not (args.sweep and name in MODELS):
            hint = did_you_mean(name, CASES)
            raise UserError(f"--only: no case {name}{hint} (known: {', '.join(CASES)})")
    for name, least in {"repeats": 1, "cores": 1, "entries": 0, "seconds": 0}.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name}: has to be at least {least}, got {value}")
    if len(args.compare) > 2:
        raise UserError("--compare: an older file, and a newer one or none")
    if args.sweep:
        check_plotting()


def read(path: str) -> Row:
    """Figures of another run."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--compare: {path}: {error}") from None


def pin(cores: int) -> None:
    """This process and those that it starts, to the first of its cores."""
    there = sorted(os.sched_getaffinity(0))
    if cores > len(there):
        raise UserError(f"--cores: there are {len(there)}, got {cores}")
    os.sched_setaffinity(0, there[:cores])


class Benchmark:
    """One run of the command: its cases, on this machine, into its folder."""

    def __init__(self, args: argparse.Namespace, argv: Sequence[str]) -> None:
        if args.cores:
            pin(args.cores)
        self.args = args
        self.command = shlex.join(["python", "benchmarks/run.py", *argv])
        self.load = os.getloadavg()
        self.machine = in_process("device")
        self.small = self.machine["backend"] == "cpu" and not args.paper
        self.failed = False

    def run(self, old: list[tuple[str, list[Row]]]) -> int:
        """`old` holds at most one file's name and rows. Returns the exit code."""
        if self.args.sweep:
            self.sweep()
        elif self.args.profile:
            self.profile()
        else:
            self.measure(old)
        return int(self.failed)

    def cases(self) -> list[str]:
        device = "cpu" if self.small else "gpu"
        return self.args.only or [c for c in CASES if device in CASES[c].on]

    def measure(self, old: list[tuple[str, list[Row]]]) -> None:
        """Figures of the cases, written after each."""
        rows = []
        for case in self.cases():
            rows += self.job("measured", case, self.args.config, self.args.entries)
            self.write("figures", {"rows": rows})
        tables.show(tables.figures(rows, self.machine))
        for path, older in old:
            tables.show(f"\ncompared to {path}", tables.comparison(rows, older))

    def profile(self) -> None:
        """Where the time of the cases goes."""
        rows, folder = [], str(self.args.out / "profile")
        for case in self.cases():
            if not CASES[case].timed:
                continue
            found = self.job(
                "profiled", case, self.args.config, self.args.entries, folder=folder
            )
            for row in found:
                tables.show(*tables.profiles(row))
            rows += found
            self.write("profile", {"rows": rows})

    def sweep(self) -> None:
        """The curves of the cases, or of those named; a failed point is left out."""
        found = []
        for curve in curves(self.small):
            if self.args.only and curve.case not in self.args.only:
                continue
            found.append(vars(curve) | {"points": []})
            for value, case, flags, entries in curve.points():
                flags = [*self.args.config, *flags]
                for row in self.job("measured", case, flags, entries):
                    found[-1]["points"].append({"value": value, "row": row})
                self.write("sweep", {"curves": found})
        plot(found, self.args.out / "sweep.png")

    def job(
        self, job: str, case: str, flags: list[str], entries: int, **more: Any
    ) -> list[Row]:
        """A case's rows; none where its process fails, which this run outlives."""
        print(shlex.join([case, *flags]), file=sys.stderr, flush=True)
        if job == "measured":
            more["repeats"] = self.args.repeats
        about = dict(case=case, small=self.small, flags=flags, entries=entries)
        try:
            return in_process(job, **about, seconds=self.args.seconds, **more)
        except JobFailed as error:
            print(f"{case}: failed, {error}", file=sys.stderr)
            self.failed = True
            return []

    def write(self, name: str, found: dict[str, Any]) -> None:
        """With all that is needed to repeat it."""
        about = {"command": self.command, "load": self.load, "machine": self.machine}
        write_json(self.args.out / f"{name}.json", about | found)


if __name__ == "__main__":
    sys.exit(main())
