"""The suites that `collect` makes datasets of, and which of its options each takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vd4rl_loader.errors import DataError

_FLAGS = {"policies": "policy", "layout": "format"}  # where they differ from the names


class _Suite(NamedTuple):
    needed: tuple[str, ...]
    defaults: dict[str, Any]
    others: tuple[str, ...]  # their defaults are those of the collecting function


SUITES = {
    "dm_control": _Suite(
        ("task", "level", "out"),
        {"episodes": 100, "seed": 0},
        ("render", "size", "workers", "hdf5", "noise", "policies"),
    ),
    "gymnasium": _Suite(
        ("task", "level", "out"),
        {"steps": 200_000, "seed": 0},
        ("layout", "policies", "workers"),
    ),
    "pointmaze": _Suite(("task", "out"), {"steps": 200_000, "seed": 0}, ("noise",)),
}


def complete(suite: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a suite's collecting function: those given, and defaults.

    Raises:
      DataError: unknown suite, an option that it does not take, or one is missing.
    """
    if suite not in SUITES:
        raise DataError(f"unknown suite {suite!r}: give one of {', '.join(SUITES)}")
    needed, defaults, others = SUITES[suite]
    names = (*needed, *defaults, *others)
    for name in given:
        if name not in names:
            raise DataError(
                f"{_flag(name)} is no option of --suite {suite}, which takes "
                f"{', '.join(map(_flag, names))}"
            )
    for name in needed:
        if name not in given:
            raise DataError(f"{_flag(name)} is missing: --suite {suite} needs it")
    return {**defaults, **given}


def _flag(name: str) -> str:
    return f"--{_FLAGS.get(name, name)}"
