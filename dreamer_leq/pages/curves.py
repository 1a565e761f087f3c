"""Curves of what training recorded: those of several runs over each other.

Phases and metrics are those that occur; nothing here has to know their names.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import plotly.graph_objects as go

from dreamer_leq.pages.charts import Chart, Style, line, scale_values, thinned
from dreamer_leq.pages.run_files import WORLD_MODEL, Record, RunFiles, clock, words

POINTS = 4000  # of all curves of a plot together
MOST_POINTS, FEWEST_POINTS = 600, 60  # of one curve

EVALUATION = "Evaluation"
_OF_MODEL, _VALUES, _POLICY, _SPEED = (
    *("World model", "Values", "Policy"),
    "Time and memory",
)
GROUPS = (_OF_MODEL, _VALUES, _POLICY, EVALUATION, _SPEED)

# What metrics are, in a few words; others are shown without.
ABOUT = {
    "loss": "all terms together",
    "image_loss": "squared error of the reconstruction, per image",
    "vector_loss": "squared error of the symlog of the state vector",
    "reward_loss": "cross entropy of the two-hot reward",
    "cont_loss": "cross entropy of termination",
    "dyn_loss": "KL of posterior and priors, that trains the priors",
    "rep_loss": "the same KL, that trains the posterior",
    "posterior_entropy": "nats in the stochastic state",
    "nll": "negative log likelihood of change and reward",
    "mse": "squared error of change and reward",
    "termination_loss": "cross entropy of termination",
    "holdout_error": "squared error on held-out transitions",
    "best_holdout_error": "of the parameters that are kept",
    "improved_members": "members that got better in the epoch",
    "imagined_reward": "mean reward of an imagined step",
    "imagined_cont": "mean chance to go on after an imagined step",
    "q": "mean over a batch",
    "lambda_return": "mean over imagined rollouts",
    "data_target": "Bellman target of dataset transitions",
    "return": "discounted return of dataset transitions",
    "return_above_q": "share of λ-returns above Q; at 0.5 Q is their median",
    "return_scale": "5th to 95th percentile of the λ-returns",
    "bc_loss": "distance to the dataset's actions",
    "action_magnitude": "mean size of an action's entries, at most 1",
    "eval_mean": "with its 95 % interval",
    "eval_length": "actions in an episode",
    "updates_per_second": "without compilation",
    "peak_memory": "of the process so far, in bytes",
    "peak_device_memory": "of one device so far, in bytes",
}
_TITLES = {"eval_mean": "return in the environment", "eval_length": "episode length"}
CLOCK = ("updates_per_second", "peak_memory", "peak_device_memory")
# Parts of `eval_mean`'s curve, or the same in another unit.
_HIDDEN = ("eval_std", "eval_ci_low", "eval_ci_high", "eval_normalized")
_NO_METRICS = ("phase", "step", "time", *_HIDDEN)
_OF_POLICY = ("actor", "action", "policy", "bc_loss", "entropy")  # parts of names

Key = tuple[str, str]  # phase and metric


@dataclass(frozen=True)
class Source:
    """A run whose curves are drawn, by which name and how."""

    name: str
    run: RunFiles
    style: Style

    @cached_property
    def series(self) -> dict[Key, np.ndarray]:
        """Steps and values of each metric that was recorded: [N, 2]."""
        found = defaultdict(list)
        for record in self.run.records:
            for name in (*record, *CLOCK):
                if isinstance(value := _value(record, name), int | float):
                    found[record["phase"], name].append((record["step"], value))
        series = {key: np.array(rows, float) for key, rows in found.items()}
        return {key: rows[~np.isnan(rows[:, 1])] for key, rows in series.items()}


@dataclass(frozen=True)
class Group:
    """The charts under one heading."""

    name: str
    charts: list[Chart]


def curves(sources: Sequence[Source], timed: bool = True) -> list[Group]:
    """A chart for each phase and metric of the runs, by group; those of the clock where
    `timed`.
    """
    found: dict[str, list[Chart]] = {name: [] for name in GROUPS}
    for key in _ordered({key for source in sources for key in source.series}, sources):
        drawn = [source for source in sources if len(source.series.get(key, ()))]
        if drawn and key[1] not in _NO_METRICS and (timed or key[1] not in CLOCK):
            found[_group(*key)].append(_chart(drawn, key))
    return [Group(name, charts) for name, charts in found.items() if charts]


def _value(record: Record, name: str) -> object:
    return clock(record, name) if name in CLOCK else record.get(name)


def _ordered(keys: Iterable[Key], sources: Sequence[Source]) -> list[Key]:
    """Phases in the order of training, then metrics in that of ABOUT, others last."""
    phases = dict.fromkeys(phase for one in sources for phase in one.run.phases)
    names = (*phases, *ABOUT)
    order = {name: i for i, name in enumerate(names)}
    return sorted(keys, key=lambda k: [(order.get(x, len(names)), x) for x in k])


def _group(phase: str, metric: str) -> str:
    if metric in CLOCK:
        return _SPEED
    if metric.startswith("eval_"):
        return EVALUATION
    if phase == WORLD_MODEL or metric.startswith("imagined_"):
        return _OF_MODEL
    return _POLICY if any(part in metric for part in _OF_POLICY) else _VALUES


def _chart(drawn: Sequence[Source], key: Key) -> Chart:
    phase, metric = key
    figure, seen = go.Figure(), []
    most = min(MOST_POINTS, max(FEWEST_POINTS, POINTS // len(drawn)))
    for source in drawn:
        x, y = source.series[key].T
        errors = _intervals(source, phase) if metric == "eval_mean" else {}
        if len(x) > most:
            (x, y), errors = thinned(x, y, most), {}
        # half the bytes of what is not read that exactly
        x, y = x.astype(np.float32), y.astype(np.float32)
        figure.add_trace(line(source.name, x, y, source.style, **errors))
        seen.append(y)
    figure.update_xaxes(rangemode="tozero")
    notes = (ABOUT.get(metric, ""), scale_values(figure, np.concatenate(seen)))
    title = f"{_TITLES.get(metric) or words(metric)} · {drawn[0].run.title(phase)}"
    return Chart(title, "; ".join(note for note in notes if note), figure)


def _intervals(source: Source, phase: str) -> dict[str, dict]:
    """Error bars of a source's `eval_mean`, where every one has an interval."""
    names = ("eval_mean", "eval_ci_low", "eval_ci_high")
    found = [source.series.get((phase, name)) for name in names]
    if any(rows is None or len(rows) != len(found[0]) for rows in found):
        return {}
    mean, low, high = (rows[:, 1] for rows in found)
    ends = dict(type="data", array=high - mean, arrayminus=mean - low)
    return {"error_y": ends | dict(color=source.style.colour, thickness=1.2, width=4)}
