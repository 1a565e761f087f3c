"""From a configuration to networks and optimisers."""

import jax
import jax.numpy as jnp
import optax

from dreamer_leq.config import Config, Optimizer
from dreamer_leq.leq.networks import ActorCritic
from dreamer_leq.training.optimizer import make_optimizer
from dreamer_leq.world_models.latent import LatentNet, ObservationSpec


def compute_dtype(config: Config) -> jnp.dtype:
    """Type of matmuls and convolutions; everything else is float32 anyway."""
    precision = config.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)


def latent_net(config: Config, spec: ObservationSpec) -> LatentNet:
    return LatentNet(config.latent, spec, compute_dtype(config))


def actor_critic(config: Config, spec: ObservationSpec) -> ActorCritic:
    dtype = compute_dtype(config)
    return ActorCritic(config.actor, config.critic, spec.action_size, dtype)


def optimizer(settings: Optimizer, updates: int) -> optax.GradientTransformation:
    """The optimiser of a phase of `updates` updates."""
    return make_optimizer(
        settings.learning_rate,
        settings.warmup,
        updates,
        settings.schedule,
        settings.agc,
        settings.beta1,
        settings.beta2,
        settings.eps,
    )
