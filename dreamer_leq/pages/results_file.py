"""Results as data: a CSV file with a line for each run, written and read back.

`evaluations` are scores by updates of the algorithm, as `0:12.5 1000:80.1`; scores are
in % of the task's reference. What a run's files don't say is left empty.
"""

import csv
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from dreamer_leq.config import Config
from dreamer_leq.config.command import command, parsed
from dreamer_leq.pages.run_files import RunFiles, Score, spent
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_text, replacing


@dataclass(frozen=True)
class Row:
    """A line of the file; the fields are its columns.

    `low` and `high` are the 95 % interval of `score`; `seconds`, `peak_memory` and
    `peak_device_memory` those of the process that trained the run and the others of its
    grid, `together` in all.
    """

    task: str
    method: str
    algorithm: str
    coefficients: str
    seed: str
    score: str
    low: str
    high: str
    return_mean: str
    episodes: str
    evaluations: str
    offline: str
    updates: str
    seconds: str
    peak_memory: str
    peak_device_memory: str
    together: str
    python: str
    packages: str
    device: str
    commit: str
    command: str
    folder: str


def row(run: RunFiles, method: str, grid: RunFiles | None = None) -> Row:
    """The line of a run, which may be a member of a grid."""
    config, scores, info = run.config, run.scores, run.info
    last = scores.get(run.updates)
    took, commit = spent(grid or run), info.git if info else None
    return Row(
        config.task,
        method,
        config.algorithm,
        " ".join(f"{k}={v:g}" for k, v in config.coefficients.items()),
        str(config.seed),
        *_score(last, config),
        str(last.episodes or "") if last else "",
        " ".join(f"{step}:{x.normalized:.6g}" for step, x in scores.items()),
        f"{run.offline.fqe.value:.6g}" if run.offline else "",
        str(run.updates),
        f"{sum(took.seconds.values()):.1f}",
        *("" if x is None else f"{x:.0f}" for x in (took.memory, took.device_memory)),
        str(len(grid.config.members) if grid else 1),
        info.python if info else "",
        " ".join(f"{k}={v}" for k, v in info.packages.items() if v) if info else "",
        " ".join(dict.fromkeys(info.devices)) if info else "",
        f"{commit.commit}{' changed' if commit.dirty else ''}" if commit else "",
        shlex.join(command(config)),
        str(run.path),
    )


def _score(last: Score | None, config: Config) -> list[str]:
    """Score, its interval in %, and the return."""
    if last is None:
        return [""] * 4
    low, high = config.about.reference
    ends = [
        "" if x is None else f"{100 * (x - low) / (high - low):.6g}"
        for x in (last.ci_low, last.ci_high)
    ]
    return [f"{last.normalized:.6g}", *ends, f"{last.mean:.6g}"]


def write(path: Path, rows: Iterable[Row]) -> None:
    """The file with these lines, complete or as it was."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.DictWriter(file, [x.name for x in fields(Row)], lineterminator="\n")
        lines.writeheader()
        lines.writerows(map(vars, rows))


def read(path: Path) -> list[Row]:
    """The lines of a file. Raises UserError where it isn't such a file."""
    lines = csv.DictReader(read_text(path).splitlines(), strict=True)
    names = [x.name for x in fields(Row)]
    try:
        if missing := [name for name in names if name not in (lines.fieldnames or ())]:
            raise UserError(f"{path}: no results of a sweep: column {missing[0]} lacks")
        return [Row(**{name: line[name] or "" for name in names}) for line in lines]
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: {error}") from None


def run_of(row: Row, where: str) -> RunFiles:
    """The run of a line, as its folder would give it, but for curves of training.

    Raises UserError, beginning with `where`, for what can't be read.
    """
    run = RunFiles(Path(row.folder), strict=True)
    try:
        config = parsed(shlex.split(row.command))
        low, high = config.about.reference
        pairs = [pair.split(":") for pair in row.evaluations.split()]
        found = {int(step): float(score) for step, score in pairs}
        scores = {n: Score(low + (high - low) * x / 100, x) for n, x in found.items()}
    except (ValueError, KeyError) as error:
        raise UserError(f"{where}: {error}") from None
    records = [
        {"phase": config.algorithm, "step": step, "eval_mean": x.mean, "time": {}}
        for step, x in scores.items()
    ]
    # what the folder's files would say
    vars(run).update(config=config, scores=scores, records=records, offline=None)
    return run
