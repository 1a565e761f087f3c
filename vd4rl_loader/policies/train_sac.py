"""Trains the policies of this folder: soft actor-critic on dm_control states, in JAX.

    python -m vd4rl_loader.policies.train_sac walker_walk --steps 150000 --out DIR

One core suffices (about 130 agent steps per second). Not part of the package's work:
kept so that everyone can see, and redo, where the policies come from. Those of
Gymnasium's tasks come from `train_sac_gym`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vd4rl_loader.collection.policies import Policy
from vd4rl_loader.simulators.simulate import PixelEnv, Step

WIDTH = 256
UPDATES_AT_ONCE = 16  # and as many agent steps in between
BATCH = 256
DISCOUNT = 0.99
TARGET_RATE = 0.005
CHECKPOINT_EVERY = 5_000
EVALUATION_SEED, EVALUATION_EPISODES = 12345, 10


class Env(Protocol):
    """An environment as `PixelEnv` is, without its images."""

    action_size: int
    observation: np.ndarray

    def reset(self) -> Step: ...

    def step(self, action: np.ndarray) -> Step: ...


class Task(NamedTuple):
    """A task to learn: `make(seed)` gives an environment."""

    name: str
    make: Callable[[int], Env]
    random_steps: int = 2_000


class Learner(NamedTuple):
    """Networks are lists of (weight [I, O], bias [O])."""

    params: dict  # actor, critics (two), log_alpha
    targets: list
    optimizer: optax.OptState
    key: jax.Array


class Batch(NamedTuple):
    """Transitions, each field [..., B, *]."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    continues: jax.Array  # 0 where the task ended, else 1


def make_network(key, sizes):
    """He initialisation, with an almost silent last layer."""
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        key, layer_key = jax.random.split(key)
        scale = np.sqrt(2.0 / inputs) if i < len(sizes) - 2 else 1e-2
        weight = scale * jax.random.normal(layer_key, (inputs, outputs))
        layers.append((weight, jnp.zeros(outputs)))
    return layers


def apply_network(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def sample_action(actor, observation, key):
    """Returns tanh(u) with u ~ N(mean, std), and its log-density."""
    mean, log_std = jnp.split(apply_network(actor, observation), 2, -1)
    log_std = jnp.clip(log_std, -10, 2)
    noise = jax.random.normal(key, mean.shape)
    u = mean + jnp.exp(log_std) * noise
    log_prob = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    log_prob -= 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))
    return jnp.tanh(u), log_prob.sum(-1)


def values(critics, observation, action):
    """Both critics' values, [2, B]."""
    inputs = jnp.concatenate([observation, action], -1)
    return jnp.stack([apply_network(critic, inputs)[..., 0] for critic in critics])


def loss(params, learner: Learner, batch: Batch, keys):
    """Critic, actor and temperature losses, each with its own gradient path."""
    frozen = jax.lax.stop_gradient(params)
    alpha = jnp.exp(frozen["log_alpha"])
    next_action, next_log_prob = sample_action(
        frozen["actor"], batch.next_observation, keys[0]
    )
    next_value = values(learner.targets, batch.next_observation, next_action).min(0)
    soft_value = next_value - alpha * next_log_prob
    target = batch.reward + DISCOUNT * batch.continues * soft_value
    errors = values(params["critics"], batch.observation, batch.action) - target
    action, log_prob = sample_action(params["actor"], batch.observation, keys[1])
    value = values(frozen["critics"], batch.observation, action).min(0)
    entropy_gap = jax.lax.stop_gradient(log_prob - action.shape[-1])
    return (
        (errors**2).mean(1).sum()
        + (alpha * log_prob - value).mean()
        - (params["log_alpha"] * entropy_gap).mean()
    )


@partial(jax.jit, static_argnums=0)
def update(optimizer, learner: Learner, batches: Batch) -> Learner:
    """One update per leading entry of `batches`."""

    def one(learner: Learner, batch: Batch):
        key, *keys = jax.random.split(learner.key, 3)
        gradient = jax.grad(loss)(learner.params, learner, batch, keys)
        step, optimizer_state = optimizer.update(gradient, learner.optimizer)
        params = optax.apply_updates(learner.params, step)
        targets = optax.incremental_update(
            params["critics"], learner.targets, TARGET_RATE
        )
        return Learner(params, targets, optimizer_state, key), None

    return jax.lax.scan(one, learner, batches)[0]


