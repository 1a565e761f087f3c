"""`kill -9` at random moments: every run goes on and ends as one that nobody killed.

    nice python benchmarks/faults/kill.py --times 50

Trains the smallest run on states and the smallest on pixels once undisturbed, then
again and again in fresh folders, each killed a few times before it may end: collection
of the data, caching, encoding, every phase, saves, evaluations and videos. Half of the
moments come by the clock, half as soon as a temporary file or folder appears, which is
while something is being written. What is killed is the process alone, or its whole
group. Exits with 1 where a process stays, a file is torn, a temporary one is left at
the end, or metrics, scores, parameters, data or videos differ.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/shared")]

import jax  # noqa: E402
from workplace import records, scores, users_environment  # noqa: E402

from dreamer_leq.training.checkpoints import Checkpoints  # noqa: E402

MAZE = ("maze", "debug", "--task", "pointmaze-umaze", "--expansion.interval", "8")
RUNS = {
    "state": (*MAZE, "--eval.workers", "2"),
    "pixel": ("debug", "--eval.workers", "2"),
}
PHASES = ("world_model", "bc", "fqe", "leq")
KILLS_PER_RUN = 6
TEMPORARY = ("tmp", ".part", ".probe")
PATIENCE = 3600  # seconds after which something hangs, on a machine that is busy
SECONDS_TO_END = 5.0  # for the processes that a killed one had started


@dataclass
class Place:
    """A folder in which one run is killed, and goes on, until it ends."""

    path: Path
    cache: Path
    arguments: tuple[str, ...]
    struck: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.path / "run"

    def start(self) -> subprocess.Popen:
        command = [sys.executable, ROOT / "train_offline.py", "--configs"]
        command += [*self.arguments, "--logdir", "run"]
        with (
            open(self.path / "stdout.txt", "w") as out,
            open(self.path / "stderr.txt", "w") as err,
        ):
            return subprocess.Popen(
                command,
                cwd=self.path,
                env=users_environment(self.cache),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def finish(self) -> float:
        """Lets it end; how long that took."""
        start = time.monotonic()
        process = self.start()
        if process.wait(PATIENCE):
            self.faults.append(f"ended with {process.returncode}: {self._errors()}")
        self._look_at_errors()
        self.faults += [f"left {path}" for path in sorted(self.temporary())]
        return time.monotonic() - start

    def kill(self, rng: random.Random, seconds: float) -> bool:
        """Starts it and kills it at a random moment; False where it ended before."""
        known, count = self.temporary(), rng.randint(1, 6)
        by_clock, group = rng.random() < 0.5, rng.random() < 0.5
        wait, delay = rng.uniform(0, seconds), rng.uniform(0, 0.02)
        process, start, seen = self.start(), time.monotonic(), set()
        while process.poll() is None:
            if by_clock and time.monotonic() - start > wait:
                break
            seen |= self.temporary() - known
            if not by_clock and len(seen) >= count:
                time.sleep(delay)
                break
            time.sleep(0.003)
        if process.poll() is not None:
            return False
        writing = "writing" if self.temporary() - known else "not writing"
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        self.struck.append(f"{self._reached()}, {writing}")
        self._look_at_processes(process.pid)
        self._look_at_errors()
        self._look_at_files()
        return True

    def temporary(self) -> set[Path]:
        """What has a temporary name, but for what lies in such a folder."""
        found = set()
        for folder, folders, files in os.walk(self.path):
            for name in [*folders, *files]:
                if any(part in name for part in TEMPORARY):
                    found.add(Path(folder, name).relative_to(self.path))
            folders[:] = [x for x in folders if not any(p in x for p in TEMPORARY)]
        return found

    def said(self) -> str:
        return (self.path / "stdout.txt").read_text()

    def _reached(self) -> str:
        """What the run was doing, as far as what it printed tells."""
        lines = self.said().splitlines()
        signs = {
            "videos": "writing imagined",
            "leq": "policy after",
            "bc, fqe, encoding, first evaluation": ("world_model 2", "ensemble:"),
            "world_model": "rewards:",
            "collecting, caching": "computing on",
        }
        for name, sign in signs.items():
            if any(line.startswith(sign) for line in lines):
                return name
        return "starting"

    def _look_at_processes(self, session: int) -> None:
        deadline = time.monotonic() + SECONDS_TO_END
        while (left := _processes(session)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, name in left:
            self.faults.append(f"process {name} outlives its parent")
            os.kill(pid, signal.SIGKILL)

    def _errors(self) -> str:
        return (self.path / "stderr.txt").read_text()[-2000:]

    def _look_at_errors(self) -> None:
        if any(word in self._errors() for word in ("Traceback", "Warning", "rror:")):
            self.faults.append(self._errors())

    def _look_at_files(self) -> None:
        """Everything under its own name is whole."""
        try:
            for name in ("info.json", "scores.json"):
                if (self.run / name).exists():
                    json.loads((self.run / name).read_text())
            if (self.run / "metrics.jsonl").exists():
                records(self.run)
            checkpoints = Checkpoints(self.run / "checkpoints")
            for phase in PHASES:
                for step in checkpoints.steps(phase):
                    checkpoints.restore(phase, step=step)
        except Exception as error:
            self.faults.append(f"torn: {error}")

    def result(self) -> dict[str, str]:
        """All that a run leaves, by name, without what the clock says."""
        checkpoints = Checkpoints(self.run / "checkpoints")
        found = {"metrics": records(self.run), "scores": scores(self.run)}
        for phase in PHASES:
            state, extra = checkpoints.restore(phase)
            extra.pop("unevaluated", None)  # a note to the run that went on
            leaves = jax.tree.leaves_with_path((state, extra))
            steps = checkpoints.steps(phase)
            found[f"checkpoints/{phase}"] = [steps, [(p, _bytes(x)) for p, x in leaves]]
        files = [*self.run.glob("videos/*"), *self.path.glob("datasets/**/*")]
        for file in files:
            hidden = any(part.startswith(".") for part in file.parts)
            if file.is_file() and not hidden:
                found[str(file.relative_to(self.path))] = file.read_bytes()
        return {name: _digest(x) for name, x in found.items()}


def _bytes(leaf) -> bytes | str:
    return leaf.tobytes() if hasattr(leaf, "tobytes") else str(leaf)


def _digest(value) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _processes(session: int) -> list[tuple[int, str]]:
    """Those of a session that are alive: pid and command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        state, _, _, own = stat.rpartition(")")[2].split()[:4]
        if int(own) == session and state != "Z":
            found.append((int(folder.name), command[:120]))
    return found


