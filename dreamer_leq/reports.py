"""The page of a run, finished or in training."""

from collections.abc import Callable

from dreamer_leq.errors import UserError
from dreamer_leq.run_folder import RunFolder


def write_report(folder: RunFolder, log: Callable[[str], None]) -> None:
    """Write report.html, of a grid one for each member too; UserError where the disk
    refuses.
    """
    # plotly takes a second to import
    from dreamer_leq.evaluation.report.page import write_pages

    try:
        files = write_pages(folder.path)
    except OSError as error:
        raise UserError(f"the report can't be written: {error}") from None
    log(f"wrote {files[0]}")
