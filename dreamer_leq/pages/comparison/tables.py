"""The comparison in tables, and how they fit where they are read."""

from dataclasses import replace
from itertools import permutations

import numpy as np

from dreamer_leq.evaluation.statistics import Estimate
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.parts import NONE, Table

GAP = 3  # characters between two columns, with their line


def score_table(summary: Summary) -> Table:
    """Scores in % of the reference: a row for each task, and below a line one for each
    statistic of all tasks together; a column for each method. Where a task has no
    reference, its returns, and no statistics.
    """
    methods = summary.methods
    rows = [
        [
            _titled(task, summary),
            *(_runs(summary.scores[method][task]) for method in methods),
        ]
        for task in summary.tasks
    ]
    if summary.returns:
        return Table(["", *methods], rows)
    means, gaps = summary.interquartile_mean, summary.optimality_gap
    rows.append(["interquartile mean", *(_estimate(means(m), 100, 1) for m in methods)])
    rows.append(["optimality gap", *(_estimate(gaps(m), 100, 1) for m in methods)])
    return Table(["", *methods], rows, ruled=len(summary.tasks))


def improvement_table(summary: Summary) -> Table:
    """How probably a run of each method, a column, beats one of each other, a row."""
    methods, estimate = summary.methods, summary.improvement
    pairs = {pair: _estimate(estimate(*pair)) for pair in permutations(methods, 2)}
    others = [[pairs.get((m, other), NONE) for m in methods] for other in methods]
    rows = [[f"better than {m}", *row] for m, row in zip(methods, others, strict=True)]
    return Table(["", *methods], rows)


def legend_table(summary: Summary) -> Table:
    """What differs between methods: a row for each, a column for each key."""
    keys = list(dict.fromkeys(key for own in summary.legend.values() for key in own))
    rows = [
        [name, *(own.get(key, NONE) for key in keys)]
        for name, own in summary.legend.items()
    ]
    return Table(["method", *keys], rows, words=1 + len(keys))


def laid_out(table: Table, width: int) -> list[Table]:
    """The table as it is at most `width` characters wide: with intervals below their
    values, turned, or else in parts that all have the first column.
    """
    whole = (table, _turned(table))
    folded = [_folded(way) for way in whole]
    fitting = [[way] for way in (*whole, *folded) if _width(way) <= width]
    return (fitting or sorted((_parts(way, width) for way in folded), key=len))[0]


def _titled(task: str, summary: Summary) -> str:
    """The task, and that its scores are returns where those of others aren't."""
    mixed = 0 < len(summary.returns) < len(summary.tasks)
    return f"{task}, return" if mixed and task in summary.returns else task


def unit(summary: Summary) -> str:
    """What the scores are."""
    if len(summary.returns) == len(summary.tasks):
        return "returns: the tasks have no reference"
    others = ", or the return where it has none" if summary.returns else ""
    return f"scores, in % of the task's reference{others}"


def _runs(scores: np.ndarray) -> str:
    """Mean of some runs, and the lowest and highest of them."""
    mean, low, high = (100 * x for x in (scores.mean(), scores.min(), scores.max()))
    span = f" ({low:.1f} … {high:.1f})" if len(scores) > 1 else ""
    return f"{mean:.1f}{span}"


def _estimate(found: Estimate, scale: float = 1.0, digits: int = 2) -> str:
    """A statistic with its interval."""
    value = f"{scale * found.value:.{digits}f}"
    if found.low is None:
        return value
    low, high = (f"{scale * x:.{digits}f}" for x in (found.low, found.high))
    return f"{value} ({low} … {high})"


def _turned(table: Table) -> Table:
    """Rows as columns."""
    head, *rows = map(list, zip(table.head, *table.rows, strict=True))
    words = len(head) if table.words == len(table.head) else 1
    return Table(head, rows, words)


def _folded(table: Table) -> Table:
    """The same with lines broken, before an interval and in the head."""
    rows = [[cell.replace(" (", "\n(") for cell in row] for row in table.rows]
    head = [name.replace(" ", "\n").replace("-", "-\n") for name in table.head]
    return replace(table, head=head, rows=rows)


def _parts(table: Table, width: int) -> list[Table]:
    """Parts with as many columns as fit, at least one beside the first."""
    first, *columns = _widths(table)
    parts, taken = [[0]], first
    for i, column in enumerate(columns, 1):
        if taken + column >= width and len(parts[-1]) > 1:
            parts.append([0])
            taken = first
        parts[-1].append(i)
        taken += column
    return [
        replace(
            table,
            head=[table.head[i] for i in own],
            rows=[[row[i] for i in own] for row in table.rows],
        )
        for own in parts
    ]


def _width(table: Table) -> int:
    return sum(_widths(table)) + 1


def _widths(table: Table) -> list[int]:
    """The characters that each column takes."""
    columns = map("\n".join, zip(table.head, *table.rows, strict=True))
    return [GAP + max(map(len, column.split("\n"))) for column in columns]
