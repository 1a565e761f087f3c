"""What a policy is worth by a dataset alone.

Fitted Q evaluation of the frozen policy, by a critic that is fitted anew to most of the
episodes, in the same way for every run; LEQ's own critic is no judge, since its values
fall with τ by design. And whether a critic agrees with the rewards of the episodes that
were left out. Training itself has seen all episodes (docs/reading-a-run.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array

from dreamer_leq.data.sampling import Source, update_key
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.statistics import bootstrap_interval
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.system.errors import UserError
from dreamer_leq.world_models.interface import WorldModel

# Not of a run's configuration: estimates are compared, and have to be made alike.
HELD_OUT = 0.2  # share of the episodes
BATCH = 256
RETURN_UPDATES = 2000  # of the first fit, to the returns of the data's own policies
UPDATES = 6000  # of fitted Q evaluation, which begins there
LEARNING_RATE = 1e-3  # Adam's, with a cosine to 0 over the last third of the updates
TOLERANCE = 0.03  # share of the value by which a fit that has converged may drift
LARGEST = 1e9  # what a value that overflows is reported as: JSON has no infinity


# --- the episodes


@dataclass(frozen=True)
class Split:
    """A dataset's transitions, by episodes to fit and held-out ones.

    `fit` draws transitions with their returns, as behaviour cloning does; `held_out`
    are all those of the others, [N] each, whose episodes begin where `first` is.
    """

    fit: Source
    held_out: dict[str, np.ndarray]
    first: np.ndarray


def held_out_episodes(episodes: int) -> np.ndarray:
    """Which of them are held out, always the same ones: bool [E].

    Raises UserError for a single episode.
    """
    if episodes < 2:
        raise UserError("the dataset is one episode, of which none can be held out")
    held = np.zeros(episodes, bool)
    order = np.random.default_rng(0).permutation(episodes)
    held[order[: max(1, round(HELD_OUT * episodes))]] = True
    return held


def divide(source: Source, is_first: np.ndarray, held: np.ndarray) -> Split:
    """The transitions of `source` by episode; is_first [N] of all entries, held [E]."""
    rows = np.asarray(source.arrays["transition"])
    out = held[np.cumsum(is_first) - 1][rows]
    fit_rows, held_rows = rows[~out], rows[out]
    arrays = dict(source.arrays) | {"transition": fit_rows}
    if source.on_device:
        arrays = source.devices.replicate(arrays)
    sampler = replace(source.sampler, transitions=len(fit_rows))
    every = np.arange(len(held_rows))
    held_out = sampler.gather(dict(source.arrays) | {"transition": held_rows}, every)
    return Split(
        replace(source, arrays=arrays, sampler=sampler),
        {name: np.asarray(x) for name, x in held_out.items()},
        is_first[held_rows],
    )


# --- the estimate


def offline_estimate(
    data: Split, agent: Agent, nets: ActorCritic, gamma: float
) -> dict[str, Any]:
    """What an agent's policy and critic are worth on `data`, ready for JSON; `nets` are
    those of the judge, which has a critic of its own.

    Values are discounted, of rewards as training sees them: at the states where the
    held-out episodes begin, in the mean, with a 95 % bootstrap interval over these
    episodes. None where the fit has not converged: `drift` is by how much all values
    would have to rise to leave no Bellman error in the mean.
    """
    held, first = data.held_out, data.first
    excess = partial(excess_values, cont=held["cont"], first=first, gamma=gamma)
    judge, drift = fit_judge(data, agent, nets, gamma)
    judged, own = (held_out_values(data, one, gamma) for one in (judge, agent))
    fqe = _interval("value", judged.value[first])
    width = fqe["high"] - fqe["low"]
    converged = abs(drift) <= max(TOLERANCE * abs(fqe["value"]), width / 2)
    if not converged:
        fqe |= {"low": None, "high": None}
    residual = float(_finite(excess(judged.td_error)).mean())
    return {
        "discount": gamma,
        "episodes": int(first.sum()),
        "fqe": fqe | {"converged": converged, "drift": drift, "residual": residual},
        "calibration": _interval("bias", excess(own.td_error)),
        "critic": float(_finite(own.value[first]).mean()),
        "data_return": float(held["return"][first].mean()),
        "data_received": float(-excess(held["reward"]).mean()),
    }


def _interval(name: str, values: np.ndarray) -> dict[str, Any]:
    values = _finite(values)
    low, high = bootstrap_interval(values)
    return {name: float(values.mean()), "low": low, "high": high}


def _finite(x: Any) -> Any:
    x = np.nan_to_num(x, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST)
    return x.clip(-LARGEST, LARGEST)


# --- fitted Q evaluation


@struct.dataclass
class Judge:
    """An agent's policy, with a critic of its own that is fitted to it."""

    agent: Agent
    critic: Params
    nets: ActorCritic = struct.field(pytree_node=False)

    @property
    def world_model(self) -> WorldModel:
        return self.agent.world_model

    def policy(self, features: Array, key: Array) -> Array:
        """As the agent's: [N, F] -> [N, A]."""
        return self.agent.policy(features, key)

    def value(self, features: Array, action: Array) -> Array:
        """Q of an action in [-1, 1]: [N, F], [N, A] -> [N]."""
        return self.nets.values.mean(self.out(features, action))

    def out(self, features: Array, action: Array) -> Array:
        """What `nets.values` reads Q from: [N, outputs]."""
        seen = self.world_model.action_features(action)
        return self.nets.critic_out(self.critic, features, seen)