def make_learner(seed: int, observation_size: int, action_size: int, optimizer):
    key, *keys = jax.random.split(jax.random.PRNGKey(seed), 4)
    hidden = [WIDTH, WIDTH]
    params = {
        "actor": make_network(keys[0], [observation_size, *hidden, 2 * action_size]),
        "critics": [
            make_network(k, [observation_size + action_size, *hidden, 1])
            for k in keys[1:]
        ],
        "log_alpha": jnp.zeros(()),
    }
    return Learner(params, params["critics"], optimizer.init(params), key)


def numpy_policy(learner: Learner) -> Policy:
    return Policy(
        tuple((np.asarray(w), np.asarray(b)) for w, b in learner.params["actor"])
    )


def save_policy(path: Path, policy: Policy) -> None:
    arrays = {}
    for i, (weight, bias) in enumerate(policy.layers):
        arrays[f"w{i}"], arrays[f"b{i}"] = np.float16(weight), np.float16(bias)
    np.savez_compressed(path, **arrays)


def make_memory(steps: int, observation_size: int, action_size: int) -> Batch:
    """Room for so many transitions."""
    shapes = (observation_size,), (action_size,), (), (observation_size,), ()
    return Batch(*(np.zeros((steps, *shape), np.float32) for shape in shapes))


def train(task: Task, seed: int, steps: int, rate: float, out: Path) -> dict:
    """Trains and saves checkpoints; returns the policies by agent steps."""
    rng = np.random.default_rng(seed)
    env = task.make(seed)
    step = env.reset()
    optimizer = optax.adam(rate)
    sizes = len(env.observation), env.action_size
    learner = make_learner(seed, *sizes, optimizer)
    memory = make_memory(steps, *sizes)
    policy, saved = numpy_policy(learner), {}
    for i in range(steps):
        if step.is_last:
            step = env.reset()
        memory.observation[i] = env.observation
        if i < task.random_steps:
            action = rng.uniform(-1, 1, env.action_size).astype(np.float32)
        else:
            action = policy.act(env.observation, rng, "sampled")
        step = env.step(action)
        memory.action[i], memory.reward[i] = action, step.reward
        memory.next_observation[i] = env.observation
        memory.continues[i] = not step.is_terminal
        if i >= task.random_steps and (i + 1) % UPDATES_AT_ONCE == 0:
            rows = rng.integers(0, i + 1, (UPDATES_AT_ONCE, BATCH))
            batches = Batch(*(field[rows] for field in memory))
            learner = update(optimizer, learner, batches)
            policy = numpy_policy(learner)
        if (i + 1) % CHECKPOINT_EVERY == 0:
            saved[i + 1] = policy
            save_policy(out / f"{i + 1:07d}.npz", policy)
            print(
                task.name, i + 1, measure(task, policy, "mean", episodes=3), flush=True
            )
    return saved


def measure(task: Task, policy: Policy | None, mode: str, episodes: int) -> list[float]:
    """Mean and standard deviation of the return; without a policy, of random play."""
    env, rng = task.make(EVALUATION_SEED), np.random.default_rng(0)
    returns = []
    for _ in range(episodes):
        step, total = env.reset(), 0.0
        while not step.is_last:
            if policy is None:
                action = rng.uniform(-1, 1, env.action_size)
            else:
                action = policy.act(env.observation, rng, mode)
            step = env.step(action)
            total += step.reward
        returns.append(total)
    return [round(float(np.mean(returns)), 1), round(float(np.std(returns)), 1)]


def summarize(task: Task, policies: dict[int, Policy]) -> dict:
    """The record `returns.json`: medium is the checkpoint nearest half the expert's."""
    checkpoints = [
        {
            "steps": steps,
            "mean_action": measure(task, policy, "mean", EVALUATION_EPISODES),
            "sampled_action": measure(task, policy, "sampled", EVALUATION_EPISODES),
        }
        for steps, policy in policies.items()
    ]
    half = checkpoints[-1]["mean_action"][0] / 2
    medium = min(checkpoints, key=lambda each: abs(each["mean_action"][0] - half))
    return {
        "task": task.name,
        "random": measure(task, None, "uniform", EVALUATION_EPISODES),
        "medium": medium["steps"],
        "expert": checkpoints[-1]["steps"],
        "checkpoints": checkpoints,
        "episodes": EVALUATION_EPISODES,
    }


def run(task: Callable[[str], Task]) -> None:
    """The command: makes a task of its name, trains, and writes everything."""
    parser = argparse.ArgumentParser(description="Trains state policies for a task.")
    parser.add_argument("task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = task(args.task)
    policies = train(chosen, args.seed, args.steps, args.rate, args.out)
    returns = summarize(chosen, policies)
    (args.out / "returns.json").write_text(json.dumps(returns, indent=1))


if __name__ == "__main__":
    run(lambda name: Task(name, lambda seed: PixelEnv(name, None, seed)))
