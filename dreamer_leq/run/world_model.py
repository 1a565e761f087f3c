"""The first phase of a run: the world model, of any kind, on the run's dataset."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamer_leq.data.entries import (
    episode_firsts,
    episode_lasts,
    training_data,
    transition_starts,
)
from dreamer_leq.data.sampling import Everything, Source, Windows, place
from dreamer_leq.run import build
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.run.session import Run
from dreamer_leq.system.errors import UserError
from dreamer_leq.training.loop import PhaseRun
from dreamer_leq.world_models.chunks import ChunkModel, ChunkTraining
from dreamer_leq.world_models.ensemble_training import (
    EnsembleTraining,
    elites,
    end_epoch,
)
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.interface import Representation
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.latent_training import WorldModelTraining
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble
from dreamer_leq.world_models.vectors import Vectors


def fit_world_model(run: Run) -> Representation:
    """The trained world model; from its last checkpoint on, where there is one. One
    that others have shared is as it is.
    """
    checkpoints = run.session.checkpoints
    if checkpoints.has_weights("world_model"):
        return kind_of(run.config).load(run.config, run.facts, checkpoints)
    return _FITS[run.config.world_model](run)


def _fit_latent(run: Run) -> LatentWorldModel:
    c = run.config.latent
    net = build.latent_net(run.config, run.facts.observation)
    phase = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))

    def source() -> Source:
        sampler = Windows(len(run.dataset.reward), c.batch, c.length)
        names = (*net.encoders, "action", "is_first", "is_terminal")
        arrays = {name: getattr(run.dataset, name) for name in names}
        arrays["reward"] = run.reward
        where = (run.config.data.placement, run.devices)
        source, note = place(arrays, sampler, *where)
        run.log(f"dataset: {note}")
        return source

    training = run.phase("world_model", phase, source, c.updates)
    state = _first_state(training, run.key("world_model"))
    return build.latent_world_model(run.config, training.run(state).params, net)


def _fit_ensemble(run: Run) -> MLPEnsemble:
    c, seed = run.config.ensemble, run.config.seed
    net = build.ensemble_net(run.config, run.facts.observation)
    phase = EnsembleTraining(net, optax.adam(c.learning_rate))
    arrays = training_data(run.dataset, c.holdout, c.holdout_share, seed)
    source, _ = place(arrays, Everything(), "device", run.devices)
    data, n = source.arrays, len(arrays["train"])
    run.log(f"dataset: {n:,} transitions and {len(arrays['holdout'])} held out")
    epoch = phase.updates_per_epoch(n)
    training = run.phase("world_model", phase, lambda: source, c.epochs * epoch)
    key = run.key("epochs")
    training.refresh = lambda state, step: end_epoch(
        phase, state, data, jax.random.fold_in(key, step)
    )
    training.refresh_every = epoch
    training.finished = phase.finished
    best = training.run(_first_state(training, run.key("world_model"), data)).best
    errors = " ".join(f"{error:.3g}" for error in sorted(best.error.tolist()))
    run.log(f"ensemble: held-out errors {errors}; the first {c.elites} are elites")
    return elites(best, net, build.termination(run.config), run.facts.reward_transform)


def _fit_chunks(run: Run) -> ChunkModel:
    """Raises UserError where no episode is as long as a chunk."""
    c, dataset = run.config.chunks, run.dataset
    ends = dataset.is_first, dataset.is_terminal
    starts = transition_starts(*ends, steps=c.steps)
    if not len(starts):
        longest = episode_lasts(dataset.is_first) - episode_firsts(dataset.is_first)
        raise UserError(
            f"chunks.steps: {c.steps}, but the longest episode has {longest.max()} "
            f"steps: --chunks.steps {max(1, longest.max() // 2)} fits"
        )
    change = dataset.vector[starts + c.steps] - dataset.vector[starts]
    states = Vectors.of(dataset.vector[starts], True)
    net = build.chunk_net(run.config, run.facts.observation)
    phase = ChunkTraining(net, optax.adam(c.learning_rate))
    facts = (states, run.config, dataset, run.reward, run.log, run.devices)
    data = kind_of(run.config).transitions(*facts)
    training = run.phase(
        "world_model",
        phase,
        lambda: data.source(c.batch, ("chunk",), c.steps),
        c.updates,
    )
    given = states, Vectors.of(change, True).std
    state = training.run(_first_state(training, run.key("world_model"), *given))
    return ChunkModel(state.weights, net, run.config.gamma)


def _first_state(training: PhaseRun, *arguments: Any) -> Any:
    """What the phase's `init` makes of these arguments, once it is needed.

    The updates are compiled in the meantime. `init` itself is one program, since layer
    by layer takes several times as long to compile, and one with few optimisations: it
    runs once, for milliseconds, and they would double the time it takes to compile.
    """
    init, options = training.phase.init, {"xla_backend_optimization_level": 1}
    training.prepare(jax.eval_shape(init, *arguments))
    return jax.jit(init, compiler_options=options)(*arguments)


def _fit_vectors(run: Run) -> Vectors:
    """A phase without updates: it keeps the dataset's statistics."""
    standardize, dataset = run.config.vectors.standardize, run.dataset
    run.log(f"state vectors: {'standardised' if standardize else 'raw'}; no model")
    starts = transition_starts(dataset.is_first, dataset.is_terminal)
    vectors = Vectors.of(dataset.vector[starts], standardize)
    return run.phase("world_model", None, lambda: None, 0).run(vectors)


def _fit_frames(run: Run) -> Frames:
    """A phase without updates: the encoder is the policy's."""
    run.log("stacked frames: an encoder learns with the policy; no model")
    run.phase("world_model", None, lambda: None, 0).run({"none": jnp.zeros(())})
    return Frames(None, build.frame_net(run.config, run.facts.observation))


_FITS = {
    "latent": _fit_latent,
    "mlp_ensemble": _fit_ensemble,
    "chunks": _fit_chunks,
    "vectors": _fit_vectors,
    "frames": _fit_frames,
}
