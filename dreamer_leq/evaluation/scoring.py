"""A policy's score in the environment that a dataset comes from."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.envs.vector import VectorEnv
from dreamer_leq.evaluation.rollouts import Agent, EpisodeResults, evaluate
from dreamer_leq.evaluation.scores import Scores, summarize


def score(
    agent: Agent,
    environment: Mapping[str, Any],
    reference: tuple[float, float],
    *,
    episodes: int,
    seed: int,
    workers: int = 0,
    record: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Scores, EpisodeResults]:
    """One episode in each of `episodes` environments with seeds seed, seed + 1, …

    `environment` is a description as envs.suites reads it; `reference` the returns of a
    score of 0 and of 100. `workers` processes, as many as there are cores with 0.
    Raises WorkerError where an environment fails.
    """
    with open_environments(environment, episodes, seed, workers, record) as env:
        results = evaluate(agent, env, seed, record, on_step)
    scores = summarize(
        results.returns, results.lengths, reference, seconds=results.seconds
    )
    return scores, results


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
