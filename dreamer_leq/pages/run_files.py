"""What the page reads of a run: JSON files and the configuration. No arrays, no JAX.

A file that is missing or damaged leaves its place empty; `problems` says so in a line.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.pages.report.info import Info
from dreamer_leq.system.errors import UserError

T = TypeVar("T")
Record = dict[str, Any]

# What code that reads a value of the wrong shape or type runs into.
DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass
class RunFiles:
    """The files of one run, or of a grid with `members`."""

    path: Path
    grid: "RunFiles | None" = None  # that this one is a member of
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def config(self) -> Config | None:
        try:
            return configs.read(self.path / "config.yaml")
        except UserError as error:
            self.problems.append(str(error))
            return None

    @cached_property
    def members(self) -> list["RunFiles"]:
        """Those of a grid that have begun, in the order of the configuration."""
        names = self.config.members if self.config else ()
        folders = [self.path / name for name in names]
        return [RunFiles(folder, self) for folder in folders if folder.is_dir()]

    @cached_property
    def info(self) -> Info | None:
        return self.read("info.json", Info.of)

    @cached_property
    def records(self) -> list[Record]:
        """Those of metrics.jsonl; lines that are none are left out."""
        file = self.path / "metrics.jsonl"
        try:
            lines = file.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror}")
            return []
        found = [record for line in lines if (record := _record(line))]
        if lost := len(lines) - len(found):
            self.problems.append(f"{file}: {lost} lines are no records; left out")
        return found

    def read(self, name: str, make: Callable[[Any], T]) -> T | None:
        """What `make` makes of a JSON file; None where there is none, or a damaged
        one.
        """
        file = self.path / name
        if not file.exists():
            return None
        try:
            return make(json.loads(file.read_text()))
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror}")
        except (*DAMAGED, RecursionError) as error:
            about = " ".join(f"{type(error).__name__} {error}".split())
            self.problems.append(f"{file}: damaged, and left out ({about})")
        return None

    @property
    def all_problems(self) -> Iterator[str]:
        yield from dict.fromkeys(self.problems)
        for member in self.members:
            yield from dict.fromkeys(member.problems)


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
        fits = isinstance(record["phase"], str) and isinstance(record["step"], int)
    except (*DAMAGED, RecursionError):
        return None
    return record if fits else None
