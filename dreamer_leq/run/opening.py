"""The start of a run, from top to bottom: what is refused, data, folder, session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from dreamer_leq.config import Config
from dreamer_leq.data.opening import describe_rewards, open_data, reward_transform
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.scores import try_environment, try_own_environment
from dreamer_leq.run.session import Run, open_logger
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.system.processes import all_same, by_first, first, first_then_others
from dreamer_leq.training.checkpoints import SharedCheckpoints
from dreamer_leq.training.loop import Session
from dreamer_leq.training.progress import Progress


@contextmanager
def open_run(
    config: Config, log: Callable[[str], None], devices: Devices = ONE_DEVICE
) -> Iterator[Run]:
    """The run of `config`, ready for its first phase or for the one where it stopped;
    its folder is nobody else's meanwhile.

    What can be refused is refused before anything takes long: another run's folder,
    unusable data, an environment that doesn't start. Raises UserError and DataError.
    """
    folder = RunFolder(config.folder)
    source = _pretrained(folder, config)
    by_first(lambda: _refuse(folder, source, config))  # before a dataset is made
    by_first(lambda: try_own_environment(config))
    dataset, path = first_then_others(lambda: open_data(config, log))
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    if not all_same(facts.content):
        raise UserError(f"{path}: the hosts of this run have different data there")
    if source:
        by_first(lambda: source.refuse_to_pretrain(config, facts))
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
        yield Run(config, dataset, facts, folder, session, log, films)


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
    folder.begin(config, facts)
    return folder.take_over(source, config) if source else None
