"""All phases on state vectors, on random numbers of halfcheetah's and walker2d's sizes.

The papers' sizes, for CPUs and GPUs alike. LEQ's starts come from an expanded dataset,
as in a run, and imagined rows from a ring that a rollout has filled.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
from case import GRID, SEEDS, Case, Rare, Setup, made_up, side_by_side

from dreamer_leq.algorithms.learner import Learner
from dreamer_leq.config import Config
from dreamer_leq.data.sampling import Everything, Transitions
from dreamer_leq.run import build
from dreamer_leq.run.phases import refreshed
from dreamer_leq.world_models.ensemble_training import (
    Best,
    EnsembleTraining,
    elites,
    end_epoch,
)
from dreamer_leq.world_models.latent import ObservationSpec
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble
from dreamer_leq.world_models.vectors import Vectors
from vd4rl_loader.states import IDENTITY

SPEC = ObservationSpec(image_size=0, vector_size=17, action_size=6)
EPISODE = 1000  # transitions
# halfcheetah's imagination goes on to the horizon
ALGORITHMS = (
    *("td3_bc", "iql", "rebrac", "cql", "edac", "mopo", "combo", "rambo", "mobile"),
    *("mobile_star", "cbop"),
)
PAPER = ("--configs", "d4rl_mujoco", "--task", "halfcheetah-medium")


def ensemble(config: Config, transitions: int) -> Setup:
    """The training of all members; once an epoch they are validated and shuffled."""
    c = config.ensemble
    phase = EnsembleTraining(
        build.ensemble_net(config, SPEC), optax.adam(c.learning_rate)
    )
    held = max(1, min(c.holdout, transitions // 5))

    def make():
        starts = jax.random.permutation(jax.random.key(1), _starts(transitions))
        split = {"holdout": starts[:held], "train": starts[held:]}
        data = _transitions(transitions) | split
        return phase, phase.init(jax.random.key(0), data), data

    key = jax.random.key(2)
    epoch = Rare(
        "validating and shuffling",
        phase.updates_per_epoch(transitions - held),
        lambda phase, state, data: end_epoch(phase, state, data, key)[0],
    )
    size = f"{c.members} x {c.batch} of {transitions:,} transitions"
    return Setup(make, Everything(), size, "float32", epoch)


def behaviour_cloning(config: Config, transitions: int) -> Setup:
    return _policy(config, transitions, "bc")


def fitted_q(config: Config, transitions: int) -> Setup:
    return _policy(config, transitions, "fqe")


def leq(config: Config, transitions: int) -> Setup:
    """LEQ against an untrained ensemble; the dataset is expanded once in a while."""
    c = config.leq
    setup = _policy(config, transitions, "leq")
    size = f"{c.batch}+{c.batch}, H={c.horizon}, of {transitions:,} transitions"
    setup = replace(setup, size=size)
    if config.members:
        return side_by_side(setup, len(config.members))
    return _expanding(config, setup) if config.expansion.interval else setup


def algorithm(config: Config, transitions: int) -> Setup:
    """The algorithm that the flags name, of one seed or several; it refreshes its rows
    once in a while.
    """
    name = config.algorithm
    setup = _policy(config, transitions, name)
    if config.members:
        setup = side_by_side(setup, len(config.members))
    like = jax.eval_shape(lambda: _learner(config, name))
    if not like.refresh_every:
        return setup
    return _refreshing(setup, like.refreshed, like.refresh_every, like.refresh_rows)


def _learner(config: Config, name: str) -> Learner:
    """Against an untrained ensemble, or the vectors as they are."""
    size = SPEC.vector_size
    vectors = config.world_model == "vectors"
    world = Vectors(jnp.zeros(size), jnp.ones(size)) if vectors else _untrained(config)
    return build.learner(config, name, world, SPEC.action_size)


def _policy(config: Config, transitions: int, name: str) -> Setup:
    """A learner's phase."""
    phase = getattr(config, name)

    def make():
        learner = _learner(config, name)
        arrays = _transitions(transitions) | {"transition": _starts(transitions)}
        arrays |= made_up(arrays, learner.reads)
        hyper = {key: jnp.float32(v[0]) for key, v in config.varying.items()}
        return learner, learner.init(jax.random.key(1), hyper, {}), arrays

    sampler = Transitions(transitions, phase.batch, ("vector",))
    size = f"{phase.batch} of {transitions:,} transitions"
    return Setup(make, sampler, size, build.compute_dtype(config).name)


