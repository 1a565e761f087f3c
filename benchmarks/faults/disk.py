"""A disk that is full, or read-only, while a run logs, saves, collects or caches.

    sudo nice python benchmarks/faults/disk.py

Mounts a small tmpfs for each trial, so it needs root. Every trial has to end with exit
code 2 and one line; the last checkpoints have to load; and once there is space again,
the same command has to end as a run that was never disturbed. Exits with 1 otherwise.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/shared")]

from workplace import records, users_environment  # noqa: E402

from dreamer_leq.training.checkpoints import Checkpoints  # noqa: E402

MAZE = ("--configs", "maze", "debug", "--task", "pointmaze-umaze")
MAZE += ("--checkpoint.every", "4", "--log.every", "1", "--eval.workers", "1")
PIXEL = ("--configs", "debug", "--eval.workers", "1")
ENOUGH = "64m"


@dataclass(frozen=True)
class Trial:
    """A command on a disk of `size`. With `until`, a glob in the run's folder, it is
    killed when that is there, and started again on a disk that is read-only by then.
    """

    name: str
    size: str
    flags: tuple[str, ...]
    until: str = ""


TRIALS = (
    Trial("full: collecting states", "20k", MAZE),
    Trial("full: the first checkpoint", "120k", MAZE),
    Trial("full: checkpoints, metrics or videos", "320k", MAZE),
    Trial("full: checkpoints, metrics or videos", "600k", MAZE),
    Trial("full: collecting pixels", "1m", PIXEL),
    Trial("full: caching pixels", "6m", PIXEL),
    Trial("read-only: from the start", ENOUGH, MAZE, "."),
    Trial("read-only: in LEQ", ENOUGH, MAZE, "checkpoints/leq/4"),
)


@contextlib.contextmanager
def mounted(size: str, folder: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=folder))
    _command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)
    try:
        yield path
    finally:
        _command("umount", "-l", path)


def _command(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def train(disk: Path, flags: tuple[str, ...], cache: Path) -> subprocess.Popen:
    """Training with data and run on the disk; compiled programs are elsewhere."""
    command = [sys.executable, str(ROOT / "train_offline.py"), *flags]
    return subprocess.Popen(
        [*command, "--logdir", "run"],
        cwd=disk,
        env=users_environment(cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def tried(trial: Trial, folder: Path, expected: list) -> tuple[str, list[str]]:
    """What it said, and what is wrong."""
    with mounted(trial.size, folder) as disk:
        if trial.until == ".":
            _command("mount", "-o", "remount,ro", disk)
        process = train(disk, trial.flags, folder / "cache")
        if trial.until not in ("", "."):
            while not list(disk.glob(f"run/{trial.until}")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            process.kill()
            process.communicate()
            _command("mount", "-o", "remount,ro", disk)
            process = train(disk, trial.flags, folder / "cache")
        _, said = process.communicate(timeout=900)
        lines = [x for x in said.splitlines() if not x.startswith("collecting")]
        wrong = []
        if process.returncode != 2:
            wrong.append(f"exit code {process.returncode}")
        if len(lines) != 1 or not lines[0].startswith("error: "):
            wrong.append(f"{len(lines)} lines: {said[-1500:]}")
        wrong += _unreadable(disk / "run")
        _command("mount", "-o", f"remount,rw,size={ENOUGH}", disk)
        again = train(disk, trial.flags, folder / "cache")
        _, errors = again.communicate(timeout=900)
        if again.returncode:
            wrong.append(f"did not go on: {errors[-1500:]}")
        elif records(disk / "run") != expected:
            wrong.append("another end than an undisturbed run's")
        wrong += [f"left {x}" for x in disk.rglob("*tmp*") if x.is_file()]
    return lines[-1].replace(str(disk), "DISK") if lines else "nothing", wrong


def _unreadable(run: Path) -> list[str]:
    checkpoints, wrong = Checkpoints(run / "checkpoints"), []
    for phase in ("world_model", "bc", "fqe", "leq"):
        if checkpoints.latest(phase) is None:
            continue
        try:
            checkpoints.restore(phase)
        except Exception as error:
            wrong.append(str(error))
    return wrong


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder, failed = Path(temporary), 0
        expected = {}
        for flags in {trial.flags for trial in TRIALS}:
            with mounted(ENOUGH, folder) as disk:
                assert train(disk, flags, folder / "cache").wait() == 0
                expected[flags] = records(disk / "run")
        with ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda t: tried(t, folder, expected[t.flags]), TRIALS)
            for trial, (said, wrong) in zip(TRIALS, results, strict=True):
                failed += bool(wrong)
                print(f"{trial.name}\n    {said}", *wrong, sep="\n  ! ", flush=True)
    print(f"{len(TRIALS)} trials, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
