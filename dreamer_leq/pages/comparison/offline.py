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
class OfflineTask:
    """The runs of one task by method: [R, 4], the value by FQE, by how much its fit
    misses the rewards, the bias of the run's own critic, and the return.
    """

    task: str
    runs: dict[str, np.ndarray]
    unsettled: int  # runs whose fit has not converged: it has no interval

    @property
    def sentences(self) -> list[str]:
        """How well the estimates order methods and runs as the environment does."""
        means = np.array([values.mean(0) for values in self.runs.values()])
        each = np.concatenate(list(self.runs.values()))
        pairs = (("methods", means), ("runs", each))
        found = [describe_rank_correlation(x[:, 0], x[:, 3], what) for what, x in pairs]
        if self.unsettled:
            found.append(f"runs whose fit has not converged: {self.unsettled}")
        return found


def offline_tasks(summary: Summary) -> list[OfflineTask]:
    """The tasks of which any run has an offline estimate."""
    found: dict[str, dict[str, list[ScoredRun]]] = defaultdict(dict)
    for run, name in zip(summary.runs, summary.names, strict=True):
        if run.files.offline and run.final:
            found[run.task].setdefault(name, []).append(run)
    return [_task(task, found[task]) for task in summary.tasks if task in found]


def _task(task: str, methods: dict[str, list[ScoredRun]]) -> OfflineTask:
    def numbers(run: ScoredRun) -> list[float]:
        known = run.files.offline
        fit = known.fqe.value, abs(known.fqe.residual)
        return [*fit, known.calibration.bias, run.final.mean]

    by_method = {name: np.array(list(map(numbers, x))) for name, x in methods.items()}
    fits = [run.files.offline.fqe for runs in methods.values() for run in runs]
    return OfflineTask(task, by_method, sum(fit.low is None for fit in fits))


def offline_table(tasks: list[OfflineTask]) -> Table:
    """A row for each method of each task: means over its runs."""
    numbers = ("runs", "FQE", "its fit misses by", "critic's bias", "return")
    rows = [
        [one.task, method, str(len(values)), *_means(*values.mean(0))]
        for one in tasks
        for method, values in one.runs.items()
    ]
    return Table(["task", "method", *numbers], rows, words=2)


def _means(fqe: float, residual: float, bias: float, online: float) -> list[str]:
    return [f"{fqe:.1f}", f"{residual:.1f}", f"{bias:+.1f}", f"{online:.4g}"]
