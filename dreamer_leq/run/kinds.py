"""The kinds of world models: how each is built, loaded, and gives transitions."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.data.frames import FrameData
from dreamer_leq.data.latents import LatentData
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.data.sampling import named_key
from dreamer_leq.data.transitions import TransitionData, VectorData
from dreamer_leq.run import build
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.training.checkpoints import Checkpoints, SharedCheckpoints
from dreamer_leq.world_models.chunks import ChunkModel, abstract_weights
from dreamer_leq.world_models.ensemble_training import abstract_best, elites
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.interface import Representation, WorldModel
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.vectors import Vectors
from vd4rl_loader.states import StateDataset

Log = Callable[[str], None]
AnyCheckpoints = Checkpoints | SharedCheckpoints


class Kind(Protocol):
    """What differs from one kind of world model to another."""

    saved: str | None  # the field of its checkpoints that is loaded; None: all of them

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> Representation:
        """The world model as the last checkpoint has it."""
        ...

    def transitions(
        self,
        world: Representation,
        config: Config,
        dataset: AnyDataset,
        reward: np.ndarray,
        log: Log,
        devices: Devices = ONE_DEVICE,
    ) -> TransitionData:
        """The dataset's transitions as states of the world model; reward: [N], as the
        algorithms see it.
        """
        ...

    def about_ends(self, config: Config) -> str | None:
        """How imagined episodes end, for the log, where a rule says so."""
        ...


def vector_transitions(
    world: Representation,
    config: Config,
    dataset: StateDataset,
    reward: np.ndarray,
    log: Log,
    devices: Devices = ONE_DEVICE,
) -> VectorData:
    """Those of state vectors, which are the states: nothing is encoded."""
    where = (config.data.placement, log, devices)
    return VectorData(world, dataset, reward, config.gamma, *where)


class Latent:
    """The RSSM, whose latents are encoded once and shared by all members of a grid."""

    saved = "params"

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> LatentWorldModel:
        net = build.latent_net(config, facts.observation)
        expected = jax.eval_shape(net.init, jax.random.key(0))
        params, _ = checkpoints.restore("world_model", expected, subtree=self.saved)
        return build.latent_world_model(config, params, net)

    def transitions(self, world, config, dataset, reward, log, devices=ONE_DEVICE):
        facts = (dataset, reward, named_key(0, "latents"), config.latent.length)
        where = (config.data.placement, log, devices, Path(config.folder, "latents"))
        samples = config.encoding.samples
        return LatentData(world, *facts, config.gamma, *where, samples=samples)

    def about_ends(self, config: Config) -> None:
        return None


class Ensemble:
    """The MLP ensemble on state vectors, which are its states."""

    saved = "best"

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> WorldModel:
        net = build.ensemble_net(config, facts.observation)
        expected = abstract_best(net)
        best, _ = checkpoints.restore("world_model", expected, subtree=self.saved)
        return elites(best, net, build.termination(config), facts.reward_transform)

    transitions = staticmethod(vector_transitions)

    def about_ends(self, config: Config) -> str:
        return build.describe_ends(config)


class ActionChunks:
    """The model of chunks of actions on state vectors, which are its states."""

    saved = "weights"

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> WorldModel:
        net = build.chunk_net(config, facts.observation)
        expected = abstract_weights(net)
        weights, _ = checkpoints.restore("world_model", expected, subtree=self.saved)
        return ChunkModel(weights, net, config.gamma)

    transitions = staticmethod(vector_transitions)

    def about_ends(self, config: Config) -> str:
        return "learned, as rewards are, for each step of a chunk"


class StateVectors:
    """No world model: state vectors as the dataset's statistics have them."""

    saved = None

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> Vectors:
        size = jnp.zeros(facts.vector_size)
        saved, _ = checkpoints.restore("world_model", Vectors(size, size))
        return saved

    transitions = staticmethod(vector_transitions)

    def about_ends(self, config: Config) -> None:
        return None


class StackedFrames:
    """No world model: stacks of images, and the encoder of each policy."""

    saved = None

    def load(
        self, config: Config, facts: DataFacts, checkpoints: AnyCheckpoints
    ) -> Frames:
        return Frames(None, build.frame_net(config, facts.observation))

    def transitions(self, world, config, dataset, reward, log, devices=ONE_DEVICE):
        where = (config.data.placement, log, devices)
        return FrameData(world, dataset, reward, config.gamma, *where)

    def about_ends(self, config: Config) -> None:
        return None


KINDS: dict[str, Kind] = {
    "latent": Latent(),
    "mlp_ensemble": Ensemble(),
    "chunks": ActionChunks(),
    "vectors": StateVectors(),
    "frames": StackedFrames(),
}


def kind_of(config: Config) -> Kind:
    """The kind of the run's world model."""
    return KINDS[config.world_model]
