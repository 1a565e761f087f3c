"""Speed and peak memory of the phases on state vectors, at a preset's sizes.

    python benchmarks/state.py                      # the paper's, 1M transitions
    python benchmarks/state.py --configs maze --transitions 200000

Each phase runs in a process of its own, so that its peak memory is its own. Data are
random numbers of halfcheetah's and walker2d's sizes (17 and 6) on the device, as
datasets that fit are. LEQ's starts come from an expanded dataset, as in a run. An epoch
of the ensemble is scaled from a part of it: its updates all cost the same. GFLOP are
those of the matrix products, counted in the program; the peak is that of one large
product in the same process.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, Jaxpr
from measuring import Advance, in_processes, peak_memory
from rich.console import Console
from rich.table import Table

from dreamer_leq import build
from dreamer_leq.config import Config, from_presets
from dreamer_leq.errors import UserError
from dreamer_leq.fit_policy import expand_dataset
from dreamer_leq.leq.learner import LEQ
from dreamer_leq.training.ensemble import EnsembleTraining, elites, end_epoch
from dreamer_leq.training.sources import Everything, Resident, Source, Transitions
from dreamer_leq.world_models.latent import ObservationSpec
from vd4rl_loader.states import IDENTITY

TASK = "halfcheetah-medium"  # 17 and 6 numbers, and imagination that goes on
VECTOR, ACTIONS, EPISODE = 17, 6, 1000
SECONDS = 2.0  # a repeat is about as long as a dispatch of the real loop
PEAK_SIDE = {"cpu": 1024}  # of the product that measures the peak; others: 8192
PHASES = {"ensemble": "ensemble", "leq": "LEQ"}


@dataclasses.dataclass
class Result:
    """What a phase took."""

    rate: float  # updates per second, the median of the repeats
    slowest: float
    fastest: float
    gflop: float  # per update
    peak: float  # GFLOP per second of a large matrix product
    compilation: float  # CPU-seconds, of all threads
    rest: float  # seconds of what is done more rarely than an update
    memory: int  # peak, bytes
    where: str  # the memory that was measured, and the device


@dataclasses.dataclass
class Setup:
    """A phase ready to run, and what it does more rarely than an update."""

    phase: Any
    state: Any
    feed: Resident
    rare: Callable[[Any], Any]  # state -> state


def main() -> int:
    args = parse()
    try:
        config = configuration(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.phase:
        print(json.dumps(dataclasses.asdict(measure(args.phase, config, args))))
        return 0
    found = in_processes(__file__, list(PHASES))
    if isinstance(found, int):
        return found
    results = {name: Result(**values) for name, values in found.items()}
    show(args, config, results)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    presets = ["d4rl_mujoco"]
    parser.add_argument("--configs", nargs="+", default=presets, help="in order")
    parser.add_argument(
        "--transitions", type=int, default=1_000_000, help="of the dataset (1 million)"
    )
    parser.add_argument(
        "--updates", type=int, help="per repeat; 2 seconds if not given"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--phase", choices=PHASES, help="measure this one here, as JSON"
    )
    return parser.parse_args()


def configuration(args: argparse.Namespace) -> Config:
    """The presets, for data of the benchmark's sizes."""
    for name, least in {"transitions": 2, "updates": 1, "repeats": 1}.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name}: has to be at least {least}, got {value}")
    config = from_presets(*args.configs, task=TASK)
    if config.world_model != "mlp_ensemble":
        raise UserError(f"--configs: {config.world_model} is for benchmarks/pixel.py")
    return config


def measure(name: str, config: Config, args: argparse.Namespace) -> Result:
    """One phase in the real loop's program, in this process."""
    setup = {"ensemble": ensemble_phase, "leq": leq_phase}[name](
        config, args.transitions
    )
    peak = [matmul_peak()]
    advance = Advance(setup.phase, setup.state, setup.feed)
    before = time.process_time()
    advance.seconds(1)
    compilation = time.process_time() - before
    second = advance.seconds(1)
    n = args.updates or max(1, round(SECONDS / second))
    rates = [n / advance.seconds(n) for _ in range(args.repeats)]
    peak.append(matmul_peak())
    program = jax.make_jaxpr(advance.update)(advance.data, advance.state)
    return Result(
        rate=median(rates),
        slowest=min(rates),
        fastest=max(rates),
        gflop=product_flops(program.jaxpr) / 1e9,
        peak=max(peak),
        compilation=compilation,
        rest=rare_seconds(setup, advance.state),
        **dict(zip(("memory", "where"), peak_memory(), strict=True)),
    )


def rare_seconds(setup: Setup, state: Any) -> float:
    """Time of what is done more rarely, compiled."""
    for _ in range(2):  # the first one compiles
        start = time.perf_counter()
        state = jax.block_until_ready(setup.rare(state))
    return time.perf_counter() - start


def product_flops(program: Jaxpr) -> int:
    """Of all matrix products; XLA's own count takes a scan's body once."""
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = np.prod([shape[axis] for axis in contracted], dtype=int)
            total += 2 * int(inner) * equation.outvars[0].aval.size
        times = equation.params.get("length", 1)  # a scan's
        total += times * sum(map(product_flops, inner_programs(equation.params)))
    return total


