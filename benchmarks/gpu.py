"""All that has to be known of a GPU, in one command and a limited time.

    python benchmarks/gpu.py --out runs/gpu              12 minutes on one GPU
    python benchmarks/gpu.py --small --seconds 300       a rehearsal on a CPU

Correctness comes first; then updates per second and the share of the matmul peak of the
cases of run.py, the most important ones first; where the time of the two slowest goes;
and a short V-D4RL run at 12M on data that are collected here, whose checkpoints stay in
OUT/run. OUT/gpu.json and OUT/gpu.md are written after every step, so that what ends too
early leaves what was measured. Needs this repository, its packages, EGL for the run,
and nothing from the network.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cases import CASES
from job import JobFailed, in_process

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing, write_json

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
# The most important first: those that the aims are about.
ORDER = (
    *("world_model_12m", "leq_12m", "grid_12m", "state_leq", "state_grid"),
    *("placement_12m", "state_ensemble", "world_model_50m", "leq_50m"),
    *("state_bc", "state_fqe", "remat_12m", "memory_12m", "memory_50m"),
    *("world_model_1m", "leq_1m", "world_model_demo", "leq_demo"),
)
SMALL = ("state_bc", "state_grid", "placement_1m")
# Shares of the time that is left, after which a step has to make way.
CASES_SHARE, PROFILE_SHARE = 0.6, 0.3
LEAST_FOR_RUN = 90.0  # seconds
SAVING = 30.0  # seconds that a run gets to save in
EPISODES = 20
# What is aimed at: case, variant, updates per second at least.
AIMS = (("world_model_12m", "", 50.0), ("leq_12m", "", 250.0))
FOUR = 1.6  # times of one, that four τ take at most


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


class Session:
    """What was found so far, and its files."""

    def __init__(self, out: Path, seconds: float, small: bool) -> None:
        self.out, self.clock, self.small = out, Clock(seconds), small
        self.found: Row = {"small": small, "cases": [], "profiles": [], "problems": []}

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """A step's result; a failure is noted and ends nothing else."""
        print(f"{name}, {self.clock.left:.0f} s left", file=sys.stderr, flush=True)
        try:
            return do()
        except (JobFailed, UserError, OSError, subprocess.SubprocessError) as error:
            self.found["problems"].append(f"{name}: {error}")
            return None
        finally:
            self.write()

    def write(self) -> None:
        write_json(self.out / "gpu.json", self.found)
        with replacing(self.out / "gpu.md") as temporary:
            temporary.write_text("\n".join(markdown(self.found)) + "\n")

    def run(self) -> None:
        """All steps, each as far as there is time."""
        job = lambda name, **about: in_process(name, timeout=self.clock.left, **about)  # noqa: E731
        self.found["machine"] = self.step("machine", lambda: job("device"))
        preset = "debug" if self.small else "size1m"
        correct = lambda: job("correct", preset=preset)  # noqa: E731
        self.found["correctness"] = self.step("correctness", correct)
        until = self.clock.left * (1 - CASES_SHARE)
        for case in SMALL if self.small else ORDER:
            if self.clock.left > until:
                rows = self.step(case, lambda case=case: self._measured(case, until))
                self.found["cases"] += rows or []
        until = self.clock.left * (1 - PROFILE_SHARE)
        for case in slowest(self.found["cases"]):
            if self.clock.left > until:
                name = f"profile of {case}"
                rows = self.step(name, lambda case=case: self._profiled(case, until))
                self.found["profiles"] += rows or []
        if self.clock.left > LEAST_FOR_RUN:
            self.found["run"] = self.step("a run", self._run)
        else:
            self.found["problems"].append("no time was left for a run")
        self.write()

    def _measured(self, case: str, until: float) -> list[Row]:
        about = dict(case=case, small=self.small, flags=[], entries=0)
        length = dict(repeats=3, seconds=0.2 if self.small else 1.0)
        return in_process(
            "measured", timeout=self.clock.left - until, **about, **length
        )

    def _profiled(self, case: str, until: float) -> list[Row]:
        about = dict(case=case, small=self.small, flags=[], entries=0, seconds=0.5)
        folder = str(self.out / "profile")
        left = self.clock.left - until
        return in_process("profiled", timeout=left, **about, folder=folder)

    def _run(self) -> Row:
        """Data, and training on them until the time is over."""
        data, task = self.out / "data", "walker_walk"
        episodes = "2" if self.small else str(EPISODES)
        what = ["--task", task, "--level", "medium_expert", "--episodes", episodes]
        collect = ["-m", "vd4rl_loader", "collect", *what, "--out", str(data)]
        self._command(collect, self.clock.left - SAVING)
        folder = self.out / "run"
        speeds = {row["case"]: 1 / median(row["seconds"]) for row in timed(self.found)}
        flags = run_flags(speeds, self.clock.left - 2 * SAVING, self.small)
        place = ["--data", str(data), "--logdir", str(folder)]
        train = ["train_offline.py", *flags, "--task", f"{task}-medium_expert", *place]
        code = self._command(train, self.clock.left - SAVING)
        return {"command": train, "exit_code": code, **told(folder)}

    def _command(self, words: Sequence[str], seconds: float) -> int:
        """The exit code of a command that is asked to end, and to save, in time."""
        with open(self.out / "run.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, stdout=log, stderr=log
            )
        try:
            return process.wait(max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(SAVING)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def run_flags(speeds: dict[str, float], seconds: float, small: bool) -> list[str]:
    """Presets and updates of a run that fits the time, by the speeds that were
    measured: half of it for the world model, a quarter for LEQ, the rest for all else.
    """
    if small:
        return ["--configs", "vd4rl", "debug"]
    model = speeds.get("world_model_12m", 10.0) * seconds / 2
    leq = speeds.get("leq_12m", 50.0) * seconds / 4
    updates = {"latent": max(100, int(model)), "leq": max(100, int(leq))}
    flags = [w for k, n in updates.items() for w in (f"--{k}.updates", str(n))]
    return ["--configs", "vd4rl", *flags, "--eval.every", "0", "--checkpoint.keep", "1"]


def told(folder: Path) -> Row:
    """What a run has left: its scores, and its last records by phase."""
    from dreamer_leq.pages.run_files import RunFiles

    run = RunFiles(folder)
    last = {record["phase"]: record for record in run.records}
    return {"scores": {n: vars(x) for n, x in run.scores.items()}, "last": last}


def timed(found: Row) -> list[Row]:
    """The rows that have times."""
    return [row for row in found["cases"] if row.get("seconds")]


def slowest(rows: Sequence[Row]) -> list[str]:
    """The two cases whose updates take longest, of several sizes one."""
    rows = [row for row in rows if row.get("seconds")]
    names = dict.fromkeys(
        row["case"]
        for row in sorted(rows, key=lambda row: -median(row["seconds"]))
        if CASES[row["case"]].timed and len(CASES[row["case"]].variants) == 1
    )
    return list(names)[:2]


# --- the page


def markdown(found: Row) -> Iterator[str]:
    """All that was found, as tables."""
    machine = found.get("machine") or {}
    devices = ", ".join(dict.fromkeys(machine.get("devices", ["unknown"])))
    yield f"# {devices}{' (a rehearsal)' if found['small'] else ''}"
    yield ""
    packages = machine.get("packages", {})
    known = [f"{k} {v}" for k, v in packages.items() if v]
    yield f"Python {machine.get('python', '?')}; {', '.join(known)}."
    for dtype, peak in machine.get("matmul_peak", {}).items():
        yield f"Matrix products in {dtype}: {peak['flops'] / 1e12:.3g} TFLOP/s."
    yield from _table(
        "Correctness",
        ("what", "relative error", "limit", ""),
        [
            (x["name"], f"{x['error']:.2g}", f"{x['limit']:g}", _word(x["holds"]))
            for x in found.get("correctness") or []
        ],
    )
    head = ("case", "size", "updates/s", "ms", "of peak", "compiles, s", "planned, MiB")
    yield from _table("Speed", head, [_case(row) for row in found["cases"]])
    yield from _table("Variants", ("case", "takes"), list(_ratios(found)))
    yield from _table("Aims", ("what", "aimed at", "found"), list(_aims(found)))
    for row in found["profiles"]:
        about = " ".join(filter(None, (row["case"], row["variant"])))
        parts = [
            (
                x["part"],
                x["way"],
                f"{1e3 * x['seconds'] / row['updates']:.3g}",
                f"{x['seconds'] / max(row['busy_seconds'], 1e-9):.0%}",
            )
            for x in row["parts"][:10]
        ]
        yield from _table(f"Profile of {about}", ("part", "way", "ms", "share"), parts)
    if run := found.get("run"):
        yield from _table(
            "A run",
            ("phase", "update", "updates/s"),
            [
                (k, x["step"], f"{x['time'].get('updates_per_second', 0):.3g}")
                for k, x in run["last"].items()
            ],
        )
        scores = [f"{n}: {x['normalized']:.1f}" for n, x in run["scores"].items()]
        yield f"Exit code {run['exit_code']}; scores by updates, in %: {scores}"
    if found["problems"]:
        yield from _table("Problems", ("what",), [(x,) for x in found["problems"]])


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence]) -> Iterator[str]:
    if rows:
        yield from ("", f"## {title}", "")
        yield f"| {' | '.join(head)} |"
        yield "|" + "---|" * len(head)
        for row in rows:
            yield f"| {' | '.join(map(str, row))} |"
        yield ""