def fit_judge(
    data: Split, agent: Agent, nets: ActorCritic, gamma: float
) -> tuple[Judge, float]:
    """The judge of an agent, and by how much all its values would have to rise to
    explain the Bellman errors in the last third of the updates.

    It begins with the returns of the data's own policies: from nothing, values would
    take tens of thousands of updates to grow over the horizon of γ. Nothing holds it
    near its own average, which would make it take as long from there; and it is a
    number whatever `nets` have, since a categorical one moves from bin to bin.
    """
    scalar = replace(nets.critic_config, output="scalar")
    nets = replace(nets, critic_config=scalar)
    init_key, return_key, fqe_key = jax.random.split(jax.random.key(0), 3)
    critic = nets.init(init_key, agent.world_model.feature_size)["critic"]
    judge = Judge(agent, critic, nets)
    found = _fit(data, judge, gamma, return_key, RETURN_UPDATES, False)
    judge = judge.replace(critic=found.critic)
    found = _fit(data, judge, gamma, fqe_key, UPDATES, True)
    drift = float(_finite(found.error / found.share))
    return judge.replace(critic=found.critic), drift


@struct.dataclass
class _Fit:
    """A judge's critic in the making, and sums over the last third of its updates."""

    critic: Params
    opt_state: optax.OptState
    error: Array  # of temporal-difference errors
    share: Array  # of 1 - γ (1 - termination), what is left of an error of all values


def _fit(
    data: Split, judge: Judge, gamma: float, key: Array, updates: int, bootstrap: bool
) -> _Fit:
    """`updates` of a judge's critic, to its own Bellman targets or else to returns."""
    last = updates - updates // 3
    optimizer = _optimizer(last, updates - last if bootstrap else 0)
    settings = optimizer, bootstrap, gamma, last
    zero = jnp.zeros(())
    found = _Fit(judge.critic, optimizer.init(judge.critic), zero, zero)
    feed, step = data.fit.feed(key, 0), 0
    try:
        while step < updates:
            arrays, n = feed.data(step, updates - step)
            found = _advance(feed.read, settings, judge, arrays, found, key, step, n)
            step += n
    finally:
        feed.close()
    return found


