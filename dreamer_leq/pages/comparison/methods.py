"""Which runs are of one method: those that differ in nothing but task and seed."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dreamer_leq.config.checks import KEYS, flatten
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.pages.comparison.runs import ScoredRun

# Keys and sections that make no other method of a run.
_NO_METHOD = (
    *FREE_KEYS,
    *("task", "seed", "seeds", "pretrained"),
    *("eval.", "video.", "checkpoint.", "log.", "analysis."),
)


def method_names(runs: Sequence[ScoredRun]) -> list[str]:
    """The name of each run's method: the one that was given, or else the keys in which
    it differs from other unnamed runs of its task, and their values.
    """
    unnamed = [run for run in runs if not run.given]
    keys = _distinguishing(unnamed)
    return [run.given or _name(flatten(run.config), keys) for run in runs]


def _distinguishing(runs: Sequence[ScoredRun]) -> list[str]:
    """Keys with several values within a task; others are the task's own settings."""
    by_task = defaultdict(list)
    for run in runs:
        by_task[run.task].append(flatten(run.config))
    candidates = [key for key in KEYS if not _is_no_method(key)]
    return [
        key
        for key in candidates
        if any(len({flat[key] for flat in flats}) > 1 for flats in by_task.values())
    ]


def _is_no_method(key: str) -> bool:
    return any(key == k or (k[-1] == "." and key.startswith(k)) for k in _NO_METHOD)


def _name(flat: dict[str, Any], keys: Sequence[str]) -> str:
    parts = [f"{_short(key)} {_text(flat[key])}" for key in keys]
    return ", ".join(parts) or "LEQ"


def _short(key: str) -> str:
    """The key's last part, where no other key ends in it."""
    last = key.rpartition(".")[2]
    same = [other for other in KEYS if other.rpartition(".")[2] == last]
    return last if len(same) == 1 else key


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
