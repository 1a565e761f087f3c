"""Trains on a pixel dataset that is larger than the memory it may take.

    python benchmarks/larger_than_memory.py --out big
    python benchmarks/larger_than_memory.py --out big --frames 180000 --limit 2
    python benchmarks/larger_than_memory.py --out big --reading

First 200 batches of windows of 16 x 65 are read from a sparse file of so many frames,
by rows and, to compare, by pages of a map; with --reading that is all. Then it makes a
dataset of 64-px frames in OUT (12 GB a million, once it is opened), and runs
train_offline.py on it at a small size: world model, encoding, LEQ. `ulimit -d` refuses
it more than LIMIT GB of memory of its own, and its resident memory, pages of mapped
files among it, is looked at ten times a second: above LIMIT the run is ended, and has
failed. Then updates of the same world model take windows of 16 x 65 of a part of the
dataset, in turns from the device's memory and from the (warm) disk. OUT is removed,
unless --keep is given; figures go to OUT.json.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BATCH, LENGTH = 16, 65
BATCHES = 200
EPISODE = 501  # entries, as V-D4RL's
DIFFERENT = 20  # episodes; the others are links to them
SIZES = [
    *("--configs", "vd4rl", "debug", "--task", "walker_walk-mine"),
    *("--latent.image", "patch", "--latent.mults", "2", "4", "4"),
    *("--latent.deter", "1024", "--latent.batch", "4"),
    *("--latent.length", f"{LENGTH}", "--latent.updates", "100"),
    *("--leq.updates", "100", "--leq.batch", "256"),
    *("--eval.episodes", "0", "--data.placement", "host"),
]
TURNS, UPDATES = 5, 8
RESIDENT = 100_000  # frames at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=4.0, help="GB")
    parser.add_argument("--reading", action="store_true")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    figures: dict[str, Any] = {"frames": args.frames, "limit_gb": args.limit}
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for mapped in (False, True):
            with get_context("spawn").Pool(1) as pool:  # whose memory is its own
                asked = (args.out / "sparse.npy", args.frames, args.limit, mapped)
                name = "reading_a_map" if mapped else "reading"
                figures[name] = pool.apply(reading, asked)
        if not args.reading:
            figures |= training(args.out, args.frames, args.limit)
    finally:
        if not args.keep:
            shutil.rmtree(args.out, ignore_errors=True)
    text = json.dumps(figures, indent=2)
    Path(f"{args.out}.json").write_text(text + "\n")
    print(text)


def reading(file: Path, frames: int, limit: float, mapped: bool) -> dict[str, float]:
    """Peak of this process's memory, and windows a second, of batches from disk."""
    import jax

    from dreamer_leq.data.sampling import CHUNK, Windows, place
    from vd4rl_loader.row_file import RowFile

    most = int(limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    RowFile.created(file, (frames, 64, 64, 3), np.uint8)
    arrays = {"image": np.load(file, mmap_mode="r")}
    source, _ = place(arrays, Windows(frames, BATCH, LENGTH), "host")
    if mapped:
        source = replace(source, arrays=arrays)
    feed, start = source.feed(jax.random.key(0), 0), time.monotonic()
    for step in range(0, BATCHES, CHUNK):
        jax.block_until_ready(feed.data(step, CHUNK))
    seconds = time.monotonic() - start
    feed.close()
    file.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "peak_gb": round(peak / 1e9, 2),
        "windows_per_second": round(BATCHES * BATCH / seconds),
    }


def training(out: Path, frames: int, limit: float) -> dict[str, Any]:
    """What a whole run takes of memory, and how fast its updates are."""
    data = make_dataset(out / "data", frames)
    peaks = limited(data, out / "run", limit)
    print(f"peaks in GB: {peaks}", flush=True)
    return {
        "peaks_gb": peaks,
        "updates_per_second": rates(out / "run"),
        "windows_per_second": throughput(data),
    }