@cache
def _optimizer(constant: int, falling: int) -> optax.GradientTransformation:
    """Adam whose rate falls to 0 after `constant` updates, or doesn't where that takes
    0; the same object every time, so that the runs of a grid share their programs.
    """
    if not falling:
        return optax.adam(LEARNING_RATE)
    end = optax.cosine_decay_schedule(LEARNING_RATE, falling)
    both = [optax.constant_schedule(LEARNING_RATE), end]
    return optax.adam(optax.join_schedules(both, [constant]))


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    read: Callable,
    settings: tuple[optax.GradientTransformation, bool, float, int],
    judge: Judge,
    arrays: Any,
    found: _Fit,
    key: Array,
    first: int,
    n: int,
) -> _Fit:
    """`n` updates from update `first` on."""
    optimizer, bootstrap, gamma, last = settings

    def update(step: Array, found: _Fit) -> _Fit:
        batch, values = read(arrays, key, step), judge.nets.values
        features = judge.world_model.features(judge.world_model.starts(batch))
        target = batch["return"]
        if bootstrap:
            now = judge.replace(critic=found.critic)
            target = _target(now, batch, gamma, update_key(key, step))

        def loss(critic: Params) -> tuple[Array, Array]:
            out = judge.replace(critic=critic).out(features, batch["action"])
            return values.loss(out, target).mean(), target - values.mean(out)

        gradient, error = jax.grad(loss, has_aux=True)(found.critic)
        changes, opt_state = optimizer.update(gradient, found.opt_state, found.critic)
        critic = optax.apply_updates(found.critic, changes)
        sums = error.mean(), 1 - gamma * batch["cont"].mean()
        error, share = (jnp.where(step >= last, x, 0.0) for x in sums)
        return _Fit(critic, opt_state, found.error + error, found.share + share)

    return jax.lax.fori_loop(first, first + n, update, found)


# --- does a critic agree with the rewards of the dataset's episodes?


@struct.dataclass
class CriticValues:
    """What a policy's critic says of N transitions of the dataset."""

    value: Array  # [N] Q(s, π(s))
    td_error: Array  # [N] r + γ (1 - termination) Q(s', π(s')) - Q(s, a)


@jax.jit
def critic_values(
    agent: Agent | Judge, batch: dict[str, Array], gamma: float
) -> CriticValues:
    """Of a batch of transitions."""
    now_key, next_key = jax.random.split(jax.random.key(0))
    features = agent.world_model.features(agent.world_model.starts(batch))
    value = agent.value(features, agent.policy(features, now_key))
    target = _target(agent, batch, gamma, next_key)
    return CriticValues(value, target - agent.value(features, batch["action"]))


def _target(
    agent: Agent | Judge, batch: dict[str, Array], gamma: float, key: Array
) -> Array:
    """r + γ (1 - termination) Q(s', π(s')): [N]."""
    features = agent.world_model.features(agent.world_model.successors(batch))
    value = agent.value(features, agent.policy(features, key))
    ahead = jnp.where(batch["cont"] > 0, batch["cont"] * value, 0.0)
    return batch["reward"] + gamma * ahead


def held_out_values(data: Split, agent: Agent | Judge, gamma: float) -> CriticValues:
    """Of all held-out transitions, [N]."""
    batches = _batches(data.held_out)
    parts = [jax.device_get(critic_values(agent, one, gamma)) for one in batches]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _batches(arrays: dict[str, np.ndarray], size: int = 4096) -> Iterator[dict]:
    for start in range(0, len(arrays["action"]), size):
        yield {name: x[start : start + size] for name, x in arrays.items()}


def excess_values(
    td_error: np.ndarray, cont: np.ndarray, first: np.ndarray, gamma: float
) -> np.ndarray:
    """How much more each episode was predicted to bring than it brought: -Σ γ^t δ_t up
    to its termination, [N] transitions -> [E] episodes.

    Its mean is 0 for the policy's true Q, whoever acted in the episodes: their return
    is V(s_0) plus the discounted advantages of the actions that were taken (performance
    difference lemma, Kakade & Langford 2002). What is cut off counts as Q has it.

    first [N]: an episode begins with this transition.
    """
    starts = np.flatnonzero(first)
    excess = np.empty(len(starts))
    for i, (start, end) in enumerate(
        zip(starts, [*starts[1:], len(first)], strict=True)
    ):
        going_on = np.cumprod(np.append(1.0, gamma * cont[start : end - 1]))
        excess[i] = -(going_on * td_error[start:end]).sum()
    return excess
