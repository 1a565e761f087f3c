"""The training of one run: world model, pretraining, algorithm, scores, videos."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from dreamer_leq.commands.films import write_dream, write_open_loop
from dreamer_leq.commands.report import write_report
from dreamer_leq.config import Config
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.grid import open_members, to_train
from dreamer_leq.run.opening import open_run
from dreamer_leq.run.phases import fit_policy
from dreamer_leq.run.session import Run
from dreamer_leq.run.world_model import fit_world_model
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.processes import by_first
from dreamer_leq.world_models.latent import LatentWorldModel


def train(
    config: Config, log: Callable[[str], None], devices: Devices = ONE_DEVICE
) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    with open_run(config, log, devices) as run, ExitStack() as stack:
        _run_phases(run, open_members(run, stack))
        by_first(lambda: _try_report(run.folder, run.dataset, log))
    return run.folder


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
    if c.about.pixels and c.imagines:
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