def _word(holds: bool) -> str:
    return "holds" if holds else "**WRONG**"


def _case(row: Row) -> tuple:
    name = " ".join(filter(None, (row["case"], row["variant"])))
    planned = f"{sum(row['planned_memory'].values()) / 2**20:,.0f}"
    compiled = f"{row['compile_seconds']:.0f}"
    if not row.get("seconds"):
        return name, row["size"], "", "", "", compiled, planned
    middle = median(row["seconds"])
    share = f"{row['flop'] / middle / row['matmul_peak']:.1%}"
    speed = f"{1 / middle:.4g}"
    return name, row["size"], speed, f"{1e3 * middle:.3g}", share, compiled, planned


def _ratios(found: Row) -> Iterator[tuple[str, str]]:
    """Times of a case's variants, by that of its first."""
    first: dict[str, Row] = {}
    for row in timed(found):
        start = first.setdefault(row["case"], row)
        if row is not start:
            ratio = median(row["seconds"]) / median(start["seconds"])
            about = f"{row['case']}: {row['variant']}"
            yield about, f"{ratio:.2f} times {start['variant']}"


def _aims(found: Row) -> Iterator[tuple[str, str, str]]:
    rows = {(row["case"], row["variant"]): row for row in timed(found)}
    for case, variant, wanted in AIMS:
        if row := rows.get((case, variant)):
            speed = 1 / median(row["seconds"])
            yield case, f"≥ {wanted:g} updates/s", f"{speed:.4g}"
    for case in ("grid_12m", "state_grid"):
        pair = [rows.get((case, name)) for name in ("1 τ", "4 τ")]
        if all(pair):
            one, four = (median(row["seconds"]) for row in pair)
            yield f"{case}: four τ", f"< {FOUR} times one", f"{four / one:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns 1 where the device computes wrong numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder")
    parser.add_argument("--seconds", type=float, default=690.0, help="in all (690)")
    parser.add_argument("--small", action="store_true", help="a rehearsal on a CPU")
    args = parser.parse_args(argv)
    out = args.out.resolve()
    shutil.rmtree(out / "profile", ignore_errors=True)
    session = Session(out, args.seconds, args.small)
    session.run()
    print((out / "gpu.md").read_text())
    return int(any(not x["holds"] for x in session.found["correctness"] or []))


if __name__ == "__main__":
    sys.exit(main())