def make_dataset(folder: Path, frames: int) -> Path:
    """Episodes of blocks in random colours, of which most are links to a few."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(-(-frames // EPISODE)):
        path = folder / f"{i:06d}-{EPISODE}.npz"
        if path.exists():
            continue
        if i >= DIFFERENT:
            path.hardlink_to(folder / f"{i % DIFFERENT:06d}-{EPISODE}.npz")
            continue
        rng, index = np.random.default_rng(i), np.arange(EPISODE)
        blocks = rng.integers(0, 256, (EPISODE, 8, 8, 3), np.uint8)
        action = rng.uniform(-1, 1, (EPISODE, 6)).astype(np.float32)
        reward = rng.uniform(0, 2, EPISODE)
        action[0], reward[0] = 0, 0
        np.savez_compressed(
            path,
            image=blocks.repeat(8, 1).repeat(8, 2),
            action=action,
            reward=reward,
            is_first=index == 0,
            is_last=index == EPISODE - 1,
            is_terminal=np.zeros(EPISODE, bool),
        )
    return folder


def limited(data: Path, logdir: Path, limit: float) -> dict[str, dict[str, float]]:
    """Peaks of the run's memory in GB, by what it was about; ends if there is more."""
    most = int(limit * 1e9)
    command = [sys.executable, "train_offline.py", *SIZES]
    run = subprocess.Popen(
        [*command, "--data", str(data.resolve()), "--logdir", str(logdir.resolve())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
    )
    peaks: dict[str, dict[str, float]] = {}
    part = ["opening"]
    reader = threading.Thread(target=follow, args=(run, part), daemon=True)
    reader.start()
    while run.poll() is None:
        for name, size in resident(run.pid).items():
            known = peaks.setdefault(part[0], {})
            known[name] = max(known.get(name, 0.0), round(size / 1e9, 2))
            if name == "resident" and size > most:
                run.kill()
                sys.exit(f"{part[0]}: {size / 1e9:.2f} GB are resident: failed")
        time.sleep(0.1)
    if run.returncode:
        sys.exit(f"{part[0]}: exit status {run.returncode}: failed")
    return peaks


def follow(run: subprocess.Popen, part: list[str]) -> None:
    """Prints the run's lines, and keeps in `part` what they are about."""
    parts = {
        "dataset: ": "world model",
        "latents: ": "encoding",
        "leq ": "LEQ",
        "writing": "videos, report",
    }
    for line in run.stdout:
        print(f"  {line}", end="", flush=True)
        begun = [name for start, name in parts.items() if line.startswith(start)]
        if line.startswith("latents:") and "on disk, read ahead" in line:
            begun = ["LEQ"]
        part[0] = begun[0] if begun else part[0]


def resident(pid: int) -> dict[str, int]:
    """Bytes that a process has in memory: all, its own, and of mapped files."""
    names = {"VmRSS": "resident", "RssAnon": "own", "RssFile": "of files"}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return {}
    found = dict(line.split(":", 1) for line in lines)
    return {n: 1024 * int(found[k].split()[0]) for k, n in names.items() if k in found}


def rates(logdir: Path) -> dict[str, float]:
    """Updates a second in the last record of each phase."""
    found: dict[str, float] = {}
    for line in (logdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if speed := record["time"].get("updates_per_second"):
            found[record["phase"]] = round(speed, 2)
    return found


def throughput(data: Path) -> dict[str, list[float]]:
    """Windows of 16 x 65 a second, turn by turn: by updates of a world model from the
    device's memory and from disk; and as fast as they come from disk alone.
    """
    import jax

    from dreamer_leq import config as configs
    from dreamer_leq.data.sampling import Windows, place
    from dreamer_leq.run import build
    from dreamer_leq.world_models.latent import ObservationSpec
    from dreamer_leq.world_models.latent_training import WorldModelTraining
    from vd4rl_loader import open_dataset

    dataset = open_dataset(data, log=lambda line: None)
    n = min(RESIDENT, len(dataset.reward))
    names = ("image", "action", "reward", "is_first", "is_terminal")
    arrays = {name: getattr(dataset, name) for name in names}
    c = configs.load(SIZES).latent
    net = build.latent_net(configs.load(SIZES), ObservationSpec(64, 0, 6))
    phase = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))
    state = jax.jit(phase.init)(jax.random.key(0))
    sampler = Windows(n, BATCH, LENGTH)  # of the first ones in either case
    part = {name: np.array(array[:n]) for name, array in arrays.items()}
    sources = {
        "resident": place(part, sampler, "device")[0],
        "from disk": place(arrays, sampler, "host")[0],
    }
    turns = {k: Turns(source, phase, state) for k, source in sources.items()}
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, turn in turns.items():
            found[name].append(round(BATCH * UPDATES / turn.seconds(UPDATES), 1))
    for turn in turns.values():
        turn.feed.close()
    gather, rng = sources["from disk"].sampler.gather, np.random.default_rng(0)
    starts, since = rng.integers(0, n - LENGTH, (64, BATCH)), time.monotonic()
    for start in starts:
        gather(sources["from disk"].arrays, start)
    alone = len(starts) * BATCH / (time.monotonic() - since)
    return {**found, "reading alone": [round(alone)]}


class Turns:
    """Updates of a phase from a source, some at a time, as the loop does them."""

    def __init__(self, source: Any, phase: Any, state: Any) -> None:
        import jax
        import jax.numpy as jnp

        from dreamer_leq.training.loop import _updates

        self.key, self.phase, self.done = jax.random.key(1), phase, 0
        self.state = jax.tree.map(jnp.copy, state)  # which is donated
        self.feed = source.feed(self.key, 0)
        data, _ = self.feed.data(0, 1)
        metrics = jax.eval_shape(
            lambda data, state: _updates(
                self.feed.read, phase, data, state, self.key, 0
            )[1],
            data,
            state,
        )
        self.totals = {name: jnp.zeros(x.shape) for name, x in metrics.items()}
        self.seconds(1)  # which compiles

    def seconds(self, n: int) -> float:
        """Time of the next n updates."""
        import jax

        from dreamer_leq.training.loop import _advance

        start, end = time.perf_counter(), self.done + n
        while self.done < end:
            data, served = self.feed.data(self.done, end - self.done)
            given = (self.feed.read, self.phase, data, self.state, self.totals)
            self.state, self.totals = _advance(*given, self.key, self.done, served)
            jax.device_get(self.totals)
            self.done += served
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
