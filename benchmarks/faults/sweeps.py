"""What clusters do to a sweep: every job ends as in one that nobody disturbed.

    pip install -e '.[sweep,slurm]' && nice python benchmarks/faults/sweeps.py

A small sweep (a world model, two runs that take it over, two that don't) is run once
undisturbed. Then it is disturbed: by `kill -9` of random processes of its own, of the
command itself, and of one of two machines of a faked Ray cluster; by SIGTERM; by the
end of the time of its Slurm jobs (submitit's stand-in); by a full disk (needs root).
Where the command ends too early, the same command goes on. Exits with 1 where it ends
otherwise than it should, a job runs twice at the same time, or metrics or scores
differ. --only names trials.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/shared")]

from workplace import records, scores, users_environment  # noqa: E402

from dreamer_leq.sweeps.engine import drive  # noqa: E402
from dreamer_leq.sweeps.file import read  # noqa: E402
from dreamer_leq.sweeps.plan import TRAIN, plan  # noqa: E402
from dreamer_leq.sweeps.slurm import Slurm  # noqa: E402
from dreamer_leq.system.interrupts import Interrupts  # noqa: E402

FILE = """\
name: faults
configs: [maze, debug]
tasks: pointmaze-umaze
algorithms:
  leq:
  td3_bc: {world_model: vectors, td3_bc.alpha: [2.5]}
