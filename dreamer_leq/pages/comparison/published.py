"""Published scores beside ours: from a CSV file with the source of each."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dreamer_leq.pages.comparison.page import Note
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.parts import NONE, Table
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_text

DOUBTFUL = " ?"


@dataclass(frozen=True)
class Published:
    """A line of the file: a method's score on a task in %, its deviation over seeds
    where there is one, and whether the number was seen where it was published.
    """

    task: str
    method: str
    score: str
    deviation: str
    source: str
    verified: str
    note: str


def read(path: str | Path) -> list[Published]:
    """The lines of a file. Raises UserError where it isn't such a file."""
    lines = csv.DictReader(read_text(path).splitlines())
    names = [x.name for x in fields(Published)]
    if missing := [name for name in names if name not in (lines.fieldnames or ())]:
        raise UserError(f"{path}: no published scores: column {missing[0]} lacks")
    found = [Published(**{name: line[name] or "" for name in names}) for line in lines]
    for number, line in enumerate(found, 2):
        try:
            float(line.score)
        except ValueError:
            raise UserError(
                f"{path}, line {number}: score: expected a number, got {line.score!r}"
            ) from None
    return found


def published_note(summary: Summary, known: Sequence[Published]) -> Note:
    """The published scores of the tasks that are compared, beside the runs' means."""
    own = [line for line in known if line.task in summary.tasks]
    methods = sorted({line.method for line in own})
    cells = {(line.task, line.method): _cell(line) for line in own}
    rows = [
        [
            task,
            *(f"{100 * summary.scores[m][task].mean():.1f}" for m in summary.methods),
            *(cells.get((task, m), NONE) for m in methods),
        ]
        for task in summary.tasks
    ]
    head = ["", *(f"{m}, here" for m in summary.methods), *methods]
    sources = "; ".join(dict.fromkeys(line.source for line in own)) or "none"
    words = (
        "Columns without 'here' are published, by other code, with other numbers of "
        f"seeds and episodes: mean ± deviation over seeds. {DOUBTFUL.strip()}: not "
        f"seen in print, or in doubt. Sources: {sources}."
    )
    return Note("Published scores, in %", Table(head, rows), words)


def _cell(line: Published) -> str:
    spread = f" ± {line.deviation}" if line.deviation else ""
    return f"{line.score}{spread}{'' if line.verified == 'yes' else DOUBTFUL}"
