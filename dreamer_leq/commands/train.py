"""The training of one run: world model, pretraining, algorithm, scores, videos."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from dreamer_leq.commands.films import write_dream, write_open_loop
from dreamer_leq.commands.report import write_report
from dreamer_leq.config import Config
from dreamer_leq.data.opening import (
    AnyDataset,
    describe_rewards,
    open_data,
    reward_transform,
)
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.grid import open_members, to_train
from dreamer_leq.run.phases import fit_policy
from dreamer_leq.run.scores import try_environment
from dreamer_leq.run.session import Run, open_logger
from dreamer_leq.run.world_model import fit_world_model
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.system.processes import all_same, by_first, first, first_then_others
from dreamer_leq.training.checkpoints import SharedCheckpoints
from dreamer_leq.training.loop import Session
from dreamer_leq.training.progress import Progress
from dreamer_leq.world_models.latent import LatentWorldModel


def train(
    config: Config, log: Callable[[str], None], devices: Devices = ONE_DEVICE
) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    folder = RunFolder(config.folder)
    source = _pretrained(folder, config)
    by_first(lambda: _refuse(folder, source, config))  # before a dataset is made
    dataset, path = first_then_others(lambda: open_data(config, log))
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    if not all_same(facts.content):
        raise UserError(f"{path}: the hosts of this run have different data there")
    films = by_first(lambda: try_environment(config, facts, log))
    with (
        folder.in_use() if first() else nullcontext(),
        Interrupts() as interrupts,
        ExitStack() as stack,
    ):
        if taken := by_first(lambda: _begin(folder, source, config, facts)):
            log(taken)
        log(describe_rewards(dataset, transform))
        checkpoints = stack.enter_context(folder.kept_checkpoints(config))
        logger = stack.enter_context(open_logger(folder, config))
        session = Session(
            logger,
            SharedCheckpoints(checkpoints) if devices.mesh else checkpoints,
            Progress(log),
            interrupts,
            config.log.every,
            config.checkpoint.every,
            devices,
            config.checkpoint.keep_best,
        )
        session.forget_unsaved(config.phases)
        run = Run(config, dataset, facts, folder, session, log, films)
        _run_phases(run, open_members(run, stack))
        by_first(lambda: _try_report(folder, dataset, log))
    return folder


def _pretrained(folder: RunFolder, config: Config) -> RunFolder | None:
    """The run whose world model is to be taken over. What has been taken is not needed
    again.
    """
    taken = not config.pretrained or folder.has_world_model
    return None if taken else RunFolder(config.pretrained)


def _refuse(folder: RunFolder, source: RunFolder | None, config: Config) -> None:
    folder.refuse_other(config)
    folder.refuse_busy()
    if source:
        source.refuse_to_pretrain(config, None)


def _begin(
    folder: RunFolder, source: RunFolder | None, config: Config, facts: DataFacts
) -> str | None:
    """The folder with what stands in it before the first phase; says what was taken
    over.
    """
    if source:
        source.refuse_to_pretrain(config, facts)
    folder.begin(config, facts)
    return folder.take_over(source, config) if source else None


def _run_phases(run: Run, members: Sequence[Run]) -> None:
    """Each begins with what the one before it made."""
    c = run.config
    world_model = fit_world_model(run)
    agents: dict[Path, Agent] = {}
    if c.learns_policy:
        new = to_train(members)
        fitted = fit_policy(run, new, world_model) if new else []
        pairs = zip(new, fitted, strict=True)
        agents = {member.folder.path: agent for member, agent in pairs}
    if c.about.pixels:
        run.log("writing imagined videos")
        with run.breaking_off("the videos"):
            by_first(lambda: _write_films(run, members, world_model, agents))


def _try_report(
    folder: RunFolder, dataset: AnyDataset, log: Callable[[str], None]
) -> None:
    """A run is finished without its report, too."""
    try:
        write_report(folder, log, lambda: dataset, folder.config.eval.workers)
    except UserError as error:
        log(f"{error}")


def _write_films(
    run: Run,
    members: Sequence[Run],
    world_model: LatentWorldModel,
    agents: Mapping[Path, Agent],
) -> None:
    """What the world model imagines, alone and with the policy of each member that was
    trained now.
    """
    video = run.config.video
    write_open_loop(run.folder, world_model, run.dataset, video)
    for member in members:
        if agent := agents.get(member.folder.path):
            write_dream(member.folder, agent, run.dataset, video)
