"""A policy's score in the environment that a dataset comes from."""

import os
from collections.abc import Callable
from typing import Any

from dreamer_leq.envs.dmc import DMCFactory
from dreamer_leq.envs.vector import VectorEnv
from dreamer_leq.evaluation.rollouts import Agent, EpisodeResults, evaluate
from dreamer_leq.evaluation.scores import Scores, summarize
from vd4rl_loader import RenderStyle


def score(
    agent: Agent,
    task: str,
    render: RenderStyle,
    *,
    action_repeat: int,
    image_size: int,
    episodes: int,
    seed: int,
    workers: int = 0,
    record: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Scores, EpisodeResults]:
    """One episode in each of `episodes` environments with seeds seed, seed + 1, …

    `workers` processes, as many as there are cores with 0. Raises WorkerError where an
    environment fails.
    """
    factories: list[Any] = [
        DMCFactory(task, render, seed + i, action_repeat, image_size)
        for i in range(episodes)
    ]
    cores = len(os.sched_getaffinity(0))
    with VectorEnv(factories, workers or cores) as env:
        results = evaluate(agent, env, seed, record, on_step)
    return summarize(results.returns, results.lengths, seconds=results.seconds), results
