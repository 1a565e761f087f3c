"""The comparison as a table on the terminal."""

import numpy as np
from rich.table import Table

from dreamer_leq.evaluation.statistics import Estimate
from dreamer_leq.pages.comparison.summary import Summary

SPAN = "…"


def comparison_table(summary: Summary) -> Table:
    """A row per task, and then one per statistic of all tasks together."""
    table = Table(title="scores, in % of the task's reference")
    table.add_column("task", no_wrap=True)
    for method in summary.methods:
        table.add_column(method, justify="right")
    for task, cells in task_rows(summary):
        table.add_row(task, *cells)
    table.add_section()
    for name, cells in statistics_rows(summary):
        table.add_row(name, *cells)
    return table


def task_rows(summary: Summary) -> list[tuple[str, list[str]]]:
    """Task and a cell for each method."""
    return [
        (task, [runs_cell(summary.scores[method][task]) for method in summary.methods])
        for task in summary.tasks
    ]


def statistics_rows(summary: Summary) -> list[tuple[str, list[str]]]:
    """Name and a cell for each method."""
    methods = summary.methods
    percent = {
        "interquartile mean": summary.interquartile_mean,
        "optimality gap": summary.optimality_gap,
    }
    rows = [
        (name, [estimate_cell(of(method), 100, 1) for method in methods])
        for name, of in percent.items()
    ]
    if len(methods) > 1:
        for other in methods:
            cells = [
                "–" if m == other else estimate_cell(summary.improvement(m, other))
                for m in methods
            ]
            rows.append((f"P(better than {other})", cells))
    return rows


def runs_cell(scores: np.ndarray) -> str:
    """Mean of some runs, and the lowest and highest of them."""
    mean, low, high = (100 * x for x in (scores.mean(), scores.min(), scores.max()))
    if len(scores) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ({low:.1f} {SPAN} {high:.1f})"


def estimate_cell(found: Estimate, scale: float = 1.0, digits: int = 2) -> str:
    """A statistic with its interval."""
    value = f"{scale * found.value:.{digits}f}"
    if found.low is None:
        return value
    low, high = (f"{scale * x:.{digits}f}" for x in (found.low, found.high))
    return f"{value} ({low} {SPAN} {high})"
