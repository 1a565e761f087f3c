"""The evaluation of a finished, or still training, run: a table, a JSON file,
videos.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console

from dreamer_leq.commands.films import dream_film, open_loop_film
from dreamer_leq.commands.report import write_report
from dreamer_leq.config import Config
from dreamer_leq.config.values import LARGEST, MAX_EPISODES
from dreamer_leq.data.opening import open_data_at
from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.evaluation.agent import Agent, RandomAgent
from dreamer_leq.evaluation.rollouts import AnyAgent, EpisodeResults, score
from dreamer_leq.evaluation.scores import Scores, score_table, write_scores
from dreamer_leq.evaluation.videos import check_video_path, episode_grid, write_video
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.scores import FILMED
from dreamer_leq.system.errors import UserError
from vd4rl_loader import DataError, Dataset

_RANGES = {
    "episodes": (1, MAX_EPISODES),
    "seed": (0, LARGEST - MAX_EPISODES),
    "workers": (0, LARGEST),
}


def evaluate_run(args: Namespace, log: Callable[[str], None]) -> None:
    """What eval.py does with its flags. Raises UserError, DataError."""
    for path in (args.video, args.imagine, args.open_loop):
        if path:
            check_video_path(path)
    for name, (least, most) in _RANGES.items():
        given = getattr(args, name)
        if given is not None and not least <= given <= most:
            raise UserError(f"--{name} {given}: give {least} to {most}")
    folder = RunFolder(args.logdir)
    if args.report and not folder.scorable:
        log("no policy yet: the report shows the training so far")
    else:
        _evaluate_policy(folder, args, log)
    if args.report:
        opened = partial(_dataset, folder, folder.config, args, log)
        write_report(folder, log, opened, args.workers, estimate=True)


def _evaluate_policy(
    folder: RunFolder, args: Namespace, log: Callable[[str], None]
) -> None:
    """Scores, videos and eval.json."""
    config = folder.config
    imagined = args.imagine or args.open_loop
    agents = _agents(folder, alone=bool(args.video or imagined))
    if imagined and not config.about.pixels:
        raise UserError(
            f"--imagine and --open-loop: {config.task} has state vectors, and its "
            "world model imagines no pictures; --video shows the policy"
        )
    dataset = _dataset(folder, config, args, log) if imagined else None
    scores = _score(folder, config, agents, args, log)
    Console().print(score_table(scores, title=str(folder.path)))
    write_scores(folder.path / "eval.json", scores)
    if dataset:
        _imagine(config, agents["policy"], args, dataset, log)


def _agents(folder: RunFolder, alone: bool) -> dict[str, Agent]:
    """The run's policy, or those of a grid's members; UserError for a grid where one
    policy is needed.
    """
    members = {} if alone else folder.members
    if not members:
        return {"policy": folder.load_agent()}
    world_model = folder.load_world_model()  # which they share
    return {name: member.load_agent(world_model) for name, member in members.items()}


def _score(
    folder: RunFolder,
    config: Config,
    agents: Mapping[str, Agent],
    args: Namespace,
    log: Callable,
) -> dict[str, Scores]:
    facts = folder.facts
    try:
        environment_factory(facts.environment, seed=0)
    except DataError as error:
        raise UserError(f"{folder.path / 'info.json'}: {error}") from error

    def run(agent: AnyAgent, record: int) -> tuple[Scores, EpisodeResults]:
        return score(
            agent,
            facts.environment,
            config.about.reference,
            episodes=args.episodes or config.eval.episodes,
            seed=config.eval.seed if args.seed is None else args.seed,
            workers=args.workers,
            record=record,
        )

    results = {n: run(a, FILMED if args.video else 0) for n, a in agents.items()}
    scores = {name: found for name, (found, _) in results.items()}
    if args.random or args.report:
        scores["random"], _ = run(RandomAgent(facts.action_size), 0)
    if args.video:
        episodes = results["policy"][1]
        write_video(args.video, episode_grid(episodes.frames, episodes.rewards))
        log(f"wrote {args.video}")
    return scores


def _dataset(
    folder: RunFolder, config: Config, args: Namespace, log: Callable
) -> Dataset:
    return open_data_at(args.data or folder.facts.path, config, log)


def _imagine(
    config: Config, agent: Agent, args: Namespace, dataset: Dataset, log: Callable
) -> None:
    if args.imagine:
        write_video(args.imagine, dream_film(agent, dataset, config.video))
        log(f"wrote {args.imagine}")
    if args.open_loop:
        film = open_loop_film(agent.world_model, dataset, config.video)
        write_video(args.open_loop, film)
        log(f"wrote {args.open_loop}")
