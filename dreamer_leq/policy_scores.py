"""Scores of a run's policy while it trains, and the film of the last one."""

from dreamer_leq.agent import Agent
from dreamer_leq.config import Config
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.evaluation.scoring import score
from dreamer_leq.evaluation.videos import episode_grid, write_video
from dreamer_leq.run import Run

FILMED = 3  # episodes in a film of the policy


def record_scores(run: Run, agent: Agent, step: int) -> None:
    """Score the policy after `step` updates of LEQ: to log, metrics and scores.json.
    After the last one, the first episodes go to videos/policy.mp4.
    """
    c = run.config.eval
    last = step == run.config.leq.updates
    scores, results = score(
        agent,
        run.facts.environment,
        run.config.about.reference,
        episodes=c.episodes,
        seed=c.seed,
        workers=c.workers,
        record=FILMED if last else 0,
    )
    run.folder.add_scores(step, scores)
    names = ("mean", "std", "ci_low", "ci_high", "normalized", "length")
    metrics = {f"eval_{k}": scores[k] for k in names if scores[k] is not None}
    run.session.logger.write("leq", step, metrics, {"eval_seconds": scores["seconds"]})
    run.log(f"policy after {step:,} updates of LEQ: {_describe(scores, run.config)}")
    if last:
        film = episode_grid(results.frames, results.rewards)
        write_video(run.folder.video("policy"), film)


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