seeds: 2
together: false
flags: {eval.workers: 1, eval.episodes: 2, expansion.interval: 8, checkpoint.every: 4}
"""
KILLS = 4
PATIENCE = 3600.0
FULL, ENOUGH = "900k", "256m"


class Place:
    """A folder with the sweep's file, in which it is run and disturbed."""

    def __init__(self, path: Path, cache: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "sweep.yaml").write_text(FILE)
        self.path, self.cache, self.faults = path, cache, []

    def start(self, *flags: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dreamer_leq", "sweep", "sweep.yaml", *flags]
        environment = users_environment(self.cache)
        with open(self.path / "sweep.log", "ab") as log:
            options = dict(stdout=log, stderr=log, start_new_session=True)
            return subprocess.Popen(command, cwd=self.path, env=environment, **options)

    def until(
        self, process: subprocess.Popen, disturb: Callable[[float], bool] | None = None
    ) -> int:
        """The exit code; `disturb(seconds)` is called meanwhile, until it is True."""
        start = time.monotonic()
        while process.poll() is None:
            seconds = time.monotonic() - start
            if seconds > PATIENCE:
                self.faults.append("hangs")
                process.kill()
            twice = [f for f, n in Counter(self.training().values()).items() if n > 1]
            self.faults += [f"twice at once: {folder}" for folder in twice]
            if disturb and disturb(seconds):
                disturb = None
            time.sleep(0.1)
        return process.returncode

    def training(self) -> dict[int, str]:
        """The folders of jobs that train here, by process; what those have just forked
        looks like them, and doesn't count.
        """
        found, parents = {}, {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and (entry / "cwd").resolve() == self.path:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                    if words[2:4] == ["dreamer_leq", "train"]:
                        folder = words[words.index("--logdir") + 1]
                        found[int(entry.name)] = folder
                        stat = (entry / "stat").read_text().rpartition(")")[2]
                        parents[int(entry.name)] = int(stat.split()[1])
            except (OSError, ValueError):
                continue
        return {p: x for p, x in found.items() if parents.get(p) not in found}

    def results(self) -> dict[str, tuple]:
        """Metrics and scores of every run."""
        os.chdir(self.path)
        jobs = [job for job in plan(read("sweep.yaml")) if job.kind == TRAIN]
        folders = [folder for job in jobs for folder in job.runs]
        return {f: (records(Path(f)), scores(Path(f))) for f in folders}

    def ends(self, code: int, wanted: int, when: str) -> None:
        if code != wanted:
            tail = (self.path / "sweep.log").read_text().splitlines()[-3:]
            self.faults.append(f"{when}: exit code {code}, not {wanted}: {tail}")


def undisturbed(place: Place) -> str:
    place.ends(place.until(place.start("--jobs", "2")), 0, "undisturbed")
    return "ended"


def kills(place: Place) -> str:
    """Of what trains, by the engine of this machine."""
    killed = _killer(place, lambda: list(place.training()))
    place.ends(place.until(place.start("--jobs", "2"), killed), 0, "kills")
    return f"{killed.count} kills"


def command(place: Place) -> str:
    """The command itself is killed while jobs run."""
    process = place.start("--jobs", "2")
    place.until(process, lambda _: bool(place.training()) and not _kill(process.pid))
    return _again(place, "--jobs", "2")


def sigterm(place: Place) -> str:
    process = place.start("--jobs", "2")
    place.until(process, lambda _: bool(place.training()) and not process.terminate())
    place.ends(process.returncode, 128 + signal.SIGTERM, "SIGTERM")
    if left := place.training():
        place.faults.append(f"still trains: {left}")
    return _again(place, "--jobs", "2")


def _again(place: Place, *flags: str) -> str:
    place.ends(place.until(place.start(*flags)), 0, "the same command")
    return "the same command went on"


def ray_workers(place: Place) -> str:
    """Ray's workers and what they train."""
    with _Cluster(place) as cluster:
        killed = _killer(place, lambda: [*place.training(), *cluster.workers()])
        code = place.until(place.start(*cluster.flags), killed)
        place.ends(code, 0, "Ray's workers")
    return f"{killed.count} kills"


def ray_machine(place: Place) -> str:
    """One of two machines goes while it trains, and another comes."""
    with _Cluster(place) as cluster:

        def disturb(_: float) -> bool:
            if len(place.training()) < 2:
                return False
            cluster.lose_one()
            return True

        place.ends(place.until(place.start(*cluster.flags), disturb), 0, "a machine")
    return "a machine removed"


def ray_command(place: Place) -> str:
    """The command is killed, and its jobs go with it."""
    with _Cluster(place) as cluster:
        process = place.start(*cluster.flags)
        two = lambda _: len(place.training()) > 1 and not _kill(process.pid)  # noqa: E731
        place.until(process, two)
        return _again(place, *cluster.flags)


class _Cluster:
    """Two machines of one core each, faked on this one."""

    def __init__(self, place: Place) -> None:
        os.environ |= users_environment(place.cache) | {"RAY_worker_niceness": "0"}

    def __enter__(self) -> "_Cluster":
        from ray.cluster_utils import Cluster

        about = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=about)
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self.flags = ("--engine", "ray", "--address", self._cluster.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def lose_one(self) -> None:
        self._cluster.remove_node(self._nodes[0], allow_graceful=False)
        self._cluster.add_node(num_cpus=1)

    def workers(self) -> list[int]:
        """The processes of Ray that run a job: parents of those that train."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                name = (entry / "cmdline").read_bytes().decode()
                if entry.name.isdecimal() and name.startswith("ray::run_to_end"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


class _killer:
    """Kills one of `victims` now and then."""

    def __init__(self, place: Place, victims: Callable[[], list[int]]) -> None:
        self._victims, self._rng, self._next = victims, random.Random(0), 5.0
        self.count = 0

    def __call__(self, seconds: float) -> bool:
        if seconds > self._next and (victims := self._victims()):
            _kill(self._rng.choice(victims))
            self.count += 1
            self._next = seconds + self._rng.uniform(5, 30)
        return self.count == KILLS


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def slurm(place: Place) -> str:
    """Submitit's stand-in, each job's time over before it can end."""
    os.environ |= users_environment(place.cache)
    os.chdir(place.path)
    jobs = plan(read("sweep.yaml"))
    engine = Slurm(place.path, 2, gpus=0, minutes=2, cluster="local")
    with Interrupts() as interrupts:
        state = drive(jobs, engine, interrupts)
    for name, outcome in state.failed.items():
        place.faults.append(f"{name}: {outcome.reason}")
    logs = (place.path / "slurm").glob("*.out")
    again = sum(log.read_text().count("timed-out") for log in logs)
    return f"{again} times over"


def disk(place: Place) -> str:
    """The sweep's folder is on a disk that fills up, and later has space."""
    folder = place.path / "runs"
    folder.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs", str(folder)]
    subprocess.run(size, check=True)
    try:
        place.ends(place.until(place.start("--jobs", "2")), 1, "a full disk")
        more = ["mount", "-o", f"remount,size={ENOUGH}", str(folder)]
        subprocess.run(more, check=True)
        said = _again(place, "--jobs", "2")
        kept = place.path / "kept"
        shutil.copytree(folder, kept)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return said


TRIALS = {
    trial.__name__: trial
    for trial in (
        *(kills, command, sigterm, ray_workers, ray_machine, ray_command, slurm),
        disk,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--folder", type=Path, help="where to work")
    args = parser.parse_args()
    base = (args.folder or Path(tempfile.mkdtemp(prefix="sweep-"))).resolve()
    whole = Place(base / "undisturbed", base / "cache")
    said = undisturbed(whole)
    wanted, failed = whole.results(), bool(whole.faults)
    print(f"undisturbed: {said}, {len(wanted)} runs {whole.faults or ''}", flush=True)
    for name in args.only:
        place = Place(base / name, base / "cache")
        start = time.monotonic()
        said = TRIALS[name](place)
        differing = [f for f, x in place.results().items() if x != wanted[f]]
        place.faults += [f"differs: {folder}" for folder in differing]
        failed |= bool(place.faults)
        found = "; ".join(place.faults) or "all runs as undisturbed"
        seconds = time.monotonic() - start
        print(f"{name}: {said}, {seconds:.0f} s: {found}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
