"""The training of one run: world model, policy pretraining, LEQ, scores, videos."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from dreamer_leq.config import Config
from dreamer_leq.data import describe_rewards, open_data, reward_transform
from dreamer_leq.fit_policy import fit_policy
from dreamer_leq.fit_world_model import fit_world_model
from dreamer_leq.grid import open_members
from dreamer_leq.imagined_videos import write_dream, write_open_loop
from dreamer_leq.run import PHASES, Run, open_logger
from dreamer_leq.run_folder import DataFacts, RunFolder
from dreamer_leq.training.interrupts import Interrupts
from dreamer_leq.training.loop import Session
from dreamer_leq.training.progress import Progress


def train(config: Config, log: Callable[[str], None]) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    folder = RunFolder(config.folder)
    source = RunFolder(config.pretrained) if config.pretrained else None
    folder.refuse_other(config)  # before a dataset is made
    if source:
        source.refuse_to_pretrain(config, None)
    dataset, path = open_data(config, log)
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    if source:
        source.refuse_to_pretrain(config, facts)
    folder.begin(config, facts)
    if source:
        log(folder.take_over(source, config))
    log(describe_rewards(dataset, transform))
    with (
        Interrupts() as interrupts,
        open_logger(folder, config, config.task) as logger,
        folder.checkpoints(config.checkpoint.keep) as checkpoints,
        ExitStack() as stack,
    ):
        session = Session(
            logger,
            checkpoints,
            Progress(log),
            interrupts,
            config.log.every,
            config.checkpoint.every,
        )
        session.forget_unsaved(PHASES)
        run = Run(config, dataset, facts, folder, session, log)
        _run_phases(run, open_members(run, stack))
    return folder


def _run_phases(run: Run, members: Sequence[Run]) -> None:
    """Each begins with what the one before it made."""
    c = run.config
    world_model = fit_world_model(run)
    trained = c.bc.updates or c.fqe.updates or c.leq.updates
    agents = fit_policy(run, members, world_model) if trained else []
    if c.about.pixels:
        run.log("writing imagined videos")
        write_open_loop(run.folder, world_model, run.dataset, c.video)
        for member, agent in zip(members, agents, strict=False):
            write_dream(member.folder, agent, run.dataset, c.video)
