"""From a configuration to networks and optimisers."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from dreamer_leq.algorithms import learner_class
from dreamer_leq.algorithms.learner import Learner
from dreamer_leq.config import Config, Optimizer, tasks
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.optimizer import make_optimizer
from dreamer_leq.world_models.chunks import ChunkNet
from dreamer_leq.world_models.frames import FrameNet
from dreamer_leq.world_models.interface import Representation
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet
from dreamer_leq.world_models.termination import Termination


def compute_dtype(config: Config) -> jnp.dtype:
    """Type of matmuls and convolutions; everything else is float32 anyway."""
    precision = config.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)


def latent_net(config: Config, spec: ObservationSpec) -> LatentNet:
    return LatentNet(config.latent, spec, compute_dtype(config))


def latent_world_model(
    config: Config, params: Params, net: LatentNet
) -> LatentWorldModel:
    return LatentWorldModel(params, net, mode=config.encoding.act_on == "mode")


def frame_net(config: Config, spec: ObservationSpec) -> FrameNet:
    return FrameNet(config.frames, spec.image_size, compute_dtype(config))


def ensemble_net(config: Config, spec: ObservationSpec) -> EnsembleNet:
    learns_ends = config.about.rule == "learned"
    return EnsembleNet(config.ensemble, spec.vector_size, spec.action_size, learns_ends)


def chunk_net(config: Config, spec: ObservationSpec) -> ChunkNet:
    return ChunkNet(config.chunks, spec.vector_size, spec.action_size)


def termination(config: Config) -> Termination:
    """The task's rule, with the success region that the configuration chooses."""
    task = config.about
    radius = task.radius
    if task.goal and radius is None:
        radius = tasks.REGIONS[config.ensemble.region]
    return Termination(task.rule, task.goal, radius or 0.0)


def describe_ends(config: Config) -> str:
    """How imagined episodes end and how goals are rewarded, for the log."""
    rule = termination(config)
    if config.ensemble.termination == "learned":
        end = "as a network of the successor has it"
    elif rule.rule == "learned":
        end = "as a network of state and action has it"
    elif rule.goal:
        x, y = rule.goal
        end = f"within {rule.radius:g} m of ({x:g}, {y:g})"
    else:
        end = f"the rule of {rule.rule}"
    if rule.goal and config.ensemble.reward == "region":
        return f"{end}; reward 1 there, by the region and not by the ensemble"
    return f"{end}; rewards by the ensemble"


def optimizer(settings: Optimizer, updates: int) -> optax.GradientTransformation:
    """The optimiser of a phase of `updates` updates."""
    return make_optimizer(**dataclasses.asdict(settings), total=updates)


def learner(
    config: Config, phase: str, world: Representation, action_size: int
) -> Learner:
    """The learner of a run's phase, whose optimisers are as its section has them."""
    kind = learner_class(phase)
    nets = kind.nets_of(config, phase, action_size, compute_dtype(config))
    return kind.create(config, phase, world, nets)


def plain_networks(config: Config, action_size: int) -> ActorCritic:
    """Networks of a run's sizes with one critic, whatever its algorithm has."""
    dtype = compute_dtype(config)
    return ActorCritic(config.actor, config.critic, action_size, dtype)


def trained(config: Config, phase: str) -> tuple[str, ...]:
    """The networks that a run's phase trains."""
    section = getattr(config, phase)
    return learner_class(phase)(None, None, None, section, config.gamma).trained
