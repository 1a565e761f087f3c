"""Folders of runs that no training has changed, for what only has to be loaded."""

from types import SimpleNamespace

import jax
import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.data.opening import open_data, reward_transform
from dreamer_leq.run import build
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.world_models.chunks import ChunkWeights
from dreamer_leq.world_models.ensemble_training import Best
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.vectors import Vectors


def write_run(logdir, data, *presets, **keys):
    """A folder as a run on `data` leaves it, its networks as they begin."""
    keys = {"logdir": str(logdir), "data.path": str(data)} | keys
    config = configs.from_presets(*presets, "debug", **keys)
    dataset, path = open_data(config, log=lambda line: None)
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    folder = RunFolder(logdir)
    folder.begin(config, facts)
    world_model, world = _world_model(config, facts)
    learner = build.learner(config, config.algorithm, world, facts.action_size)
    networks = drawn(learner.networks)
    with folder.checkpoints(keep=1) as checkpoints:
        checkpoints.save("world_model", 0, world_model)
        checkpoints.save(config.algorithm, 0, {"params": networks})
    return folder


def drawn(init):
    """Parameters of the shapes that `init` makes, without compiling it."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        return np.float32(base + 0.3 * rng.normal(size=leaf.shape))

    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def _world_model(config, facts):
    """The state that is saved, and what its learner has to know of the world model."""
    if config.world_model == "latent":
        net = build.latent_net(config, facts.observation)
        return {"params": drawn(net.init)}, SimpleNamespace(feature_size=net.features)
    if config.world_model == "frames":
        net = build.frame_net(config, facts.observation)
        return {"none": np.zeros((), np.float32)}, Frames(None, net)
    size = SimpleNamespace(feature_size=facts.vector_size)
    if not config.imagines:
        vectors = np.zeros((1, facts.vector_size), np.float32)
        return Vectors.of(vectors, standardize=False), size
    if config.world_model == "chunks":
        net = build.chunk_net(config, facts.observation)
        states = Vectors.of(np.zeros((1, facts.vector_size), np.float32), True)
        return {"weights": ChunkWeights(drawn(net.init), states, states.std)}, size
    net = build.ensemble_net(config, facts.observation)
    inputs = net.vector_size + net.action_size
    errors = np.arange(net.config.members, dtype=np.float32)
    spread = np.zeros(inputs, np.float32), np.ones(inputs, np.float32)
    return {"best": Best(drawn(net.init), errors, *spread)}, size
