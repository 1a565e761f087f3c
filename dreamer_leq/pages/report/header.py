"""The top of the page: what was run, what came of it, what one needs to repeat it."""

import shlex
from functools import partial
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.config.tree import WORLD_MODELS
from dreamer_leq.pages.parts import Table, duration, interval, setting, shown, size
from dreamer_leq.pages.report.returns import returns_chart
from dreamer_leq.pages.report.scores import Scores, scores_of
from dreamer_leq.pages.run_files import Environment, RunFiles, Score, spent
from vd4rl_loader.simulators.suite import EPISODE_STEPS

Facts = list[tuple[str, str]]  # terms and texts


def header(run: RunFiles) -> dict[str, Any]:
    """The texts, table and chart of the top, by their names in the template."""
    scores, policy = scores_of(run), scores_of(run).policy
    members = {member.name: scores_of(member) for member in run.members}
    return dict(
        title=run.config.task if run.config else run.name,
        about=_about(run),
        score=shown(policy.mean, run.unit) if policy else "",
        about_score=f"95 % interval {_spread(policy, run.unit)}{_success(policy)} · "
        f"{scores.policy_name}",
        table=_table(run, scores, members),
        returns=returns_chart(run, scores, members),
        notes=_notes(run, scores),
        links={name: f"{name}/report.html" for name in members},
        summary=_summary(run),
        command=shlex.join(configs.command(run.config)) if run.config else "",
        facts=_facts(run),
    )


def _about(run: RunFiles) -> str:
    """The algorithm, the world model and what a grid varies."""
    if not run.config:
        return ""
    first, count, kind = run.config.seed, run.config.seeds, run.config.world_model
    seeds = f"seeds {first} to {first + count - 1}" if count > 1 else f"seed {first}"
    values = [f"{key} {setting(value)}" for key, value in run.coefficients.items()]
    parts = [run.title(run.algorithm), WORLD_MODELS[kind].title, *values, seeds]
    return " · ".join(parts)


def _table(run: RunFiles, scores: Scores, members: dict[str, Scores]) -> Table:
    """A row for each score; of a grid one for each member, then what they are to be
    held against.
    """
    row = partial(_row, run.unit, run.referenced)
    of_score = ["score"] if run.referenced else []
    head = ["", run.unit, "95 % interval", *of_score, "episodes"]
    if not members:
        return Table(head, [row(*named) for named in scores.rows])
    before = [own.before for own in members.values()]
    rows = [
        *(row(name, own.policy) for name, own in members.items()),
        *(row(*other) for other in scores.others),
    ]
    last = [shown(x.mean, run.unit) if x else "" for x in before] + [""] * len(
        scores.others
    )
    rows = [[*row, cell] for row, cell in zip(rows, last, strict=True)]
    return Table([*head, scores.before_name], rows)


def _row(unit: str, referenced: bool, name: str, score: Score | None) -> list[str]:
    """Where the task has a reference, with the score in % of it."""
    if not score:
        return [name, "not scored yet", "", *[""] * referenced, ""]
    count = "" if score.episodes is None else f"{score.episodes}"
    of_reference = [f"{score.normalized:.1f}"] * referenced
    return [name, shown(score.mean, unit), _spread(score, unit), *of_reference, count]


def _success(score: Score | None) -> str:
    """In how many episodes, of an environment that says so."""
    known = score and score.success is not None
    return f" · success {score.success:.0%}" if known else ""


def _spread(score: Score | None, unit: str) -> str:
    if not score or score.episodes is None:
        return ""
    return interval(score.ci_low, score.ci_high, unit)


def _notes(run: RunFiles, scores: Scores) -> list[str]:
    notes = []
    if not scores.policy and not run.members:
        notes.append("The policy is not scored yet.")
    if not scores.random:
        env = "" if run.has_environment else " --env MODULE:FUNCTION"
        notes.append(
            "Random actions are not scored: python eval.py --logdir "
            f"{run.grid.path if run.grid else run.path}{env} --report does it."
        )
    if run.info and not run.info.dataset.return_histogram:
        notes.append(
            "The returns of the dataset's episodes are not in info.json: the run is of "
            "an earlier version."
        )
    return notes


def _summary(run: RunFiles) -> str:
    """The facts in a few words."""
    used, parts = spent(run), []
    if used.seconds:
        parts.append(f"trained in {duration(sum(used.seconds.values()))}")
    if used.memory is not None:
        parts.append(f"{size(used.memory)} of memory")
    if run.info and run.info.git and run.info.git.commit:
        parts.append(f"commit {run.info.git.commit[:7]}")
    return ", ".join(["Command, versions, time", *parts])


def _facts(run: RunFiles) -> Facts:
    """What one needs to judge, and to repeat, the run."""
    info = run.info
    facts = [("Folder", str(run.path)), *_spent_facts(run)]
    if not info:
        return facts
    devices = dict.fromkeys(info.devices)
    counted = ", ".join(f"{info.devices.count(kind)} × {kind}" for kind in devices)
    commit = info.git and info.git.commit
    changed = ", with changes" if commit and info.git.dirty else ""
    packages = [f"{name} {is_}" for name, is_ in info.packages.items() if is_]
    return [
        facts[0],
        ("Dataset", info.dataset.path),
        ("Environment", _environment(info.dataset.environment)),
        *facts[1:],
        ("Device", f"{counted}; {info.platform}"),
        ("Commit", f"{commit}{changed}" if commit else "not in a git repository"),
        ("Versions", ", ".join([f"Python {info.python}", *packages])),
    ]


def _environment(about: Environment | None) -> str:
    """What the policy is scored in, and how it sees it."""
    if not about:
        return "not recorded"
    parts = [about.suite, *filter(None, (about.task, about.id, about.maze, about.make))]
    if about.action_repeat:
        repeat = f"each action for {about.action_repeat} control steps"
        parts += [f"{repeat}, {EPISODE_STEPS:,} an episode"]
    if style := about.render:
        parts += [f"pictures of style {style.name} by camera {style.camera}"]
    return "; ".join(parts)


def _spent_facts(run: RunFiles) -> Facts:
    used = spent(run)
    if not used.seconds:
        return [("Time and memory", "not recorded: the run is of an earlier version")]
    phases = used.seconds.items()
    each = ", ".join(f"{run.title(phase)} {duration(time)}" for phase, time in phases)
    shared = " (shared by the grid's runs)" if run.grid else ""
    facts = [("Time", f"{duration(sum(used.seconds.values()))}: {each}{shared}")]
    if used.memory is None:
        return facts
    device = used.device_memory
    of_device = "" if device is None else f", {size(device)} of one device"
    return [*facts, ("Peak memory", size(used.memory) + of_device)]
