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

from dreamer_leq.data.sampling import Source
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
    """A dataset as a world model has it, by episodes to fit and held-out ones.

    `fit` draws transitions with their returns, as behaviour cloning does; `held_out`
    are all those of the others, [N] each, whose episodes begin where `first` is.
    """

    world_model: WorldModel
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


def divide(
    world_model: WorldModel, source: Source, is_first: np.ndarray, held: np.ndarray
) -> Split:
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
        world_model,
        replace(source, arrays=arrays, sampler=sampler),
        {name: np.asarray(x) for name, x in held_out.items()},
        is_first[held_rows],
    )


# --- the estimate


def offline_estimate(
    data: Split, nets: ActorCritic, params: dict[str, Params], gamma: float
) -> dict[str, Any]:
    """What the actor and the critic of `params` are worth on `data`, ready for JSON.

    Values are discounted, of rewards as LEQ sees them: at the states where the held-out
    episodes begin, in the mean, with a 95 % bootstrap interval over these episodes.
    None where the fit has not converged: `drift` is by how much all values would have
    to rise to leave no Bellman error in the mean.
    """
    held, first = data.held_out, data.first
    excess = partial(excess_values, cont=held["cont"], first=first, gamma=gamma)
    values = partial(held_out_values, data, params["actor"], gamma)
    judge = replace(nets.critic_config, output="scalar")
    judge = replace(nets, critic_config=judge)
    critic, drift = fit_critic(data, judge, params["actor"], gamma)
    judged, own = values(judge, critic), values(nets, params["critic"])
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


def fit_critic(
    data: Split, nets: ActorCritic, actor: Params, gamma: float
) -> tuple[Params, float]:
    """The critic of a frozen actor, and by how much all its values would have to rise
    to explain the Bellman errors in the last third of the updates.

    It begins with the returns of the data's own policies: from nothing, values would
    take tens of thousands of updates to grow over the horizon of γ. Nothing holds it
    near its own average, which would make it take as long from there; and it should be
    a number whatever the run's is, since a categorical one moves from bin to bin.
    """
    init_key, return_key, fqe_key = jax.random.split(jax.random.key(0), 3)
    critic = nets.init(init_key, data.world_model.feature_size)["critic"]
    fit = partial(_fit, data, nets, actor, gamma)
    critic = fit(critic, return_key, RETURN_UPDATES, bootstrapped=False).critic
    found = fit(critic, fqe_key, UPDATES, bootstrapped=True)
    return found.critic, float(_finite(found.error / found.share))


@struct.dataclass
class _Fit:
    """A critic in the making, and sums over the last third of its updates."""

    critic: Params
    opt_state: optax.OptState
    error: Array  # of temporal-difference errors
    share: Array  # of 1 - γ (1 - termination), what is left of an error of all values


def _fit(
    data: Split,
    nets: ActorCritic,
    actor: Params,
    gamma: float,
    critic: Params,
    key: Array,
    updates: int,
    bootstrapped: bool,
) -> _Fit:
    """`updates` of a critic, to its own Bellman targets or to the data's returns."""
    last = updates - updates // 3
    optimizer = _optimizer(last, updates - last if bootstrapped else 0)
    settings = nets, optimizer, bootstrapped, gamma, last
    zero = jnp.zeros(())
    found = _Fit(critic, optimizer.init(critic), zero, zero)
    feed, step = data.fit.feed(key, 0), 0
    try:
        while step < updates:
            arrays, n = feed.data(step, updates - step)
            given = data.world_model, actor, arrays, found, key, step, n
            found = _advance(feed.read, settings, *given)
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
    settings: tuple[ActorCritic, optax.GradientTransformation, bool, float, int],
    world_model: WorldModel,
    actor: Params,
    arrays: Any,
    found: _Fit,
    key: Array,
    first: int,
    n: int,
) -> _Fit:
    """`n` updates from update `first` on."""
    nets, optimizer, bootstrapped, gamma, last = settings

    def update(step: Array, found: _Fit) -> _Fit:
        batch, critic = read(arrays, key, step), found.critic
        seen = _seen(world_model, batch)
        target = batch["return"]
        if bootstrapped:
            target = _target(world_model, nets, actor, critic, batch, gamma)

        def loss(critic: Params) -> tuple[Array, Array]:
            out = nets.critic_out(critic, *seen)
            return nets.values.loss(out, target).mean(), target - nets.values.mean(out)

        gradient, error = jax.grad(loss, has_aux=True)(critic)
        changes, opt_state = optimizer.update(gradient, found.opt_state, critic)
        sums = error.mean(), 1 - gamma * batch["cont"].mean()
        error, share = (jnp.where(step >= last, x, 0.0) for x in sums)
        critic = optax.apply_updates(critic, changes)
        return _Fit(critic, opt_state, found.error + error, found.share + share)

    return jax.lax.fori_loop(first, first + n, update, found)


def _seen(world_model: WorldModel, batch: dict[str, Array]) -> tuple[Array, Array]:
    """What the critic sees of transitions: features [N, F] and actions [N, A]."""
    features = world_model.features(world_model.starts(batch))
    return features, world_model.action_features(batch["action"])


def _value(
    world_model: WorldModel,
    nets: ActorCritic,
    actor: Params,
    critic: Params,
    features: Array,
) -> Array:
    """Q(s, π(s)): [N, F] -> [N]."""
    action = world_model.action_features(nets.mode(actor, features))
    return nets.q(critic, features, action)


def _target(
    world_model: WorldModel,
    nets: ActorCritic,
    actor: Params,
    critic: Params,
    batch: dict[str, Array],
    gamma: float,
) -> Array:
    """r + γ (1 - termination) Q(s', π(s')): [N]."""
    successors = world_model.features(world_model.successors(batch))
    value = _value(world_model, nets, actor, critic, successors)
    ahead = jnp.where(batch["cont"] > 0, batch["cont"] * value, 0.0)
    return batch["reward"] + gamma * ahead


# --- does a critic agree with the rewards of the dataset's episodes?


@struct.dataclass
class CriticValues:
    """What actor and critic say of N transitions of the dataset."""

    value: Array  # [N] Q(s, π(s))
    td_error: Array  # [N] r + γ (1 - termination) Q(s', π(s')) - Q(s, a)


@partial(jax.jit, static_argnums=1)
def critic_values(
    world_model: WorldModel,
    nets: ActorCritic,
    actor: Params,
    critic: Params,
    batch: dict[str, Array],
    gamma: float,
) -> CriticValues:
    """Of a batch of transitions."""
    features, action = _seen(world_model, batch)
    target = _target(world_model, nets, actor, critic, batch, gamma)
    value = _value(world_model, nets, actor, critic, features)
    return CriticValues(value, target - nets.q(critic, features, action))


def held_out_values(
    data: Split, actor: Params, gamma: float, nets: ActorCritic, critic: Params
) -> CriticValues:
    """Of all held-out transitions, [N]."""
    judge = partial(critic_values, data.world_model, nets, actor, critic)
    batches = _batches(data.held_out)
    parts = [jax.device_get(judge(batch, gamma)) for batch in batches]
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
