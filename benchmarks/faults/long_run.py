"""Memory and speed of a long run, from its start to its end.

    nice python benchmarks/faults/long_run.py --updates 1000000 --plot docs/long_run.png

LEQ on state vectors at a tiny size, with records, checkpoints, expansions and
evaluations as often as a run of hours has them in all. Exits with 1 where the last
fifth of the run needs more memory, or more of a processor's time for an update, than
the second fifth by more than the tolerance; the first fifth fills caches.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SECONDS_PER_SAMPLE = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1_000_000)
    parser.add_argument("--plot", help="write the figure here (.png)")
    parser.add_argument(
        "--tolerance", type=float, default=0.1, help="share that may be lost"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = _train(Path(folder), args.updates)
        speed = _speeds(Path(folder) / "run/metrics.jsonl", samples)
    more = _report(samples, speed)
    if args.plot:
        _plot(samples, speed, args.plot)
    return int(max(more) > args.tolerance)


def _train(folder: Path, updates: int) -> np.ndarray:
    """Trains to the end; [N, 3] time, MiB and CPU-seconds of the process."""
    flags = {
        "task": "pointmaze-umaze",
        "logdir": folder / "run",
        "leq.updates": updates,
        "expansion.interval": 1000,
        "eval.every": updates // 20,
        "checkpoint.every": updates // 200,
        "log.every": updates // 10_000,
    }
    command = [sys.executable, ROOT / "train_offline.py", "--configs", "maze", "debug"]
    command += [str(x) for key, value in flags.items() for x in (f"--{key}", value)]
    samples = []
    with subprocess.Popen(command, cwd=folder) as process:
        while process.poll() is None:
            samples.append((time.time(), *_needs(process.pid)))
            time.sleep(SECONDS_PER_SAMPLE)
    if process.returncode:
        raise SystemExit(f"training ended with {process.returncode}")
    return np.array([sample for sample in samples if sample[1]])


def _needs(pid: int) -> tuple[float, float]:
    """Resident memory in MiB and CPU-seconds so far; zeros once the process is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return memory, ticks / os.sysconf("SC_CLK_TCK")


def _speeds(metrics: Path, samples: np.ndarray) -> np.ndarray:
    """(time, updates per second, updates per CPU-second) of LEQ: [N, 3].

    Over pieces of a hundredth of the run. On a busy machine the second is the measure.
    """
    lines = metrics.read_text().splitlines()
    records = [r for r in map(json.loads, lines) if r["phase"] == "leq"]
    marks = np.array([(r["time"]["wall"], r["step"]) for r in records])
    marks = marks[:: max(1, len(marks) // 100)]
    cpu = np.interp(marks[:, 0], samples[:, 0], samples[:, 2])
    updates, seconds = np.diff(marks[:, 1]), np.diff(marks[:, 0])
    return np.stack([marks[1:, 0], updates / seconds, updates / np.diff(cpu)], 1)


def _report(samples: np.ndarray, speed: np.ndarray) -> tuple[float, float]:
    """Prints medians by fifths of the updates; returns by what share the last needs
    more memory, and more CPU-time for an update, than the second.
    """
    print("fifth of the run   memory, MiB   updates/s   updates per CPU-second")
    medians = []
    for i, piece in enumerate(np.array_split(speed, 5), 1):
        low, high = piece[0, 0], piece[-1, 0]
        during = (samples[:, 0] >= low) & (samples[:, 0] <= high)
        memory = np.median(samples[during, 1])
        _, by_clock, by_cpu = np.median(piece, axis=0)
        medians.append((memory, by_cpu))
        print(f"{i:16}   {memory:11,.1f}   {by_clock:9,.0f}   {by_cpu:22,.0f}")
    (memory_2, speed_2), (memory_5, speed_5) = medians[1], medians[-1]
    more = memory_5 / memory_2 - 1, speed_2 / speed_5 - 1
    print(f"last against second: memory {more[0]:+.2%}, CPU-time {more[1]:+.2%}")
    return more


def _plot(samples: np.ndarray, speed: np.ndarray, path: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    start = speed[0, 0]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 4.5))
    above.plot((samples[:, 0] - start) / 60, samples[:, 1], linewidth=1)
    above.set(ylabel="resident memory, MiB", ylim=(0, None))
    minutes = (speed[:, 0] - start) / 60
    below.plot(minutes, speed[:, 2], linewidth=1.5)
    below.set(ylabel="updates per CPU-second", xlabel="minutes of LEQ", ylim=(0, None))
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.set_xlim(0, None)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
