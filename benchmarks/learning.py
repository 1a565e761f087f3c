"""What LEQ learns from state vectors, on data that are made here.

python benchmarks/learning.py                    all datasets, 3 seeds: hours on a CPU
python benchmarks/learning.py --only pointmaze-medium --seeds 1

Per dataset and seed: one world model and one cloned policy, from them LEQ with the
preset's τ and with τ = 0.5, all scored over 100 episodes. Every run is a command that
is printed; interrupted, the benchmark goes on where it was. The table goes to stdout
and, with the episodes behind it, to OUT/learning.json.
"""

import argparse
import contextlib
import json
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dreamer_leq.system.files import write_json

ROOT = Path(__file__).resolve().parents[1]
STEPS = 200_000  # transitions of each locomotion dataset
NEUTRAL = "0.5"  # the τ that is not conservative


@dataclass(frozen=True)
class Case:
    """A dataset and how it is trained on; `level` is of Hopper's data, if they are."""

    task: str
    flags: tuple[str, ...]
    level: str | None = None

    def data(self, out: Path) -> Path | None:
        return out / f"hopper_{self.level}.hdf5" if self.level else None


CASES = (
    Case("pointmaze-medium", ("--configs", "maze")),
    Case("pointmaze-large", ("--configs", "maze")),
    Case("hopper-medium-replay", ("--configs", "hopper"), "medium_replay"),
    Case("hopper-medium-expert", ("--configs", "hopper"), "medium_expert"),
)


def run(command: list[str], cores: list[int] | None = None) -> None:
    """Prints and runs a Python command on some of the cores; its output goes beside
    its run folder, where it has one.
    """
    print("$ python", shlex.join(command), flush=True)
    with contextlib.ExitStack() as stack:
        log = None
        if "--logdir" in command:
            path = Path(command[command.index("--logdir") + 1] + ".log")
            log = stack.enter_context(path.open("a"))
        pin = partial(os.sched_setaffinity, 0, cores) if cores else None
        subprocess.run(
            [sys.executable, *command],
            check=True,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            preexec_fn=pin,
        )


def collect(case: Case, out: Path) -> None:
    """Makes the case's dataset, where it is not made by its first run."""
    data = case.data(out)
    if data and not data.exists():
        made = ["--suite", "gymnasium", "--task", "Hopper-v4", "--level", case.level]
        size = ["--steps", str(STEPS), "--seed", "0", "--out", str(data)]
        run(["-m", "vd4rl_loader", "collect", *made, *size])


def train(case: Case, seed: int, out: Path, cores: list[int] | None) -> None:
    """One seed: the preset's τ, and from its world model and cloned policy τ = 0.5."""
    source = ["--data", str(case.data(out))] if case.level else []
    base = ["train_offline.py", *case.flags, "--task", case.task, *source]
    base += ["--seed", str(seed), "--eval.episodes", "100"]
    first = str(folder(out, case, "leq", seed))
    run([*base, "--logdir", first], cores)
    neutral = str(folder(out, case, "neutral", seed))
    again = ["--pretrained", first, "--leq.tau", NEUTRAL, "--logdir", neutral]
    run([*base, *again], cores)


def train_all(cases: list[Case], seeds: int, out: Path, jobs: int) -> None:
    """All seeds of all cases, `jobs` at a time, each on its share of the cores."""
    cores = sorted(os.sched_getaffinity(0))
    free = queue.SimpleQueue()
    for job in range(jobs):
        free.put(cores[job::jobs] if jobs > 1 else None)

    def one(case: Case, seed: int) -> None:
        share = free.get()
        try:
            train(case, seed, out, share)
        finally:
            free.put(share)

    for case in cases:
        collect(case, out)
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(one, c, seed) for seed in range(seeds) for c in cases]
    for task in tasks:
        task.result()


def folder(out: Path, case: Case, name: str, seed: int) -> Path:
    return out / f"{case.task}-{name}-{seed}"


def results(case: Case, seeds: int, out: Path) -> dict[str, dict[str, list[float]]]:
    """Returns of the episodes by method and seed, and the dataset's mean return."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, method in (("leq", "LEQ"), ("neutral", "LEQ, τ = 0.5")):
        for seed in range(seeds):
            path = folder(out, case, name, seed)
            scores = json.loads((path / "scores.json").read_text())
            last = scores[max(scores, key=int)]
            found.setdefault(method, {})[str(seed)] = last["returns"]
            if name == "leq":
                found.setdefault("BC", {})[str(seed)] = scores["0"]["returns"]
    info = json.loads((folder(out, case, "leq", 0) / "info.json").read_text())
    mean = info["dataset"]["statistics"]["return_mean"]
    return {"data": {"mean": [mean]}} | found


def interval(by_seed: dict[str, list[float]]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds and, in them, episodes."""
    rng = np.random.default_rng(0)
    values = [np.asarray(returns) for returns in by_seed.values()]
    means = []
    for _ in range(2000):
        picked = (values[i] for i in rng.integers(len(values), size=len(values)))
        means.append(np.mean([rng.choice(v, len(v)).mean() for v in picked]))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def rows(case: Case, seeds: int, out: Path) -> Iterator[tuple[str, ...]]:
    digits = 2 if case.task.startswith("pointmaze") else 0
    for method, by_seed in results(case, seeds, out).items():
        seed_means = [float(np.mean(returns)) for returns in by_seed.values()]
        mean = f"{np.mean(seed_means):.{digits}f}"
        if method == "data":
            yield case.task, "dataset's mean", mean, "", ""
            continue
        low, high = interval(by_seed)
        each = ", ".join(f"{m:.{digits}f}" for m in seed_means)
        yield case.task, method, mean, f"{low:.{digits}f} … {high:.{digits}f}", each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", nargs="+", choices=[c.task for c in CASES])
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    cases = [c for c in CASES if not args.only or c.task in args.only]
    train_all(cases, args.seeds, out, args.jobs)
    table = Table("dataset", "method", "return or success", "95 % interval", "seeds")
    for case in cases:
        for row in rows(case, args.seeds, out):
            table.add_row(*row)
    Console(width=100).print(table)
    record = {case.task: results(case, args.seeds, out) for case in cases}
    write_json(out / "learning.json", record)


if __name__ == "__main__":
    main()
