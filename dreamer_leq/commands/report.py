"""The page of a run, finished or in training, and what is computed for it."""

from collections.abc import Callable
from typing import Any

from dreamer_leq.commands.analysis import analyse
from dreamer_leq.commands.estimate import write_offline
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.run.analysis_files import OFFLINE, is_outdated
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.locks import only_user
from vd4rl_loader import DataError
from vd4rl_loader.simulators.workers import WorkerError

Log = Callable[[str], None]


def write_report(
    folder: RunFolder,
    log: Log,
    dataset: Callable[[], AnyDataset],
    workers: int = 0,
    estimate: bool = False,
) -> None:
    """Write report.html, of a grid one for each member too, after the analysis that it
    lacks; with `estimate` also what the data alone say of the policy.

    What can't be analysed is said in a line, and the page is written without it. Raises
    UserError where the disk refuses.
    """
    with only_user(folder.path, "report"):
        _write(folder, log, dataset, workers, estimate)


def _write(
    folder: RunFolder,
    log: Log,
    dataset: Callable[[], AnyDataset],
    workers: int,
    estimate: bool,
) -> None:
    # plotly takes a second to import
    from dreamer_leq.pages.report.page import write_pages

    if folder.scorable or not folder.config.learns_policy:
        data = _tried(dataset, log)
        _tried(lambda: analyse(folder, data, log, workers), log)
        if estimate and data and folder.scorable and _unestimated(folder):
            _tried(lambda: write_offline(folder, data, log), log)
    try:
        files = write_pages(folder.path)
    except OSError as error:
        raise UserError(f"the report can't be written: {error}") from None
    log(f"wrote {files[0]}")


def _tried(part: Callable[[], Any], log: Log) -> Any:
    """What it returns, or None after a line."""
    try:
        return part()
    except (UserError, DataError, WorkerError) as error:
        log(f"not in the report: {error}")
        return None


def _unestimated(folder: RunFolder) -> bool:
    return any(is_outdated(run, OFFLINE) for run in folder.runs)
