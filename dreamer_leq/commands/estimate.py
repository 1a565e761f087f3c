"""What a policy is worth by the dataset alone: to choose among runs, such as those of a
grid of τ, without the environment.

Fitted Q evaluation of the frozen policy, by a critic that is fitted anew to most of the
episodes, in the same way for every run; LEQ's own critic is no judge, since its values
fall with τ by design. And whether LEQ's critic agrees with the rewards of the episodes
that were left out. LEQ itself has seen all episodes (docs/reading-a-run.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import Array

from dreamer_leq.algorithms.bc import BC
from dreamer_leq.algorithms.fqe import FQE
from dreamer_leq.config import Config
from dreamer_leq.data.latents import LatentData
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.data.sampling import Source, named_key, update_key
from dreamer_leq.evaluation.statistics import bootstrap_interval
from dreamer_leq.evaluation.td_errors import CriticValues, critic_values, excess_values
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.optimizer import by_group
from dreamer_leq.run.analysis_files import OFFLINE, write
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.system.errors import UserError
from dreamer_leq.world_models.interface import WorldModel

# Not of a run's configuration: estimates are compared, and have to be made alike.
HELD_OUT = 0.2  # share of the episodes
BATCH = 256
RETURN_UPDATES = 2000  # of the first fit, to the returns of the data's own policies
UPDATES = 6000  # of fitted Q evaluation, which begins there
LEARNING_RATE = 1e-3  # Adam's, constant and then with a cosine to 0

Log = Callable[[str], None]


@dataclass(frozen=True)
class Transitions:
    """The dataset as a run's world model has it, by episodes to fit and held-out ones.

    `fit` draws transitions with their returns, as behaviour cloning does; `held_out`
    are all those of the others, [N] each, whose episodes begin where `first` is.
    """

    world_model: WorldModel
    fit: Source
    held_out: dict[str, np.ndarray]
    first: np.ndarray


def write_offline(
    folder: RunFolder, dataset: AnyDataset, log: Log
) -> list[dict[str, Any]]:
    """Estimate a run, or each of a grid's members, on its dataset into its
    analysis/offline.json; returns what is written.

    Raises UserError where there is no policy.
    """
    runs = folder.runs
    config, world_model = folder.config, folder.load_world_model()
    agents = [run.load_agent(world_model) for run in runs]
    transitions = open_transitions(folder, world_model, dataset, log)
    found = []
    for run, agent in zip(runs, agents, strict=True):
        nets, params = agent.learner.nets, agent.params
        estimate = offline_estimate(transitions, nets, params, config)
        estimate = {"tau": getattr(run.config.own, "tau", 0.5), **estimate}
        estimate["sentence"] = _sentence(estimate)
        write(run, OFFLINE, estimate)
        log(estimate["sentence"])
        found.append(estimate)
    return found


def open_transitions(
    folder: RunFolder, world_model: WorldModel, dataset: AnyDataset, log: Log
) -> Transitions:
    """The dataset of a run.

    Raises UserError where its latents don't fit into memory or it is one episode.
    """
    config, facts = folder.config, folder.facts
    first, reward = np.asarray(dataset.is_first), facts.rewards(dataset)
    data = kind_of(config).transitions(world_model, config, dataset, reward, log)
    if isinstance(data, LatentData) and not data.fits:
        raise UserError("the latents of the dataset don't fit into memory")
    held = held_out_episodes(int(first.sum()))
    return divide(world_model, data.source(BATCH, ("return",)), first, held)


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
) -> Transitions:
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
    return Transitions(
        world_model,
        replace(source, arrays=arrays, sampler=sampler),
        {name: np.asarray(x) for name, x in held_out.items()},
        is_first[held_rows],
    )


def offline_estimate(
    data: Transitions, nets: ActorCritic, params: dict[str, Params], config: Config
) -> dict[str, Any]:
    """What the actor and the critic of `params` are worth on `data`, ready for JSON.

    Values are discounted, of rewards as LEQ sees them: at the states where the held-out
    episodes begin, in the mean, with a 95 % bootstrap interval over these episodes.
    """
    fitted = fit_critic(data, nets, params["actor"], config)
    judged, own = (
        held_out_values(
            data, nets, {"actor": params["actor"], "critic": critic}, config
        )
        for critic in (fitted, params["critic"])
    )
    gamma, held, first = config.gamma, data.held_out, data.first
    residual = excess_values(judged.td_error, held["cont"], first, gamma)
    bias = excess_values(own.td_error, held["cont"], first, gamma)
    starts = judged.value[first]
    return {
        "discount": gamma,
        "episodes": len(starts),
        "fqe": _interval("value", starts) | {"residual": float(residual.mean())},
        "calibration": _interval("bias", bias),
        "critic": float(own.value[first].mean()),
        "data_return": float(held["return"][first].mean()),
    }


def fit_critic(
    data: Transitions, nets: ActorCritic, actor: Params, config: Config
) -> Params:
    """The critic of a frozen actor by fitted Q evaluation.

    It begins with the returns of the data's own policies: from nothing, values would
    take tens of thousands of updates to grow over the horizon of γ.
    """
    init_key, return_key, fqe_key = jax.random.split(named_key(0, "offline"), 3)
    wm = data.world_model
    fresh = nets.init(init_key, wm.feature_size)["critic"]
    to_returns = replace(config.bc, critic="monte_carlo")
    settings = to_returns, config.gamma
    phase = BC(wm, nets, optax.adam(LEARNING_RATE), *settings)
    given = {"actor": actor, "critic": fresh}
    state = phase.init(init_key, {}, given)
    critic = _fit(phase, state, data.fit, return_key, RETURN_UPDATES).params["critic"]
    falling = optax.cosine_decay_schedule(LEARNING_RATE, UPDATES)
    rule = by_group(lambda name: rates[name])
    rates = {"critic": optax.adam(falling), "actor": optax.set_to_zero()}
    phase = FQE(wm, nets, rule, config.fqe, config.gamma)
    state = phase.init(init_key, {}, {"actor": actor, "critic": critic})
    return _fit(phase, state, data.fit, fqe_key, UPDATES).params["critic"]


def _fit(phase: Any, state: Any, source: Source, key: Array, updates: int) -> Any:
    feed, step = source.feed(key, 0), 0
    try:
        while step < updates:
            arrays, n = feed.data(step, updates - step)
            state = _advance(feed.read, phase, arrays, state, key, step, n)
            step += n
    finally:
        feed.close()
    return state


@partial(jax.jit, static_argnums=0)
def _advance(
    read: Callable, phase: Any, arrays: Any, state: Any, key: Array, first: int, n: int
) -> Any:
    """`n` updates from update `first` on."""

    def body(step: Array, state: Any) -> Any:
        return phase.update(state, read(arrays, key, step), update_key(key, step))[0]

    return jax.lax.fori_loop(first, first + n, body, state)


def held_out_values(
    data: Transitions, nets: ActorCritic, params: dict[str, Params], config: Config
) -> CriticValues:
    """Of all held-out transitions, [N]."""
    parts = [
        jax.device_get(
            critic_values(data.world_model, nets, params, batch, config.gamma)
        )
        for batch in _batches(data.held_out)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _batches(arrays: dict[str, np.ndarray], size: int = 4096) -> Iterator[dict]:
    for start in range(0, len(arrays["action"]), size):
        yield {name: x[start : start + size] for name, x in arrays.items()}


def _interval(name: str, values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(values)
    return {name: float(values.mean()), "low": low, "high": high}


def _sentence(found: dict[str, Any]) -> str:
    fqe, calibration = found["fqe"], found["calibration"]
    side = "above" if calibration["bias"] > 0 else "below"
    return (
        f"By the data alone the policy is worth {fqe['value']:.1f} "
        f"({fqe['low']:.1f} … {fqe['high']:.1f}) from where {found['episodes']:,} "
        f"held-out episodes begin, give or take {abs(fqe['residual']):.1f} by which "
        f"that fit misses their rewards; they got {found['data_return']:.1f}. LEQ's "
        f"critic says {found['critic']:.1f}, and on these episodes is "
        f"{abs(calibration['bias']):.1f} {side} what their rewards bear out."
    )
