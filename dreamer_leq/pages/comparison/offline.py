"""What the datasets alone say of the runs, beside their scores in the environment."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from dreamer_leq.evaluation.statistics import describe_rank_correlation
from dreamer_leq.pages.comparison.runs import ScoredRun
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.parts import Table

TRUST = (
    "Fitted Q evaluation (FQE) knows no more than the data: a policy that leaves them "
    "is judged by extrapolation, and training has seen these very episodes. The "
    "order of a few methods may be chance. Use it to discard one that is far below the "
    "others, or below what the data's own policies got, and not to tell close ones "
    "apart: values no further apart than the fit misses the rewards are the same."
)


@dataclass(frozen=True)
class OfflineRow:
    """The runs of one method: means over them."""

    method: str
    runs: int
    fqe: float
    residual: float  # by which fitted Q evaluation misses the rewards
    bias: float  # of the run's own critic on held-out episodes
    online: float  # return


@dataclass(frozen=True)
class OfflineTask:
    """The methods of one task and how well the two rankings agree."""

    task: str
    rows: list[OfflineRow]
    points: dict[str, np.ndarray]  # of the runs by method: [R, 2], FQE and return
    sentences: list[str]


def offline_tasks(summary: Summary) -> list[OfflineTask]:
    """Those tasks of which any run has an offline estimate."""
    found: dict[str, dict[str, list[ScoredRun]]] = defaultdict(dict)
    for run, name in zip(summary.runs, summary.names, strict=True):
        if run.files.offline and run.final:
            found[run.task].setdefault(name, []).append(run)
    return [_task(task, found[task]) for task in summary.tasks if task in found]


def offline_table(tasks: list[OfflineTask]) -> Table:
    """The methods of all tasks."""
    numbers = ("runs", "FQE", "its fit misses by", "critic's bias", "return")
    rows = [
        [
            *(task.task, one.method, str(one.runs), f"{one.fqe:.1f}"),
            *(f"{one.residual:.1f}", f"{one.bias:+.1f}", f"{one.online:.4g}"),
        ]
        for task in tasks
        for one in task.rows
    ]
    return Table(["task", "method", *numbers], rows, words=2)


def _task(task: str, methods: dict[str, list[ScoredRun]]) -> OfflineTask:
    points = {
        name: np.array([[run.files.offline.fqe.value, run.final.mean] for run in runs])
        for name, runs in methods.items()
    }
    means = np.array([values.mean(0) for values in points.values()])
    each = np.concatenate(list(points.values()))
    return OfflineTask(
        task,
        [_row(name, runs, points[name]) for name, runs in methods.items()],
        points,
        [
            describe_rank_correlation(*means.T, "methods"),
            describe_rank_correlation(*each.T, "runs"),
        ],
    )


def _row(method: str, runs: list[ScoredRun], points: np.ndarray) -> OfflineRow:
    fqe, online = points.mean(0)
    residual = np.mean([abs(run.files.offline.residual) for run in runs])
    bias = np.mean([run.files.offline.bias.value for run in runs])
    return OfflineRow(method, len(runs), fqe, residual, bias, online)
