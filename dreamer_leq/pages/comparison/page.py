"""The comparison's page: one HTML file that needs nothing but itself."""

from dataclasses import dataclass
from itertools import combinations

from dreamer_leq.pages.charts import Chart, Style
from dreamer_leq.pages.comparison import figures
from dreamer_leq.pages.comparison.curves import curves
from dreamer_leq.pages.comparison.figures import method_colours, run_colours
from dreamer_leq.pages.comparison.offline import TRUST, OfflineTask, offline_tasks
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.comparison.terminal import statistics_rows, task_rows
from dreamer_leq.pages.phases import PHASES
from dreamer_leq.pages.templates import render

_ROW = 34  # pixels of a row in a plot of intervals


@dataclass(frozen=True)
class TaskCurves:
    """The curves of one task's runs; `key` is their names and styles."""

    task: str
    key: list[tuple[str, Style]]
    charts: list[Chart]


def comparison_page(summary: Summary) -> str:
    """The HTML of the page."""
    colours = method_colours(summary.methods)
    offline = offline_tasks(summary)
    shown = {task: _task_curves(summary, task, colours) for task in summary.tasks}
    return render(
        "comparison/page.html",
        summary=summary,
        methods={name: Style(colour) for name, colour in colours.items()},
        charts=_statistics(summary, colours),
        scores=_scores(summary, colours),
        rows=task_rows(summary),
        statistics=statistics_rows(summary),
        offline=[(found, _offline(found, colours)) for found in offline],
        trust=TRUST,
        curves=shown.values(),
        runs=list(zip(summary.runs, summary.names, strict=True)),
    )


def _scores(summary: Summary, colours: dict[str, str]) -> Chart:
    note = "A point is a run, a bar the mean of a method's runs."
    return Chart(
        "Scores of the runs", note, figures.score_figure(summary, colours), 300
    )


def _statistics(summary: Summary, colours: dict[str, str]) -> list[Chart]:
    methods = summary.methods
    height, hues = _height(len(methods)), [colours[m] for m in methods]
    means = [(m, summary.interquartile_mean(m)) for m in methods]
    gaps = [(m, summary.optimality_gap(m)) for m in methods]
    charts = [
        Chart(
            "Interquartile mean, %",
            "Mean of the middle half of all runs: higher is better.",
            figures.estimate_figure(means, hues, scale=100),
            height,
        ),
        Chart(
            "Optimality gap, %",
            "How far runs fall short of the reference: lower is better.",
            figures.estimate_figure(gaps, hues, scale=100),
            height,
        ),
    ]
    if len(methods) < 2:
        return charts
    pairs = [(b, a) for a, b in combinations(methods, 2)]
    chances = [(f"{a} > {b}", summary.improvement(a, b)) for a, b in pairs]
    hues = [colours[a] for a, _ in pairs]
    probability = Chart(
        "Probability of improvement",
        "That a run of the first method beats one of the second on the same task.",
        figures.estimate_figure(chances, hues, middle=0.5),
        _height(len(pairs)),
    )
    probability.figure.update_xaxes(range=[-0.02, 1.02])
    return [*charts, probability]


def _height(rows: int) -> int:
    return 50 + _ROW * rows


def _offline(found: OfflineTask, colours: dict[str, str]) -> Chart:
    note = "A point is a run. Where the estimate ranks runs well, points rise."
    return Chart(found.task, note, figures.offline_figure(found, colours), 260)


def _task_curves(summary: Summary, task: str, colours: dict[str, str]) -> TaskCurves:
    own = [
        (run, name)
        for run, name in zip(summary.runs, summary.names, strict=True)
        if run.task == task
    ]
    runs, names = zip(
        *sorted(own, key=lambda pair: (pair[1], pair[0].seed)), strict=True
    )
    hues = method_colours(names) | colours  # a run may be of behaviour cloning alone
    shades = run_colours(names, hues)
    key = [
        (f"{name} · seed {run.seed}", Style(shade))
        for run, name, shade in zip(runs, names, shades, strict=True)
    ]
    styles = {run.path: of for run, of in zip(runs, key, strict=True)}
    charts = []
    for what, drawn in curves(runs).items():
        figure, axis = figures.curve_figure(drawn, [styles[x.run.path] for x in drawn])
        charts.append(Chart(_title(*what), axis, figure))
    return TaskCurves(task, key, charts)


def _title(phase: str, metric: str) -> str:
    name = {"eval_mean": "return in the environment", "eval_length": "episode length"}
    return f"{name.get(metric, metric).replace('_', ' ')} · {PHASES[phase]}"