def _expanding(config: Config, setup: Setup) -> Setup:
    """With the expansion that fills the ring of D_model once in a while."""
    c = config.expansion
    return _refreshing(setup, "expanding the dataset", c.interval, c.starts)


def _refreshing(setup: Setup, what: str, every: int, rows: int) -> Setup:
    """With the learner's `refresh` from so many rows once in `every` updates."""
    sampler = replace(setup.sampler, batch=rows)
    gather = jax.jit(lambda arrays: sampler.gather(arrays, sampler.draw(key)))
    key = jax.random.key(3)

    def run(learner, state, arrays):
        given = gather(arrays), jax.random.key(4)
        if setup.members > 1:
            given = jax.tree.map(lambda x: jnp.stack([x] * setup.members), given)
        return refreshed(setup.members, learner, state, *given)[0]

    return replace(setup, rare=Rare(what, every, run))


def _untrained(config: Config) -> MLPEnsemble:
    net, inputs = build.ensemble_net(config, SPEC), SPEC.vector_size + SPEC.action_size
    best = Best(
        params=net.init(jax.random.key(6)),
        error=jnp.zeros(config.ensemble.members),
        mean=jnp.zeros(inputs),
        std=jnp.ones(inputs),
    )
    return elites(best, net, build.termination(config), IDENTITY)


def _transitions(transitions: int) -> dict[str, jax.Array]:
    """Entries of this many transitions in episodes of 1000."""
    entries = transitions + -(-transitions // EPISODE)
    keys = jax.random.split(jax.random.key(5), 3)
    return {
        "vector": jax.random.normal(keys[0], (entries, SPEC.vector_size)),
        "action": jax.random.uniform(keys[1], (entries, SPEC.action_size), minval=-1),
        "reward": jax.random.uniform(keys[2], (entries,)),
        "is_terminal": jnp.zeros(entries, bool),
    }


def _starts(transitions: int) -> jax.Array:
    """The entries that are not the last of their episode: int32."""
    i = jnp.arange(transitions)
    return i + i // EPISODE


def _case(about: str, setup: Callable[[Config, int], Setup]) -> Case:
    return Case(about, setup, PAPER, entries=1_000_000)


def _algorithm(name: str) -> Case:
    """An algorithm with its own preset, on the paper's data."""
    flags = (*PAPER[:2], name, *PAPER[2:])
    return replace(_case(f"{name}, states", algorithm), flags=flags)


def _seeds(name: str) -> Case:
    """As `_algorithm`: four seeds in one program, and one."""
    about = f"{name}, states: one and four seeds"
    return replace(_algorithm(name), about=about, variants=SEEDS, on=())


def _grid() -> Case:
    """Without expansions, which all members do alike."""
    case = _case("LEQ on state vectors: one and four τ", leq)
    flags = (*case.flags, "--expansion.interval", "0")
    return replace(case, flags=flags, variants=GRID)


CASES = {
    "state_ensemble": _case("ensemble of MLPs", ensemble),
    "state_bc": _case("behaviour cloning, states", behaviour_cloning),
    "state_fqe": _case("fitted Q evaluation, states", fitted_q),
    "state_leq": _case("LEQ on state vectors", leq),
    "state_grid": _grid(),
}
CASES |= {f"state_{name}": _algorithm(name) for name in ALGORITHMS}
CASES |= {f"seeds_{name}": _seeds(name) for name in ALGORITHMS}
