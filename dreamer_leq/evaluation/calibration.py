"""What a critic and a world model promise, beside what the environment then gives.

The comparison is made in states that the policy comes through in real episodes, against
the discounted return that it gets there. An episode that the clock ends hides the rest
of that return: see `real_returns` for what stands for it, and `chosen` for where too
much of it is hidden.
"""

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.rollouts import Played
from dreamer_leq.evaluation.statistics import bootstrap_interval
from dreamer_leq.world_models.imagine import imagine
from dreamer_leq.world_models.interface import State

HIDDEN = 0.05  # share of the discounted weight that may lie behind the clock's end
SAMPLES = 8  # imagined rollouts from each state, whose mean is what is promised
LARGEST = 1e9  # what a prediction that overflows is reported as


@dataclass(frozen=True)
class Calibration:
    """n predictions and what came of them.

    `bias` is the mean of predicted - real, `low` and `high` its 95 % interval over
    episodes. `correlation` is Pearson's, None where one side is constant.
    """

    predicted: list[float]
    real: list[float]
    bias: float
    low: float
    high: float
    correlation: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def calibration(
    predicted: np.ndarray, real: np.ndarray, episode: np.ndarray
) -> Calibration:
    """Of predictions [n] in states of the episodes `episode` [n]."""
    predicted = np.nan_to_num(predicted, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST)
    error = predicted - real
    low, high = bootstrap_interval(error, episode)
    return Calibration(
        predicted.tolist(),
        real.tolist(),
        float(error.mean()),
        low,
        high,
        _correlation(predicted, real),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


# --- what the environment gives


def hidden(played: Played, gamma: float) -> np.ndarray:
    """Share γ^(steps left) of the discounted weight that lies behind the clock's end,
    at each step: [T, N]; 0 in episodes that the task ended.
    """
    left = played.length - np.arange(len(played.reward))[:, None]
    return np.where(played.terminal, 0.0, gamma ** np.maximum(left, 0))


def real_returns(played: Played, gamma: float) -> np.ndarray:
    """The discounted return from each step on: [T, N].

    Where the clock ends an episode, it is taken to go on as it was on the average of
    its second half, and to be ended by the task as often per step as all episodes
    were, h: γ^(steps left) / (1 - γ (1 - h)) times that mean is added. That says
    nothing of the critic. With γ = 1 and h = 0 nothing is added.
    """
    t, n = played.reward.shape
    step = np.arange(t)[:, None]
    late = (step >= played.length // 2) & (step < played.length)
    rate = (played.reward * late).sum(0) / late.sum(0)
    left = 1 - gamma * (1 - played.terminal.sum() / played.length.sum())
    beyond = rate / left if left > 0 else np.zeros(n)
    later = np.where(played.terminal, 0.0, beyond)
    returns = np.zeros((t, n))
    for i in reversed(range(t)):
        ahead = played.reward[i] + gamma * later
        later = np.where(i < played.length, ahead, later)
        returns[i] = later
    return returns


def real_sums(played: Played, gamma: float, horizon: int) -> np.ndarray:
    """The discounted sum of `horizon` rewards from each step on: [T, N]."""
    padded = np.pad(played.reward, ((0, horizon), (0, 0)))
    t = len(played.reward)
    return sum(gamma**h * padded[h : h + t] for h in range(horizon))


def chosen(
    played: Played, gamma: float, horizon: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and episodes [n] of about `count` states to compare in.

    They are those of the same steps in all episodes that come so far, evenly spread:
    more of a short episode than of a long one would be chosen in the knowledge of how
    they ended. Where the clock ended an episode, none are chosen in any from where more
    than `HIDDEN` of the discounted weight lies behind that end, or from half of it on,
    whichever is later; and the next `horizon` steps have to be known.
    """
    length = played.length
    share = hidden(played, gamma)
    seen = ((share <= HIDDEN) & (np.arange(len(share))[:, None] < length)).sum(0)
    known = np.minimum(np.maximum(seen, length // 2), length - horizon + 1)
    end = max(1, np.where(played.terminal, length.max(), known).min())
    states = np.minimum(length, end).sum()
    picks = min(end, -(-count * end // states))
    steps = np.unique(np.linspace(0, end - 1, picks).astype(int))
    row, episode = np.nonzero(steps[:, None] < length)
    return steps[row], episode


# --- what is promised


def promised(
    agent: Agent, state: State, *, horizon: int, gamma: float, lam: float
) -> dict[str, np.ndarray]:
    """For the policy in the states [n]: its Q, and where there is a model the means
    over `SAMPLES` imagined rollouts of their λ-return and of their discounted reward
    over `horizon` steps.

    The policy is the deterministic one that acts.
    """
    settings = (horizon, gamma, lam)
    found = _promised(agent, state, jax.random.key(2), settings)
    return {name: np.asarray(x, np.float64) for name, x in found.items()}


@partial(jax.jit, static_argnums=3)
def _promised(
    agent: Agent, state: State, key: Array, settings: tuple[int, float, float]
) -> dict[str, Array]:
    horizon, gamma, lam = settings
    if not agent.world_model.members or agent.world_model.steps > 1:
        features = agent.world_model.features(state)
        return {"q": agent.value(features, agent.policy(features, key))}
    start = jax.tree.map(lambda x: jnp.repeat(x, SAMPLES, 0), state)
    path = imagine(agent.world_model, agent.policy, start, key, horizon)
    q = agent.value(path.features, agent.policy(path.features, key))
    found = {
        "q": q[0],
        "lambda_return": lambda_return(path.reward, path.alive, q, gamma, lam),
        "imagined_return": discounted(path.reward, path.alive[:-1], gamma).sum(0),
    }
    return {name: x.reshape(-1, SAMPLES).mean(1) for name, x in found.items()}


def lambda_return(
    reward: Array, alive: Array, q: Array, gamma: float, lam: float
) -> Array:
    """y_0 = Σ_h λ^h G^(h) / Σ_h λ^h over h = 0 … H (Eq. 8), where the h-step return
    G^(h) ends in Q: reward [H, N], alive and q [H+1, N] -> [N]. λ = ∞ is G^(H) alone.
    """
    horizon = len(reward)
    so_far = jnp.cumsum(discounted(reward, alive[:-1], gamma), 0)
    each = discounted(q, alive, gamma).at[1:].add(so_far)
    if math.isinf(lam):
        return each[-1]
    weight = lam ** jnp.arange(horizon + 1)
    return (weight[:, None] * each).sum(0) / weight.sum()


def discounted(x: Array, alive: Array, gamma: float) -> Array:
    """γ^t alive_t x_t: [T, N]; 0 after an end, where anything may be predicted."""
    weight = gamma ** jnp.arange(len(x))[:, None] * alive
    return jnp.where(weight > 0, weight * x, 0.0)
