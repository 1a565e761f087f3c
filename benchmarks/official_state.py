"""The official update of LEQ on state vectors, as its training script configures it.

Flags and configuration are the script's own. The weights are random, those of the
ensemble too, which the script reads from a file; and so are the batches.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from official_timing import Compiled, waiting
from stand_ins import one_by_one, stand_in
from turns import Facts

TASK, OBSERVATION, ACTION = "halfcheetah-medium-v2", 17, 6
UNUSED = ("cv2", "gym", "gym.spaces", "tensorboardX", "torch", "tqdm", "wandb")


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of the update, and the seconds of n of them; `sequences` have pixels
    alone.
    """
    stand_in(*UNUSED)
    script = importlib.import_module("train.train_LEQ")  # sets its XLA_FLAGS
    # the script has each number that goes to the device written to the terminal
    jax.config.update("jax_transfer_guard_host_to_device", "allow")
    flags = script.FLAGS
    flags(["train_LEQ.py", f"--env_name={TASK}", "--expectile=0.1"])
    draw = np.random.default_rng(0)
    batches = [_batch(flags.batch_size, draw) for _ in range(2)]
    learner = _learner(script, batches[0])
    rest = [learner.model, *batches, flags.model_batch_ratio, learner.discount]
    rest += [learner.soft_target_update, learner.expectile, learner.lamb]
    static = ("horizon_length", "num_repeat", "actor_update", "critic_update")
    state = [learner.rng, learner.actor, learner.critic, learner.target_critic]
    program = Compiled(
        importlib.import_module("algos.leq.learner")._update_jit,
        *state,
        *rest,
        **{name: getattr(learner, name) for name in static},
    )

    def update() -> Any:
        *state[:], metrics = program(*state, *rest)
        return metrics

    size = f"{flags.batch_size}+{flags.batch_size}, H={flags.horizon_length}"
    return program.facts | {"size": size}, one_by_one(waiting(update))


def _learner(script: ModuleType, batch: Any) -> Any:
    """Made as in the script's `main`."""
    flags = script.FLAGS
    return script.Learner(
        flags.seed,
        batch.observations,
        batch.actions,
        max_steps=flags.max_steps,
        model=_ensemble(script, batch),
        env_name=TASK,
        scaler=_scaler(),
        reward_scaler=(1.0, 0.0),
        horizon_length=flags.horizon_length,
        expectile=flags.expectile,
        hidden_dims=(flags.layer_size,) * flags.num_layers,
        discount=flags.discount,
        lamb=flags.lamb,
        num_repeat=flags.num_repeat,
        actor_update=flags.actor_update,
        critic_update=flags.critic_update,
        maintain_model=flags.maintain_model,
        **dict(flags.config),
    )


def _ensemble(script: ModuleType, batch: Any) -> Any:
    """Of the sizes in the configuration, which are those of the files it reads."""
    c, ensembles = (
        script.FLAGS.config,
        importlib.import_module("dynamics.ensemble_model_learner"),
    )
    members = ensembles.EnsembleWorldModel(
        c.num_models, c.num_elites, c.model_hidden_dims, OBSERVATION, ACTION
    )
    ends = script.get_termination_fn(task=TASK)
    sampled = ensembles.EnsembleDynamicModel(members, np.arange(c.num_elites), ends)
    key = script.common.PRNGKey(42)
    inputs = [key, key, batch.observations, batch.actions]
    model = script.common.Model.create(sampled, inputs=inputs)
    model.params["scaler"] = jnp.concatenate(_scaler())
    model.params["reward_scaler"] = jnp.array([1.0, 0.0])
    return model


def _scaler() -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the inputs, [1, D]."""
    inputs = OBSERVATION + ACTION
    return np.zeros((1, inputs), "float32"), np.ones((1, inputs), "float32")


def _batch(size: int, draw: np.random.Generator) -> Any:
    observations, following = draw.standard_normal((2, size, OBSERVATION), "float32")
    return importlib.import_module("common").Batch(
        observations=jnp.array(observations),
        actions=jnp.array(draw.uniform(-1, 1, (size, ACTION)), "float32"),
        rewards=jnp.array(draw.uniform(size=size), "float32"),
        masks=jnp.ones(size),
        next_observations=jnp.array(following),
        returns_to_go=None,
    )
