"""Updates per second and peak memory of the world-model and LEQ phases.

    python benchmarks/pixel.py --configs size1m --latent.batch 4 --updates 20

Takes the flags of train_offline.py, and --updates per measurement. Every phase runs the
real update in the real loop, on random data of the right shapes, in a process of its
own, so that peak memory is the phase's. Speed is the median of five measurements.
"""

import json
import multiprocessing
import resource
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ENTRIES, ACTIONS, MEASUREMENTS = 2048, 6, 5
PHASES = ("world_model", "leq")


def main(argv: list[str]) -> None:
    updates, argv = _take(argv, "--updates", 10)
    context = multiprocessing.get_context("spawn")
    rows = []
    for phase in PHASES:
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (phase, argv, updates)))
    print_table(rows)
    print(json.dumps(rows))


def measure(phase: str, argv: list[str], updates: int) -> dict[str, Any]:
    """Build the phase, compile it, time it: one row of the table."""
    import jax

    from dreamer_leq import config as configs
    from dreamer_leq.training.loop import _advance

    config = configs.load(argv or ["--configs", "size12m"])
    key = jax.random.key(0)
    learner, state, source, frames = globals()[f"_{phase}"](config, key)
    feed = source.feed(key, 0)
    data, _ = feed.data(0, 1)
    metrics = jax.eval_shape(
        lambda s: learner.update(s, feed.read(data, key, 0), key)[1], state
    )
    totals = {name: np.float32(0) for name in metrics}
    run = partial(_advance, feed.read, learner, data)
    start = time.perf_counter()
    state, totals = jax.block_until_ready(run(state, totals, key, 0, 1))
    compiling = time.perf_counter() - start
    rates = []
    for i in range(MEASUREMENTS):
        start = time.perf_counter()
        done = run(state, totals, key, 1 + i * updates, updates)
        state, totals = jax.block_until_ready(done)
        rates.append(updates / (time.perf_counter() - start))
    return {
        "phase": phase,
        "device": jax.devices()[0].device_kind,
        "per_update": frames,
        "updates_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "first_update_seconds": compiling,
        "peak_mib": _peak_bytes(jax.devices()[0]) / 2**20,
    }


def _world_model(config: Any, key: Any) -> tuple[Any, Any, Any, str]:
    import jax

    from dreamer_leq import build
    from dreamer_leq.training.phases import WorldModelTraining
    from dreamer_leq.training.sources import Windows, place

    c, rng = config.latent, np.random.default_rng(0)
    net = build.latent_net(config, _spec(config))
    learner = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))
    side = config.data.image_size
    arrays = _steps(rng) | {
        "image": rng.integers(0, 256, (ENTRIES, side, side, 3), np.uint8),
        "is_first": np.arange(ENTRIES) % 501 == 0,
    }
    source, _ = place(arrays, Windows(ENTRIES, c.batch, c.length), "device")
    state = jax.jit(lambda key: learner.init(key))(key)
    return learner, state, source, f"{c.batch} x {c.length} frames"


def _leq(config: Any, key: Any) -> tuple[Any, Any, Any, str]:
    import jax

    from dreamer_leq import build
    from dreamer_leq.leq.learner import LEQ
    from dreamer_leq.training.sources import Transitions, place
    from dreamer_leq.world_models.latent import LatentWorldModel

    c, rng = config.latent, np.random.default_rng(0)
    net = build.latent_net(config, _spec(config))
    params = jax.jit(lambda key: net.init(key))(key)
    world_model = LatentWorldModel(params, net)
    nets = build.actor_critic(config, _spec(config))
    optimizer = build.optimizer(config.leq.optimizer, config.leq.updates)
    learner = LEQ(world_model, nets, optimizer, config)
    arrays = _steps(rng) | {
        "deter": rng.standard_normal((ENTRIES, c.deter), np.float32),
        "stoch": rng.integers(0, c.classes, (ENTRIES, c.stoch), np.uint8),
        "transition": np.arange(ENTRIES - 1, dtype=np.int32),
    }
    source, _ = place(arrays, Transitions(ENTRIES - 1, config.leq.batch), "device")
    state = learner.init(jax.jit(lambda key: nets.init(key, net.features))(key))
    return learner, state, source, f"{config.leq.batch} x {config.leq.horizon} steps"


def _spec(config: Any) -> Any:
    from dreamer_leq.world_models.latent import ObservationSpec

    return ObservationSpec(config.data.image_size, 0, ACTIONS)


def _steps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "action": rng.uniform(-1, 1, (ENTRIES, ACTIONS)).astype(np.float32),
        "reward": rng.uniform(0, 2, ENTRIES).astype(np.float32),
        "is_terminal": np.zeros(ENTRIES, bool),
    }


def _peak_bytes(device: Any) -> int:
    """Of the device where it counts, else of this process."""
    stats = device.memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _take(argv: list[str], flag: str, default: int) -> tuple[int, list[str]]:
    if flag not in argv:
        return default, argv
    at = argv.index(flag)
    return int(argv[at + 1]), argv[:at] + argv[at + 2 :]


def print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"dreamer-leq on {rows[0]['device']}")
    for name in ("phase", "one update", "updates/s", "range", "first", "peak memory"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["phase"],
            row["per_update"],
            f"{row['updates_per_second']:.3g}",
            f"{row['lowest']:.3g} … {row['highest']:.3g}",
            f"{row['first_update_seconds']:.1f} s",
            f"{row['peak_mib']:,.0f} MiB",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(sys.argv[1:])
