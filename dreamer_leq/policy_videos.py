"""Videos of a policy in its environment."""

from pathlib import Path

from dreamer_leq.agent import Agent
from dreamer_leq.config import Config
from dreamer_leq.evaluation.scoring import score
from dreamer_leq.evaluation.videos import episode_grid, write_video
from dreamer_leq.run_folder import DataFacts

EPISODES = 3
FPS = 20  # of a walker in real time, at two control steps of 25 ms a frame


def write_policy_video(
    path: str | Path, agent: Agent, config: Config, facts: DataFacts
) -> None:
    """The first episodes of the final evaluation, side by side."""
    _, results = score(
        agent,
        facts.environment,
        config.about.reference,
        episodes=EPISODES,
        seed=config.eval.seed,
        workers=config.eval.workers,
        record=EPISODES,
    )
    write_video(path, episode_grid(results.frames, results.rewards), FPS)
