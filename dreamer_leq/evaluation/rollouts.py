"""Episodes of a policy in the real environment: the one loop that plays them."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.envs.vector import VectorEnv
from dreamer_leq.evaluation.scores import Scores, summarize
from dreamer_leq.world_models.interface import State

Observation = dict[str, np.ndarray]


class AnyAgent(Protocol):
    """A policy with a memory, for n environments at once: `evaluation.agent`'s."""

    def initial(self, n: int, seed: int) -> Any:
        """The memory before the first observation of n episodes."""

    def act(self, carry: Any, obs: Observation) -> tuple[np.ndarray, Any]:
        """Actions float32 [n, A] for the observations, and the next memory."""


class Environments(Protocol):
    """N environments that move together (`dreamer_leq.envs.vector.VectorEnv`)."""

    def reset(self) -> Observation: ...

    def step(self, actions: np.ndarray) -> Observation: ...


@dataclass(frozen=True)
class _Step:
    """One step of N episodes: what is kept of the memory, the action [N, A], what came
    of it, and which of them it is a step of, bool [N].
    """

    kept: Any
    action: np.ndarray
    obs: Observation
    running: np.ndarray


def _steps(
    agent: AnyAgent,
    env: Environments,
    obs: Observation,
    seed: int,
    keep: Callable[[Any], Any] = lambda carry: None,
) -> Iterator[_Step]:
    """The steps of one episode in each environment from its first observation on, with
    one batched policy call each.

    An environment that has finished is still given actions, since all of them move
    together; what it answers then is of no episode. `keep` sees the memory before the
    next call reuses its arrays.
    """
    running = np.ones(len(obs["is_last"]), bool)
    carry = agent.initial(len(running), seed)
    while running.any():
        action, carry = agent.act(carry, obs)
        kept = keep(carry)
        obs = env.step(np.asarray(action))
        yield _Step(kept, action, obs, running)
        running = running & ~np.asarray(obs["is_last"])


# --- scores


@dataclass(frozen=True)
class EpisodeResults:
    """One episode of each of N environments.

    Attributes:
        returns: float64 [N], the undiscounted sums of rewards, or of `success` where
            the observations have that.
        lengths: int64 [N], actions taken.
        frames: of each recorded episode uint8 [length + 1, H, W, 3].
        rewards: of each recorded episode float64 [length + 1], 0 at the start.
        seconds: wall-clock time.
        failed: how many episodes ended because their physics ran away.
        success: bool [N], whether `is_success` was set in any step; None where the
            environment doesn't say.
    """

    returns: np.ndarray
    lengths: np.ndarray
    frames: list[np.ndarray]
    rewards: list[np.ndarray]
    seconds: float
    failed: int = 0
    success: np.ndarray | None = None


def score(
    agent: AnyAgent,
    environment: Mapping[str, Any],
    reference: tuple[float, float],
    *,
    episodes: int,
    seed: int,
    workers: int = 0,
    record: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Scores, EpisodeResults]:
    """Scores of one episode in each of `episodes` environments with seeds seed,
    seed + 1, …

    `environment` is a description as envs.suites reads it; `reference` the returns of a
    score of 0 and of 100. `workers` processes, as many as there are cores with 0.
    Raises WorkerError where an environment fails.
    """
    with open_environments(environment, episodes, seed, workers, record) as env:
        results = evaluate(agent, env, seed, record, on_step)
    scores = summarize(
        results.returns, results.lengths, reference, seconds=results.seconds
    )
    extra = {"failed": results.failed} if results.failed else {}
    if results.success is not None:
        extra["success"] = float(results.success.mean())
    return scores | extra, results


def open_environments(
    environment: Mapping[str, Any],
    episodes: int,
    seed: int,
    workers: int = 0,
    record: int = 0,
) -> VectorEnv:
    """The environments of `score`; the first `record` of them are filmed."""
    factories: list[Any] = [
        environment_factory(environment, seed + i, image=i < record)
        for i in range(episodes)
    ]
    return VectorEnv(factories, workers or len(os.sched_getaffinity(0)))


