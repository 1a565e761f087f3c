"""The training of one run: world model, policy pretraining, LEQ, scores, videos."""

from collections.abc import Callable

from dreamer_leq.config import Config
from dreamer_leq.data import describe_rewards, open_data, reward_transform
from dreamer_leq.errors import UserError
from dreamer_leq.fit_policy import fit_policy
from dreamer_leq.fit_world_model import fit_world_model
from dreamer_leq.imagined_videos import write_imagined_videos
from dreamer_leq.run import Run
from dreamer_leq.run_folder import DataFacts, RunFolder
from dreamer_leq.training.interrupts import Interrupts
from dreamer_leq.training.loop import Session
from dreamer_leq.training.mesh import ONE_DEVICE, Devices
from dreamer_leq.training.metrics import MetricsLogger, NoMetrics
from dreamer_leq.training.processes import (
    all_same,
    by_first,
    first,
    first_then_others,
)
from dreamer_leq.training.progress import Progress
from dreamer_leq.training.shared_checkpoints import SharedCheckpoints

PHASES = ("world_model", "bc", "fqe", "leq")


def train(
    config: Config, log: Callable[[str], None], devices: Devices = ONE_DEVICE
) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    folder = RunFolder(config.folder)
    source = RunFolder(config.pretrained) if config.pretrained else None
    by_first(lambda: _refuse(folder, source, config))  # before a dataset is made
    dataset, path = first_then_others(lambda: open_data(config, log))
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    if not all_same(facts.content):
        raise UserError(f"{path}: the hosts of this run have different data there")
    by_first(lambda: _begin(folder, source, config, facts))
    log(describe_rewards(dataset, transform))
    with (
        Interrupts() as interrupts,
        _metrics(folder, config) as logger,
        folder.checkpoints(config.checkpoint.keep) as checkpoints,
    ):
        session = Session(
            logger,
            SharedCheckpoints(checkpoints) if devices.mesh else checkpoints,
            Progress(log),
            interrupts,
            config.log.every,
            config.checkpoint.every,
            devices,
        )
        _forget_unsaved(session)
        _run_phases(Run(config, dataset, facts, folder, session, log))
    return folder


def _refuse(folder: RunFolder, source: RunFolder | None, config: Config) -> None:
    folder.refuse_other(config)
    if source:
        source.refuse_to_pretrain(config, None)


def _begin(
    folder: RunFolder, source: RunFolder | None, config: Config, facts: DataFacts
) -> None:
    """The folder with what stands in it before the first phase."""
    if source:
        source.refuse_to_pretrain(config, facts)
    folder.begin(config, facts)
    if source:
        folder.take_over(source, PHASES[:-1])


def _metrics(folder: RunFolder, config: Config) -> MetricsLogger | NoMetrics:
    if not first():
        return NoMetrics()
    wandb = {"project": "dreamer-leq", "name": config.task}
    return MetricsLogger(folder.path, wandb if config.log.wandb else None)


def _forget_unsaved(session: Session) -> None:
    """Drop the records after the last checkpoint: the run goes on from there."""
    reached = [p for p in PHASES if session.checkpoints.latest(p) is not None]
    phase = reached[-1] if reached else PHASES[0]
    step = session.checkpoints.latest(phase) if reached else -1
    session.logger.truncate(PHASES, phase, step)


def _run_phases(run: Run) -> None:
    """Each begins with what the one before it made."""
    c = run.config
    world_model = fit_world_model(run)
    trained = c.bc.updates or c.fqe.updates or c.leq.updates
    agent = fit_policy(run, world_model) if trained else None
    if c.about.pixels:
        run.log("writing imagined videos")
        films = (run.folder, world_model, agent, run.dataset, c.video)
        by_first(lambda: write_imagined_videos(*films))
