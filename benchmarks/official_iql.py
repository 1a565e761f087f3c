"""The update of IQL's public JAX code, made by its own `Learner` with the flags of
D4RL's locomotion. Batches are drawn by its own dataset from random numbers.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np
from official_timing import Compiled, waiting
from stand_ins import one_by_one, stand_in
from turns import Facts

OBSERVATION, ACTION, BATCH, ROWS = 17, 6, 256, 100_000
# the defaults of its training script's configuration for locomotion
SETTINGS = {
    "hidden_dims": (256, 256),
    "expectile": 0.7,
    "temperature": 3.0,
    "max_steps": 1_000_000,
}


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of the update, and the seconds of n of them."""
    stand_in("d4rl", "gym", "gym.spaces")
    _as_old_jax_was()
    data = _dataset(importlib.import_module("dataset_utils").Dataset)
    batch = data.sample(BATCH)
    module = importlib.import_module("learner")
    one = (x[:1] for x in (batch.observations, batch.actions))
    learner = module.Learner(0, *one, **SETTINGS)
    rest = learner.discount, learner.tau, learner.expectile, learner.temperature
    state = [learner.rng, learner.actor, learner.critic, learner.value]
    state += [learner.target_critic]
    program = Compiled(module._update_jit, *state, batch, *rest)

    def update() -> Any:
        *state[:], metrics = program(*state, data.sample(BATCH), *rest)
        return metrics

    return program.facts | {"size": str(BATCH)}, one_by_one(waiting(update))


def _as_old_jax_was() -> None:
    """Two names that JAX has dropped, static arguments that a function lacks, and
    Flax's frozen dictionaries.
    """
    flax.config.update("flax_return_frozendict", True)
    for old in ("tree_map", "tree_multimap"):
        setattr(jax, old, jax.tree_util.tree_map)
    jit = jax.jit

    def lenient(function: Callable, static_argnames: Any = (), **options: Any) -> Any:
        wanted = (
            (static_argnames,) if isinstance(static_argnames, str) else static_argnames
        )
        known = inspect.signature(function).parameters
        return jit(
            function, static_argnames=[n for n in wanted if n in known], **options
        )

    jax.jit = lenient


def _dataset(kind: Callable) -> Any:
    draw = np.random.default_rng(0)
    states, following = draw.standard_normal((2, ROWS, OBSERVATION), np.float32)
    return kind(
        observations=states,
        actions=draw.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        rewards=draw.uniform(size=ROWS).astype(np.float32),
        masks=np.ones(ROWS, np.float32),
        dones_float=np.zeros(ROWS, np.float32),
        next_observations=following,
        size=ROWS,
    )