def _new_place(folder: Path, name: str, cache: Path) -> Place:
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    return Place(path, cache, RUNS[name])


def _try(
    name: str, times: int, rng: random.Random, folder: Path
) -> tuple[Counter, int]:
    """Where it struck how often, and how many runs went wrong."""
    cache = folder / "cache"
    _new_place(folder, name, cache).finish()  # compiles
    whole = _new_place(folder, name, cache)
    seconds = whole.finish()
    expected, struck, wrong = whole.result(), Counter(), bool(whole.faults)
    print(f"{name}: undisturbed in {seconds:.0f} s", *whole.faults, sep="\n  ")
    while struck.total() < times:
        place = _new_place(folder, name, cache)
        kills = min(KILLS_PER_RUN, times - struck.total())
        while len(place.struck) < kills and place.kill(rng, seconds):
            pass
        place.finish()
        found = place.result()
        place.faults += [
            f"another {key}"
            for key in sorted(expected.keys() | found.keys())
            if expected.get(key) != found.get(key)
        ]
        struck.update(place.struck)
        wrong += bool(place.faults)
        print(f"{name}: killed {len(place.struck)} times", *place.faults, sep="\n  ")
        sys.stdout.flush()
    return struck, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", choices=RUNS, action="append", help="default: both")
    parser.add_argument("--folder", help="keep everything in this folder")
    args = parser.parse_args()
    rng, names = random.Random(args.seed), args.run or list(RUNS)
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(names):
            times = args.times // len(names) + (i < args.times % len(names))
            struck, failed = _try(name, times, rng, folder)
            wrong += failed
            print(f"\n{name}: {struck.total()} kills, {failed} runs wrong")
            for moment, count in struck.most_common():
                print(f"{count:5} x {moment}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