def inner_programs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def matmul_peak() -> float:
    """GFLOP per second of a large product, float32 at JAX's default precision."""
    side, times = PEAK_SIDE.get(jax.default_backend(), 8192), 20
    matrix = jax.random.normal(jax.random.key(0), (side, side))

    @jax.jit
    def run(x):
        step = lambda _, x: jnp.tanh(x @ matrix)  # noqa: E731  keeps it finite
        return jax.lax.fori_loop(0, times, step, x)

    jax.block_until_ready(run(matrix))
    start = time.perf_counter()
    jax.block_until_ready(run(matrix))
    return times * 2 * side**3 / (time.perf_counter() - start) / 1e9


def ensemble_phase(config: Config, transitions: int) -> Setup:
    """The training of all members on made-up transitions."""
    net = build.ensemble_net(config, ObservationSpec(0, VECTOR, ACTIONS))
    phase = EnsembleTraining(net, optax.adam(config.ensemble.learning_rate))
    starts = transition_starts(transitions)
    held = max(1, min(config.ensemble.holdout, transitions // 5))
    split = {"holdout": starts[:held], "train": starts[held:]}
    data = made_up(transitions) | split
    state = jax.jit(lambda key, data: phase.init(key, data))(jax.random.key(0), data)
    key = jax.random.key(2)
    rare = lambda state: end_epoch(phase, state, data, key)[0]  # noqa: E731
    return Setup(phase, state, Resident(data, Everything()), rare)


def leq_phase(config: Config, transitions: int) -> Setup:
    """LEQ against an untrained ensemble, from an expanded dataset."""
    spec = ObservationSpec(0, VECTOR, ACTIONS)
    ensemble = ensemble_phase(config, min(transitions, 10_000))
    rule = build.termination(config)
    model = elites(ensemble.state.best, ensemble.phase.net, rule, IDENTITY)
    nets = build.actor_critic(config, spec)
    learner = LEQ(model, nets, build.leq_optimizer(config), config)
    params = jax.jit(nets.init, static_argnums=1)(jax.random.key(1), VECTOR)
    starts = transition_starts(transitions)
    arrays = made_up(transitions) | {"transition": starts}
    sampler = Transitions(len(starts), config.leq.batch, ("vector",))
    source = Source(arrays, sampler, on_device=True)

    def rare(state):
        if not config.expansion.interval:
            return state
        batch = source.sample(jax.random.key(3), config.expansion.starts)
        return expand_dataset(1, learner, state, batch, jax.random.key(4))

    state = learner.init(params)
    if config.expansion.interval:
        state = learner.open_ring(state, source.sample(jax.random.key(2), 1))
    return Setup(learner, rare(state), Resident(arrays, sampler), rare)


def made_up(transitions: int) -> dict[str, jax.Array]:
    """Entries of `transitions` transitions in episodes of 1000."""
    entries = transitions + -(-transitions // EPISODE)
    keys = jax.random.split(jax.random.key(5), 3)
    return {
        "vector": jax.random.normal(keys[0], (entries, VECTOR)),
        "action": jax.random.uniform(keys[1], (entries, ACTIONS), minval=-1),
        "reward": jax.random.uniform(keys[2], (entries,)),
        "is_terminal": jnp.zeros(entries, bool),
    }


def transition_starts(transitions: int) -> jax.Array:
    """The entries that are not the last of their episode, in random order."""
    i = np.random.default_rng(0).permutation(transitions)
    return jnp.int32(i + i // EPISODE)


def show(args: argparse.Namespace, config: Config, results: dict[str, Result]) -> None:
    table = Table(title=f"{' '.join(args.configs)}: {args.transitions:,} transitions")
    table.add_column("phase")
    columns = ("updates/s", "from - to", "GFLOP each", "of peak", "compiles in")
    for column in (*columns, "memory"):
        table.add_column(column, justify="right")
    for name, result in results.items():
        table.add_row(
            PHASES[name],
            f"{result.rate:.3g}",
            f"{result.slowest:.3g} - {result.fastest:.3g}",
            f"{result.gflop:.3g}",
            f"{result.rate * result.gflop / result.peak:.0%}",
            f"{result.compilation:.1f} CPU-s",
            f"{result.memory / 2**20:,.0f} MiB",
        )
    table.caption = "\n".join(captions(args, config, results))
    Console().print(table)


def captions(
    args: argparse.Namespace, config: Config, results: dict[str, Result]
) -> Iterator[str]:
    ensemble, leq = results["ensemble"], results["leq"]
    updates = max(1, args.transitions // config.ensemble.batch)
    epoch = updates / ensemble.rate + ensemble.rest
    yield (
        f"an epoch of the ensemble: {epoch:.1f} s, scaled ({updates:,} updates at that "
        f"rate, {ensemble.rest:.2g} s to validate and shuffle)"
    )
    if every := config.expansion.interval:
        share = leq.rest / (leq.rest + every / leq.rate)
        yield (
            f"an expansion of the dataset: {leq.rest:.2g} s, every {every:,} updates "
            f"({share:.1%} of LEQ's time)"
        )
    peaks = " and ".join(f"{result.peak:,.0f}" for result in results.values())
    yield f"peak: {peaks} GFLOP/s; memory: {leq.where}"


if __name__ == "__main__":
    sys.exit(main())
