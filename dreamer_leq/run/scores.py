"""Scores of a run's policy while it trains, and the film of the last one."""

from functools import partial

from dreamer_leq.config import Config
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.rollouts import EpisodeResults, score
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.evaluation.videos import episode_grid, write_video
from dreamer_leq.run.session import Run
from dreamer_leq.system.interrupts import Interrupted
from vd4rl_loader.simulators.workers import WorkerLost

FILMED = 3  # episodes in a film of the policy


def record_scores(run: Run, agent: Agent, step: int) -> bool:
    """Score the policy after `step` updates: to log, metrics and scores.json. After the
    last one, the first episodes go to videos/policy.mp4.

    Returns whether it is done, now or by the time that the run was stopped: False where
    a signal cut it short. The record in the metrics comes last.
    """
    name, own = run.config.algorithm, run.config.own
    if run.session.logger.has(name, step, "eval_mean"):
        return True
    last = step == own.updates
    try:
        with run.session.interrupts.breaking_off("the evaluation"):
            scores, results = _score_again(run, agent, FILMED if last else 0)
    except Interrupted:
        return False
    run.folder.add_scores(step, scores)
    if last:
        film = episode_grid(results.frames, results.rewards)
        write_video(run.folder.video("policy"), film)
    names = ("mean", "std", "ci_low", "ci_high", "normalized", "length")
    metrics = {f"eval_{k}": scores[k] for k in names if scores[k] is not None}
    run.session.logger.write(name, step, metrics, {"eval_seconds": scores["seconds"]})
    found = _describe(scores, run.config)
    run.log(f"policy after {step:,} updates of {own.title}: {found}")
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
    if config.about.unit == "success":
        span = f" (95 % interval {low:.0%} … {high:.0%})" if low is not None else ""
        return f"success {mean:.0%}{span}, {count}"
    span = f" (95 % interval {low:.0f} … {high:.0f})" if low is not None else ""
    score = f"score {scores['normalized']:.1f}"
    return f"return {mean:.0f} ± {scores['std']:.0f}{span}, {score}, {count}"
