"""What a sweep has shown: a line of data for each run, which coefficients were chosen
how, and the runs that a table compares.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dreamer_leq.pages.comparison.page import Note
from dreamer_leq.pages.comparison.runs import ScoredRun, scored
from dreamer_leq.pages.parts import NONE, Table
from dreamer_leq.pages.results_file import Row, row
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.sweeps.plan import TRAIN, Job
from dreamer_leq.system.errors import UserError

Setting = tuple[tuple[str, float], ...]  # the values of an algorithm's coefficients


@dataclass(frozen=True)
class Result:
    """A run with a final score: what it is called without and with the coefficients
    that are varied, and how the data alone judge it, where that was asked.
    """

    method: str
    name: str
    setting: Setting
    run: ScoredRun
    row: Row

    @property
    def score(self) -> float:
        return self.run.final.normalized

    @property
    def estimate(self) -> float | None:
        found = self.run.files.offline
        return found.fqe.value if found else None


def names(jobs: Sequence[Job]) -> dict[str, tuple[str, str, Setting]]:
    """By the folder of each run: its method, the same with the coefficients that are
    varied, and these.
    """
    runs = [
        (folder, job.method, config)
        for job in jobs
        if job.kind == TRAIN
        for folder, config in job.runs.items()
    ]
    values = defaultdict(set)
    for _, method, config in runs:
        for key, value in config.coefficients.items():
            values[method, key].add(value)
    found = {}
    for folder, method, config in runs:
        own = config.coefficients.items()
        setting = tuple((k, v) for k, v in own if len(values[method, k]) > 1)
        told = [f"{key} {value:g}" for key, value in setting]
        found[folder] = method, " ".join([method, *told]), setting
    return found


def results(jobs: Sequence[Job], log: Callable[[str], None]) -> list[Result]:
    """The runs that have a final score, in the plan's order; a damaged one is left out
    after a line.
    """
    found, called = [], names(jobs)
    for job in jobs:
        if job.kind != TRAIN:
            continue
        grid = RunFiles(job.folder) if len(job.runs) > 1 else None
        for folder in job.runs:
            method, name, setting = called[folder]
            try:
                run = _final(Path(folder), method)
            except UserError as error:
                log(f"left out: {error}")
                continue
            if run:
                line = row(run.files, name, grid)
                found.append(Result(method, name, setting, run, line))
    return found


def _final(folder: Path, method: str) -> ScoredRun | None:
    """The run of a folder; None where it has no final score."""
    if not (folder / "scores.json").exists():
        return None
    files = RunFiles(folder, strict=True)
    run = scored(files, method) if files.updates in files.scores else None
    return run if run and run.final else None


# --- which coefficients


@dataclass(frozen=True)
class Tuning:
    """The coefficients of one method on one task: mean score of each setting, its mean
    estimate by the data alone (None where a run has none), and its runs.
    """

    task: str
    method: str
    scores: dict[Setting, float]
    estimates: dict[Setting, float | None]
    runs: dict[Setting, list[Result]]

    def chosen(self, how: str) -> Setting | None:
        """The best setting by "online" score or by "offline" estimate; None where one
        has no estimate.
        """
        values = self.scores if how == "online" else self.estimates
        if None in values.values():
            return None
        return max(values, key=values.get)


def tunings(found: Sequence[Result]) -> list[Tuning]:
    """What was tried, for each task and method."""
    groups = defaultdict(lambda: defaultdict(list))
    for one in found:
        groups[one.run.task, one.method][one.setting].append(one)
    return [
        Tuning(
            task,
            method,
            {key: float(np.mean([x.score for x in own])) for key, own in runs.items()},
            {key: _mean([x.estimate for x in own]) for key, own in runs.items()},
            dict(runs),
        )
        for (task, method), runs in groups.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def tuned(found: Sequence[Tuning], how: str) -> list[ScoredRun]:
    """The runs of the setting that is chosen for each task and method: by its online
    score where there is no estimate to choose by.
    """
    chosen = [(one, one.chosen(how) or one.chosen("online")) for one in found]
    return [x.run for one, setting in chosen for x in one.runs[setting]]


def complete(runs: Sequence[ScoredRun], log: Callable[[str], None]) -> list[ScoredRun]:
    """The runs of methods that have one on every task; of others a line is said."""
    tasks, by_method = {run.task for run in runs}, defaultdict(set)
    for run in runs:
        by_method[run.given].add(run.task)
    for method, own in by_method.items():
        if missing := sorted(tasks - own):
            log(f"{method} is left out of the table: no run on {', '.join(missing)}")
    kept = {method for method, own in by_method.items() if own == tasks}
    return [run for run in runs if run.given in kept]


def tuning_note(found: Sequence[Tuning], how: str) -> Note | None:
    """The tuning's budget as a table; None where nothing was tuned."""
    several = [one for one in found if len(one.scores) > 1]
    if not several:
        return None
    head = ["task", "method", "tried", "by online score", "score, %"]
    head += ["by the data alone", "score, %", "worst, %"]
    rows = [
        [
            one.task,
            one.method,
            f"{len(one.scores)} x {min(map(len, one.runs.values()))} seeds",
            *_told(one, "online"),
            *_told(one, "offline"),
            f"{min(one.scores.values()):.1f}",
        ]
        for one in several
    ]
    by = {"online": "score in the environment", "offline": "estimate by the data alone"}
    words = (
        f"The table above has the setting with the best mean {by[how]} of each task. A "
        "score that was chosen by itself is too high: as many settings as were tried "
        "had a chance. What the data alone would have chosen needs no environment."
    )
    return Note("Tuning", Table(head, rows, words=2), words)


def _told(one: Tuning, how: str) -> list[str]:
    setting = one.chosen(how)
    if setting is None:
        return [NONE, NONE]
    name = ", ".join(f"{key} {value:g}" for key, value in setting)
    return [name, f"{one.scores[setting]:.1f}"]
