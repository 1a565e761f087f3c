"""Scores of a run's policy while it trains, and the film of the last one."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.rollouts import EpisodeResults, open_environments, score
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.evaluation.videos import episode_grid, write_video
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.session import Run
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.interrupts import Interrupted
from dreamer_leq.training.progress import scoring_lines
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.workers import WorkerError, WorkerLost

FILMED = 3  # episodes in a film of the policy


def try_own_environment(config: Config) -> None:
    """Make the user's own environment and begin an episode, before the data are read.

    Raises DataError for what the user can mend, UserError where their code raised.
    """
    if not config.env:
        return
    try:
        with open_environments(config.about.environment, 1, 0, 1) as env:
            env.reset()
    except WorkerError as error:
        raise UserError(f"{error}") from error


def try_environment(
    config: Config, facts: DataFacts, log: Callable[[str], None]
) -> bool:
    """Make the environment and take a step in it, before hours go by; returns whether
    it can be filmed. Without episodes to score there need not be one.

    Raises UserError where there is none, or none for such actions; DataError where what
    it needs is missing, such as a renderer for pixels.
    """
    if not (config.eval.episodes or config.env):
        return False
    try:
        _try_step(config, facts, film=True)
    except (UserError, DataError) as error:
        if config.about.pixels:
            raise
        _try_step(config, facts, film=False)
        log(f"no film of the policy: {error}")
        return False
    return True


def _try_step(config: Config, facts: DataFacts, film: bool) -> None:
    try:
        with open_environments(facts.environment, 1, 0, 1, record=int(film)) as env:
            env.reset()
            env.step(np.zeros((1, facts.action_size), np.float32))
    except WorkerError as error:
        if config.env:
            raise UserError(f"{error}; --eval.episodes 0 trains without") from error
        raise UserError(
            f"the environment of {config.task} can't be used with actions of "
            f"{facts.action_size} numbers: {error}; --eval.episodes 0 trains without"
        ) from error


def record_scores(runs: Sequence[Run], agent: Agent, step: int) -> bool:
    """Score the policy, which is that of all these runs, after `step` updates: to log,
    metrics and scores.json. After the last one, the first episodes go to
    videos/policy.mp4.

    Returns whether it is done, now or by the time that the run was stopped: False where
    a signal cut it short. The record in the metrics comes last. An evaluation that
    fails is left out while there are updates to do; the last one raises.
    """
    run = runs[0]
    name, own = run.config.algorithm, run.config.own
    new = [x for x in runs if not x.session.logger.has(name, step, "eval_mean")]
    if not new or not run.config.eval.episodes:
        return True
    last = step == own.updates
    record = FILMED if last and run.films else 0
    try:
        with run.session.interrupts.breaking_off("the evaluation"):
            scores, results = _score_again(run, agent, record)
    except Interrupted:
        return False
    except WorkerError as error:
        if last:
            error.add_note(
                "The policy is trained; --eval.episodes 0 ends without scores."
            )
            raise
        run.log(f"no scores after {step:,} updates of {own.title}: {error}")
        return True
    for own_run in new:
        own_run.folder.add_scores(step, scores)
    if record:
        film = episode_grid(results.frames, results.rewards)
        write_video(run.folder.video("policy"), film)
    names = ("mean", "std", "ci_low", "ci_high", "normalized", "length", "success")
    metrics = {f"eval_{k}": scores[k] for k in names if scores.get(k) is not None}
    found = _describe(scores, run.config)
    for own_run in new:
        seconds = {"eval_seconds": scores["seconds"]}
        own_run.session.logger.write(name, step, metrics, seconds)
        own_run.log(f"policy after {step:,} updates of {own.title}: {found}")
    return True


def _score_again(run: Run, agent: Agent, record: int) -> tuple[Scores, EpisodeResults]:
    """The scores; where a worker died or hung, those of a second try, from the start.

    Environments and policy are seeded: both tries would score the same.
    """
    c = run.config.eval
    once = partial(
        score,
        agent,
        run.facts.environment,
        run.config.about.reference,
        episodes=c.episodes,
        seed=c.seed,
        workers=c.workers,
        record=record,
        on_step=scoring_lines(run.log, c.episodes),
    )
    try:
        return once()
    except WorkerLost as error:
        run.log(f"{error}: scoring again")
        return once()


def _describe(scores: Scores, config: Config) -> str:
    """A return, or a success rate, with its spread, as one reads it."""
    mean, low, high = scores["mean"], scores["ci_low"], scores["ci_high"]
    count = f"{scores['episodes']} episodes"
    if failed := scores.get("failed"):
        count += f", of which {failed} ended as their physics ran away"
    if config.about.unit == "success":
        span = f" (95 % interval {low:.0%} … {high:.0%})" if low is not None else ""
        return f"success {mean:.0%}{span}, {count}"
    span = f" (95 % interval {low:.0f} … {high:.0f})" if low is not None else ""
    score = f"score {scores['normalized']:.1f}" if config.about.referenced else ""
    if (success := scores.get("success")) is not None:
        score = f"success {success:.0%}"
    told = [f"return {mean:.0f} ± {scores['std']:.0f}{span}", score, count]
    return ", ".join(filter(None, told))
