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
from dreamer_leq.training.progress import scoring_lines
from vd4rl_loader import DataError, Dataset
from vd4rl_loader.errors import disk_trouble

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
    folder = RunFolder(args.logdir, args.step, args.env)
    if args.report and folder.fetched:
        raise UserError(
            f"--report: {args.logdir} has its report.html on the hub; one is written "
            "into a folder of yours alone"
        )
    _evaluate(folder, args, log)
    if args.report:
        opened = partial(_dataset, folder, folder.config, args, log)
        write_report(folder, log, opened, args.workers, estimate=True)


def _evaluate(folder: RunFolder, args: Namespace, log: Callable[[str], None]) -> None:
    """Scores, videos and eval.json, as far as they are asked for and there is a policy
    and an environment.
    """
    config, imagined = folder.config, args.imagine or args.open_loop
    if imagined and not (config.about.pixels and config.imagines):
        why = f"{config.task} has state vectors, and its world model imagines no"
        if config.about.pixels:
            why = f"{args.logdir} has no world model that imagines"
        raise UserError(
            f"--imagine and --open-loop: {why} pictures; --video shows the policy"
        )
    dataset = _dataset(folder, config, args, log) if imagined else None
    reason = _unscored(folder, config, args)
    if reason and (args.video or not (imagined or args.report)):
        raise UserError(reason)
    agents: dict[str, Agent] = {}
    if folder.scorable or args.imagine:
        agents = _agents(folder, alone=bool(args.video or imagined))
    if reason:
        log(f"not scored: {reason}")
    else:
        scores = _score(folder, config, agents, args, log)
        Console().print(score_table(scores, str(folder.path), config.about.referenced))
        _keep(folder, scores, log)
    if args.imagine:
        write_video(args.imagine, dream_film(agents["policy"], dataset, config.video))
        log(f"wrote {args.imagine}")
    if args.open_loop:
        world_model = (
            agents["policy"].world_model if agents else folder.load_world_model()
        )
        film = open_loop_film(world_model, dataset, config.video)
        write_video(args.open_loop, film)
        log(f"wrote {args.open_loop}")


def _unscored(folder: RunFolder, config: Config, args: Namespace) -> str | None:
    """Why there is nothing to score, where there isn't."""
    if not folder.scorable:
        return f"{folder.path} {folder.without_policy}"
    if not (args.episodes or config.eval.episodes):
        return f"{folder.path} has eval.episodes 0: give --episodes"
    return None


def _keep(folder: RunFolder, scores: Mapping[str, Scores], log: Callable) -> None:
    """Into eval.json, or that of a step; not where the folder can't be written to."""
    if folder.fetched:
        return log("not kept: the hub's files stay as they are")
    step = folder.step
    file = folder.path / ("eval.json" if step is None else f"eval-{step}.json")
    try:
        write_scores(file, scores)
    except OSError as error:
        if not (trouble := disk_trouble(error)):
            raise
        log(f"not kept: {trouble}")


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
    facts, episodes = folder.facts, args.episodes or config.eval.episodes
    try:
        environment_factory(facts.environment, seed=0)
    except DataError as error:
        raise UserError(f"{folder.path / 'info.json'}: {error}") from error

    def run(agent: AnyAgent, record: int) -> tuple[Scores, EpisodeResults]:
        return score(
            agent,
            facts.environment,
            config.about.reference,
            episodes=episodes,
            seed=config.eval.seed if args.seed is None else args.seed,
            workers=args.workers,
            record=record,
            on_step=scoring_lines(log, episodes),
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
