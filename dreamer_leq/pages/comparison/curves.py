"""The runs' metrics over each other: a plot for each phase and metric of a task."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dreamer_leq.pages.charts import thinned
from dreamer_leq.pages.comparison.runs import ScoredRun
from dreamer_leq.pages.phases import PHASES
from dreamer_leq.pages.run_files import Record

POINTS = 300  # of a curve; longer ones are thinned
_NO_METRICS = ("phase", "step", "time")
_LEFT_OUT = ("eval_std", "eval_ci_low", "eval_ci_high", "eval_normalized")


@dataclass(frozen=True)
class Curve:
    """A run's values of one metric over the updates of its phase."""

    run: ScoredRun
    step: np.ndarray
    value: np.ndarray


def curves(runs: Sequence[ScoredRun]) -> dict[tuple[str, str], list[Curve]]:
    """By phase and metric, in the order of training; of runs of one task."""
    found = defaultdict(list)
    for run in runs:
        for phase in PHASES:
            own = [record for record in run.files.records if record["phase"] == phase]
            for name, step, value in _series(own):
                found[phase, name].append(Curve(run, *thinned(step, value, POINTS)))
    order = {phase: i for i, phase in enumerate(PHASES)}
    # a phase's evaluations before its losses
    keys = sorted(found, key=lambda key: (order[key[0]], "eval_" not in key[1]))
    return {key: found[key] for key in keys}


def _series(records: list[Record]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    names = dict.fromkeys(name for record in records for name in record)
    for name in names:
        if name in _NO_METRICS or name in _LEFT_OUT:
            continue
        pairs = [(r["step"], r[name]) for r in records if name in r]
        step, value = np.array(pairs, float).T
        yield name, step, value
