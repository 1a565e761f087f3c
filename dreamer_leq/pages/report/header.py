"""The top of the page: what was run, what came of it, what one needs to repeat it."""

import shlex
from dataclasses import dataclass

from dreamer_leq import config as configs
from dreamer_leq.pages.charts import Chart
from dreamer_leq.pages.parts import Table, duration, interval, setting, shown, size
from dreamer_leq.pages.report.returns import returns_chart
from dreamer_leq.pages.report.scores import Scores, scores_of
from dreamer_leq.pages.run_files import Info, RunFiles, Score, spent, words


@dataclass(frozen=True)
class Header:
    """`facts` are (term, text) pairs; `links` to the pages of a grid's members."""

    title: str
    about: str
    score: str
    about_score: str
    table: Table
    returns: Chart | None
    no_returns: str
    notes: list[str]
    links: dict[str, str]
    summary: str
    command: str
    facts: list[tuple[str, str]]


def header(run: RunFiles) -> Header:
    scores, unit = scores_of(run), run.unit
    members = {member.name: scores_of(member) for member in run.members}
    score = scores.policy
    return Header(
        title=run.config.task if run.config else run.name,
        about=_about(run),
        score=shown(score.mean, unit) if score else "",
        about_score=_about_score(scores, unit) if score else "",
        table=_members_table(run, members, scores, unit)
        if members
        else _table(scores, unit),
        returns=returns_chart(run, scores, members, unit),
        no_returns=_no_returns(run.info),
        notes=_notes(run, scores, bool(members)),
        links={name: f"{name}/report.html" for name in members},
        summary=_summary(run),
        command=shlex.join(configs.command(run.config)) if run.config else "",
        facts=_facts(run),
    )


def _about_score(scores: Scores, unit: str) -> str:
    spread = interval(scores.policy.low, scores.policy.high, unit)
    return f"95 % interval {spread} · {scores.policy_name}"


def _about(run: RunFiles) -> str:
    """The algorithm, the world model and what a grid varies."""
    if not run.config:
        return ""
    first, count, kind = run.config.seed, run.config.seeds, run.config.world_model
    seeds = f"seeds {first} to {first + count - 1}" if count > 1 else f"seed {first}"
    values = [f"{key} {setting(value)}" for key, value in run.coefficients.items()]
    kinds = {"latent": "RSSM", "mlp_ensemble": "ensemble of MLPs"}
    parts = [run.title(run.algorithm), kinds.get(kind, words(kind)), *values, seeds]
    return " · ".join(parts)


def _table(scores: Scores, unit: str) -> Table:
    head = ["", unit, "95 % interval", "score", "episodes"]
    return Table(head, [_row(*row, unit) for row in scores.rows])


def _row(name: str, score: Score, unit: str) -> list[str]:
    count = "" if score.episodes is None else f"{score.episodes}"
    spread = "" if score.episodes is None else interval(score.low, score.high, unit)
    normalized = "" if score.normalized is None else f"{score.normalized:.1f}"
    return [name, shown(score.mean, unit), spread, normalized, count]


def _members_table(
    run: RunFiles, members: dict[str, Scores], scores: Scores, unit: str
) -> Table:
    """A row for each member, then what they are to be held against."""
    head = ["", unit, "95 % interval", "score", "episodes", scores.before_name]
    rows = []
    for name, own in members.items():
        before = shown(own.before.mean, unit) if own.before else ""
        if own.policy:
            rows.append([*_row(name, own.policy, unit), before])
        else:
            rows.append([name, "not scored yet", "", "", "", before])
    return Table(head, rows + [[*_row(*other, unit), ""] for other in scores.others])


def _no_returns(info: Info | None) -> str:
    if info and not info.histogram:
        return (
            "The returns of the dataset's episodes are not in info.json: the run is of "
            "an earlier version."
        )
    return ""


def _notes(run: RunFiles, scores: Scores, grid: bool) -> list[str]:
    notes = []
    if not scores.policy and not grid:
        notes.append("The policy is not scored yet.")
    if not scores.random:
        notes.append(
            "Random actions are not scored: python eval.py --logdir "
            f"{run.grid.path if run.grid else run.path} --report does it."
        )
    return notes


def _summary(run: RunFiles) -> str:
    """The facts in a few words."""
    used, parts = spent(run), []
    if used.seconds:
        parts.append(f"trained in {duration(sum(used.seconds.values()))}")
    if used.memory is not None:
        parts.append(f"{size(used.memory)} of memory")
    if run.info and run.info.commit:
        parts.append(f"commit {run.info.commit[:7]}")
    return ", ".join(["Command, versions, time", *parts])


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """What one needs to judge, and to repeat, the run."""
    facts = [("Folder", str(run.path))]
    info = run.info
    if info:
        facts.append(("Dataset", info.path))
    facts += _spent_facts(run)
    if info:
        devices = dict.fromkeys(info.devices)
        counted = ", ".join(f"{info.devices.count(kind)} × {kind}" for kind in devices)
        changed = ", with changes" if info.dirty else ""
        commit = f"{info.commit}{changed}" if info.commit else "not in a git repository"
        packages = ", ".join(f"{name} {is_}" for name, is_ in info.packages.items())
        facts += [
            ("Device", f"{counted}; {info.platform}"),
            ("Commit", commit),
            ("Versions", f"Python {info.python}, {packages}"),
        ]
    return facts


def _spent_facts(run: RunFiles) -> list[tuple[str, str]]:
    used = spent(run)
    if not used.seconds:
        return [("Time and memory", "not recorded: the run is of an earlier version")]
    each = ", ".join(
        f"{run.title(phase)} {duration(seconds)}"
        for phase, seconds in used.seconds.items()
    )
    shared = " (shared by the grid's runs)" if run.grid else ""
    facts = [("Time", f"{duration(sum(used.seconds.values()))}: {each}{shared}")]
    if used.memory is not None:
        device = ""
        if used.device_memory is not None:
            device = f", {size(used.device_memory)} of one device"
        facts.append(("Peak memory", size(used.memory) + device))
    return facts
