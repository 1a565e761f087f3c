"""Tasks × methods: scores of runs, and what they say of the methods."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dreamer_leq.config.checks import flatten
from dreamer_leq.evaluation.statistics import (
    Estimate,
    Profile,
    aggregate,
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from dreamer_leq.pages.comparison.methods import Legend, differing, method_names
from dreamer_leq.pages.comparison.runs import ScoredRun
from dreamer_leq.pages.parts import setting
from dreamer_leq.pages.run_files import CLONING
from dreamer_leq.system.errors import UserError

Scores = dict[str, dict[str, np.ndarray]]
_OF_CLONING = ("bc.", "encoding.")  # sections of what is cloned, and from what


@dataclass(frozen=True)
class Summary:
    """What is compared: `scores` are those of runs by method and task, float [R], 1
    being the task's reference, or a return of 100 where it has none; `names` is the
    method of each run, and `legend` what differs between methods, by name and key.
    """

    runs: list[ScoredRun]
    names: list[str]
    tasks: list[str]
    scores: Scores
    legend: Legend
    notes: list[str]

    @property
    def methods(self) -> list[str]:
        return list(self.scores)

    @property
    def returns(self) -> list[str]:
        """The tasks without a reference, whose scores are returns."""
        own = {run.task for run in self.runs if not run.config.about.referenced}
        return [task for task in self.tasks if task in own]

    @property
    def score_name(self) -> str:
        """Of a column or an axis."""
        return "score" if self.returns else "score, %"

    def interquartile_mean(self, method: str) -> Estimate:
        return aggregate(self._by_task(method), interquartile_mean)

    def optimality_gap(self, method: str) -> Estimate:
        return aggregate(self._by_task(method), optimality_gap)

    def profile(self, method: str, thresholds: np.ndarray) -> Profile:
        """How many of a method's runs score more than each threshold [K]."""
        return performance_profile(self._by_task(method), thresholds)

    def improvement(self, method: str, other: str) -> Estimate:
        """Probability that a run of `method` beats one of `other`."""
        return probability_of_improvement(self._by_task(method), self._by_task(other))

    def _by_task(self, method: str) -> list[np.ndarray]:
        return [self.scores[method][task] for task in self.tasks]


def summarize(runs: Sequence[ScoredRun]) -> Summary:
    """The summary of some runs.

    Raises UserError where a method has no run on one of the tasks.
    """
    names, legend = method_names(runs)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run, name in zip(runs, names, strict=True):
        if run.final:
            found[name][run.task].append(run.final.normalized / 100)
    tasks = sorted({run.task for run in runs})
    for name, by_task in found.items():
        if missing := [task for task in tasks if task not in by_task]:
            known = [f"{key} {value}" for key, value in legend.get(name, {}).items()]
            method = f"{name!r} ({', '.join(known)})" if known else f"{name!r}"
            raise UserError(
                f"method {method} has no run on {', '.join(missing)}: give one, leave "
                "the task out, or call runs of several settings one method, as NAME=DIR"
            )
    table = {name: _arrays(by_task, tasks) for name, by_task in sorted(found.items())}
    cloned, notes = _cloned(runs), []
    for name, by_task in sorted(cloned.items(), reverse=True):
        if set(by_task) == set(tasks):
            table = {name: _arrays(by_task, tasks)} | table
        else:
            notes.append(f"{name} is left out: it has no score on all tasks")
    if not table:
        raise UserError("no run has a score of its algorithm or of behaviour cloning")
    notes += _notes(table)
    return Summary(list(runs), names, tasks, table, legend, notes)


def _arrays(by_task: dict[str, list[float]], tasks: list[str]) -> dict[str, np.ndarray]:
    return {task: np.array(by_task[task]) for task in tasks}


def _cloned(runs: Sequence[ScoredRun]) -> dict[str, dict[str, list[float]]]:
    """Scores of behaviour cloning by its settings, where they differ, and task. Runs
    that share it, such as the members of a grid with one seed, count once.
    """
    policies = {
        (name, run.task, run.seed, run.cloned.normalized): run.cloned.normalized / 100
        for name, run in _cloning_names([run for run in runs if run.cloned])
    }
    found: dict[str, dict[str, list[float]]] = {}
    for (name, task, _, _), score in policies.items():
        found.setdefault(name, {}).setdefault(task, []).append(score)
    return found


def _cloning_names(runs: Sequence[ScoredRun]) -> Iterator[tuple[str, ScoredRun]]:
    """Each run with what its cloning is called: by the values of the keys that differ
    within a task.
    """
    settings = [
        {k: v for k, v in flatten(run.config).items() if k.startswith(_OF_CLONING)}
        for run in runs
    ]
    keys = differing(list(zip(runs, settings, strict=True)))
    for run, found in zip(runs, settings, strict=True):
        told = [f"{key.rpartition('.')[2]} {setting(found[key])}" for key in keys]
        yield " ".join([run.files.title(CLONING), *told]), run


def _notes(table: Scores) -> list[str]:
    counts = {len(scores) for by_task in table.values() for scores in by_task.values()}
    notes = []
    if counts == {1}:
        notes.append("one run of each method on each task: nothing tells chance apart")
    elif min(counts) < 5:
        notes.append(
            f"as few as {min(counts)} runs of a method on a task: intervals over so "
            "few are too narrow"
        )
    if len(counts) > 1:
        notes.append(
            f"{min(counts)} to {max(counts)} runs: tasks and methods with more of them "
            "have more weight"
        )
    return notes