def evaluate(
    agent: AnyAgent,
    env: Environments,
    seed: int,
    record: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> EpisodeResults:
    """Results of one episode in each environment.

    Args:
        agent: the policy.
        env: N environments, seeded when they were made.
        seed: seeds the agent's memory and sampling.
        record: keep the images of the first `record` environments.
        on_step: called after each step with the number of unfinished episodes.

    Raises:
        ValueError: images are asked for, and the observations have none.
    """
    start = time.perf_counter()
    obs = env.reset()
    n = len(obs["reward"])
    if record and "image" not in obs:
        raise ValueError("there are no images in the observations to record")
    recorder = _Recorder(min(record, n))
    recorder.add(obs, np.ones(n, bool))
    returns, lengths = np.zeros(n), np.zeros(n, np.int64)
    failed, success = np.zeros(n, bool), np.full(n, np.nan)
    for step in _steps(agent, env, obs, seed):
        gained = step.obs.get("success", step.obs["reward"])
        returns[step.running] += gained[step.running]
        lengths[step.running] += 1
        failed |= step.obs.get("failed", False)
        told = np.where(step.running, step.obs.get("is_success", np.nan), np.nan)
        success = np.fmax(success, told)  # which leaves NaN out
        recorder.add(step.obs, step.running)
        if on_step:
            on_step(int((step.running & ~step.obs["is_last"]).sum()))
    frames, rewards = recorder.episodes()
    seconds = time.perf_counter() - start
    played = (returns, lengths, frames, rewards, seconds, int(failed.sum()))
    return EpisodeResults(*played, None if np.isnan(success).all() else success > 0)


class _Recorder:
    """Images and rewards of the first `count` environments."""

    def __init__(self, count: int) -> None:
        self._frames: list[list[np.ndarray]] = [[] for _ in range(count)]
        self._rewards: list[list[float]] = [[] for _ in range(count)]

    def add(self, obs: Observation, running: np.ndarray) -> None:
        for i, (frames, rewards) in enumerate(
            zip(self._frames, self._rewards, strict=True)
        ):
            if running[i]:
                # a copy: environments may hand out the same buffer every step
                frames.append(np.array(obs["image"][i]))
                rewards.append(float(obs["reward"][i]))

    def episodes(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        frames = [np.stack(frames) for frames in self._frames]
        return frames, [np.array(rewards) for rewards in self._rewards]


# --- whole episodes, with what the policy saw and got


@dataclass(frozen=True)
class Played:
    """One episode of each of N environments; T is the length of the longest.

    Attributes:
        state: of the world model, in which each action was taken, [T, N, ...].
        action: float32 [T, N, A].
        reward: float64 [T, N], what came of the action; 0 after an episode's end.
        length: int64 [N], actions taken.
        terminal: bool [N], the task ended the episode, or physics that ran away, and
            not the clock.
    """

    state: State
    action: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    terminal: np.ndarray


def play(
    agent: AnyAgent, env: Environments, seed: int, transform: Callable[[Any], Any]
) -> Played:
    """One episode in each environment, with rewards as `transform` makes them.

    `agent`'s memory has a field `state`, the world model's.
    """
    rows, length, terminal = [], 0, False

    def state(carry: Any) -> State:
        return jax.tree.map(np.array, carry.state)

    for step in _steps(agent, env, env.reset(), seed, state):
        obs, running = step.obs, step.running
        reward = np.where(running, transform(obs["reward"]), 0.0)
        rows.append((step.kept, np.array(step.action), reward))
        length = length + running.astype(np.int64)
        by_itself = obs["is_terminal"] | obs.get("failed", False)
        terminal |= running & obs["is_last"] & by_itself
    return Played(*jax.tree.map(lambda *x: np.stack(x), *rows), length, terminal)
