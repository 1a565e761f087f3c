"""The comparison's page: one HTML file that needs nothing but itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from dreamer_leq.evaluation.statistics import Estimate
from dreamer_leq.pages.charts import Chart, Style, estimates
from dreamer_leq.pages.comparison.figures import (
    method_colours,
    offline_chart,
    profile_chart,
    run_colours,
    scores_chart,
)
from dreamer_leq.pages.comparison.offline import TRUST, offline_table, offline_tasks
from dreamer_leq.pages.comparison.summary import Summary
from dreamer_leq.pages.comparison.tables import (
    improvement_table,
    laid_out,
    legend_table,
    score_table,
    unit,
)
from dreamer_leq.pages.curves import EVALUATION, Source, curves
from dreamer_leq.pages.parts import NONE, Table
from dreamer_leq.pages.templates import render

WIDTH = 140  # characters of a table that fits the page on a desktop
_ROW = 34  # pixels of a row in a plot of intervals


@dataclass(frozen=True)
class Note:
    """A table beside the scores, with its title and words on it."""

    title: str
    table: Table
    words: str


def comparison_page(summary: Summary, notes: Sequence[Note] = ()) -> str:
    """The HTML of the page, with tables that are given beside its own."""
    methods = summary.methods
    # a run may be of behaviour cloning alone
    colours = method_colours(dict.fromkeys([*methods, *summary.names]))
    offline = offline_tasks(summary)
    improvement = improvement_table(summary) if len(methods) > 1 else None
    return render(
        "comparison/page.html",
        summary=summary,
        title=f"{len(methods)} methods" if summary.legend else ", ".join(methods),
        styles={name: Style(colours[name]) for name in methods},
        legend=legend_table(summary),
        scores=laid_out(score_table(summary), WIDTH),
        improvement=improvement and laid_out(improvement, WIDTH),
        unit=unit(summary),
        charts=[] if summary.returns else _statistics(summary, colours),
        wide=[
            *([] if summary.returns else [profile_chart(summary, colours)]),
            *_chances(summary, colours),
            scores_chart(summary, colours),
        ],
        notes=notes,
        offline=[(found, offline_chart(found, colours)) for found in offline],
        offline_table=offline_table(offline),
        trust=TRUST,
        curves={task: _curves(summary, task, colours) for task in summary.tasks},
        runs=_runs_table(summary),
    )


def _statistics(summary: Summary, colours: dict[str, str]) -> list[Chart]:
    """Each statistic of the methods."""
    charts = {
        "Interquartile mean, %": summary.interquartile_mean,
        "Optimality gap, %": summary.optimality_gap,
    }
    about = (
        "Mean of the middle half of all runs: higher is better.",
        "How far runs fall short of the reference: lower is better.",
    )
    return [
        _estimates(title, note, [(m, of(m), colours[m]) for m in summary.methods], 100)
        for (title, of), note in zip(charts.items(), about, strict=True)
    ]


def _chances(summary: Summary, colours: dict[str, str]) -> list[Chart]:
    """Of each pair of methods that one beats the other; none where there is one."""
    pairs = list(combinations(summary.methods, 2))
    if not pairs:
        return []
    rows = [(f"{b} > {a}", summary.improvement(b, a), colours[b]) for a, b in pairs]
    note = "That a run of the first method beats one of the second on the same task."
    chart = _estimates("Probability of improvement", note, rows, middle=0.5)
    chart.figure.update_xaxes(range=[-0.02, 1.02])
    return [chart]


def _estimates(
    title: str,
    note: str,
    rows: list[tuple[str, Estimate, str]],
    scale: float = 1.0,
    middle: float | None = None,
) -> Chart:
    ends = [(name, (e.value, e.low, e.high), colour) for name, e, colour in rows]
    scaled = [
        (name, *(None if x is None else scale * x for x in values), colour)
        for name, values, colour in ends
    ]
    return Chart(title, note, estimates(scaled, middle), 50 + _ROW * len(rows))


def _curves(
    summary: Summary, task: str, colours: dict[str, str]
) -> tuple[list[Source], list[Chart]]:
    """The runs of one task and their curves, those of the environment first."""
    pairs = zip(summary.names, summary.runs, strict=True)
    own = [(name, run) for name, run in pairs if run.task == task]
    own.sort(key=lambda pair: (pair[0], pair[1].seed))
    shades = run_colours([name for name, _ in own], colours)
    sources = [
        Source(f"{name} · seed {run.seed}", run.files, Style(shade))
        for (name, run), shade in zip(own, shades, strict=True)
    ]
    groups = sorted(curves(sources, timed=False), key=lambda g: g.name != EVALUATION)
    return sources, [chart for group in groups for chart in group.charts]


def _runs_table(summary: Summary) -> Table:
    rows = []
    for run, method in zip(summary.runs, summary.names, strict=True):
        score = f"{run.final.normalized:.1f}" if run.final else NONE
        rows.append([str(run.path), method, run.task, str(run.seed), score])
    head = ["folder", "method", "task", "seed", summary.score_name]
    return Table(head, rows, words=3)
