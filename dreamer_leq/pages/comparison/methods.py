"""Which runs are of one method, and what it is called: shortly, beside a legend."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.config.checks import flatten
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.pages.comparison.runs import ScoredRun
from dreamer_leq.pages.parts import setting

# Keys and sections that make no other method of a run.
_NO_METHOD = (
    *FREE_KEYS,
    *("algorithm", "task", "seed", "seeds", "pretrained"),
    *("eval.", "video.", "checkpoint.", "log.", "analysis."),
)
LONGEST = 20  # characters of a name; a letter stands for what is longer

Settings = dict[str, Any]  # values by dotted key
Legend = dict[str, dict[str, str]]


def method_names(runs: Sequence[ScoredRun]) -> tuple[list[str], Legend]:
    """The name of each run's method; and by name the key and value of what differs
    between the methods, empty where the names say all of it.

    Runs are of one method where the same name is given, or else where they have the
    same algorithm and the same values of the keys in which its unnamed runs differ from
    others of their task.
    """
    algorithms = {run.files.algorithm for run in runs}
    settings = [_settings(run) for run in runs]
    unnamed = [pair for pair in zip(runs, settings, strict=True) if not pair[0].given]
    own = {
        name: differing([pair for pair in unnamed if pair[0].files.algorithm == name])
        for name in algorithms
    }
    texts = [
        run.given or _described(run, found, own[run.files.algorithm], algorithms)
        for run, found in zip(runs, settings, strict=True)
    ]
    titles = {
        text: "" if run.given or len(algorithms) == 1 else _title(run)
        for text, run in zip(texts, runs, strict=True)
    }
    names, every = _shortened(titles), differing(unnamed)
    short = [names[text] for text in texts]
    if short == texts and set(every) <= set().union(*own.values()):
        return short, {}
    legend: Legend = {name: {} for name in sorted(short)}
    for run, found, name, text in zip(runs, settings, short, texts, strict=True):
        values = {"name": text} if run.given else _told(run, found, every)
        for key, value in values.items():
            known = legend[name].setdefault(key, value)
            if value not in known.split(" / "):  # tasks have settings of their own
                legend[name][key] = f"{known} / {value}"
    return short, legend


def _title(run: ScoredRun) -> str:
    return run.files.title(run.files.algorithm)


def _settings(run: ScoredRun) -> Settings:
    """The keys that make a method, the algorithm's own first, without the sections of
    algorithms that are no phases of the run.
    """
    own, flat = f"{run.files.algorithm}.", flatten(run.config)
    phases = {*run.config.phases, run.files.algorithm}
    others = {f"{name}." for name in configs.sections().keys() - phases}
    left_out = {*_NO_METHOD, *others}
    return {
        key: flat[key]
        for key in sorted(flat, key=lambda key: not key.startswith(own))
        if not any(key == k or (k[-1] == "." and key.startswith(k)) for k in left_out)
    }


def differing(runs: Sequence[tuple[ScoredRun, Settings]]) -> list[str]:
    """Keys with several values within a task; others are the task's own settings."""
    values = defaultdict(set)
    for run, found in runs:
        for key, value in found.items():
            values[key, run.task].add(value)
    return list(dict.fromkeys(key for (key, _), own in values.items() if len(own) > 1))


def _described(
    run: ScoredRun, found: Settings, keys: list[str], algorithms: set[str]
) -> str:
    """The values of some keys, and the algorithm where there are several."""
    title, told = _title(run), _told(run, found, keys)
    values = ", ".join(f"{key} {value}" for key, value in told.items())
    return values if values and len(algorithms) == 1 else f"{title} {values}".rstrip()


def _told(run: ScoredRun, found: Settings, keys: list[str]) -> dict[str, str]:
    """Values as text by key; keys of the algorithm, and those that end in a word of
    their own, without their sections.
    """
    last = {key: key.rpartition(".")[2] for key in found}
    ends, section = Counter(last.values()), f"{run.files.algorithm}."
    short = {key for key in found if key.startswith(section) or ends[last[key]] == 1}
    told = [key for key in keys if key in found]
    return {last[key] if key in short else key: setting(found[key]) for key in told}


def _shortened(titles: dict[str, str]) -> dict[str, str]:
    """A short name by description: itself, or its title and a letter that is not
    taken.
    """
    kept = {text for text in titles if len(text) <= LONGEST}
    letters = (letter for letter in _letters() if letter not in kept)
    return {
        text: text if text in kept else f"{titles[text]} {next(letters)}".strip()
        for text in sorted(titles)
    }


def _letters() -> Iterator[str]:
    """A, B … Z, AA, BB …"""
    for times in range(1, 1000):
        yield from (letter * times for letter in ascii_uppercase)
