"""A run's folder as the pages read it: JSON files and the configuration. No JAX.

A file that is missing leaves its place empty.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json

T = TypeVar("T")
Record = dict[str, Any]  # of metrics.jsonl: phase, step, metrics and time

WORLD_MODEL = "world_model"  # the phase that comes first
CLONING = "bc"  # the phase that may come before an algorithm's own

# What code that reads a value of the wrong shape or type runs into.
DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass
class RunFiles:
    """The files of one run, or of a grid with `members`.

    What is damaged is left out, and `problems` says so in a line; where `strict`, it
    raises UserError.
    """

    path: Path
    grid: "RunFiles | None" = None  # that this one is a member of
    strict: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def config(self) -> Config | None:
        try:
            return configs.read(self.path / "config.yaml")
        except UserError as error:
            if self.strict:
                raise
            self.problems.append(str(error))
            return None

    @cached_property
    def members(self) -> list["RunFiles"]:
        """Those of a grid that have begun, in the order of the configuration."""
        names = self.config.members if self.config else ()
        folders = [self.path / name for name in names]
        found = [folder for folder in folders if folder.is_dir()]
        return [RunFiles(folder, self, self.strict) for folder in found]

    @property
    def unit(self) -> str:
        """What an episode's score is: return or success."""
        return self.config.about.unit if self.config else "return"

    @property
    def algorithm(self) -> str:
        """The name of what trained the policy: of the last phase, and of a section of
        the configuration.
        """
        return getattr(self.config, "algorithm", "leq")

    @property
    def updates(self) -> int:
        """The updates of the algorithm after which a run is finished."""
        return getattr(self.config, self.algorithm).updates

    @property
    def coefficients(self) -> dict[str, tuple[Any, ...]]:
        """The values of what a grid of the algorithm may vary: of its keys that take
        several.
        """
        own = vars(getattr(self.config, self.algorithm)) if self.config else {}
        return {key: value for key, value in own.items() if isinstance(value, tuple)}

    @cached_property
    def phases(self) -> list[str]:
        """The phases that were recorded here and in the grid, in their order."""
        runs = (self.grid, self, *self.members)
        found = (record["phase"] for run in runs if run for record in run.records)
        return sorted(dict.fromkeys(found), key=lambda phase: phase != WORLD_MODEL)

    @property
    def cloned(self) -> bool:
        """Whether behaviour cloning came before the algorithm: here, or in the run that
        this one has it from.
        """
        if self.algorithm == CLONING:
            return False
        return CLONING in self.phases or (self.path / "checkpoints" / CLONING).exists()

    def title(self, name: str) -> str:
        """A phase or algorithm as one writes it, such as LEQ: by the class of its
        section of the configuration, where it has one.
        """
        section = getattr(self.config, name, None)
        return type(section).__name__ if is_dataclass(section) else words(name)

    @cached_property
    def info(self) -> "Info | None":
        return self.read("info.json", Info.of)

    @cached_property
    def scores(self) -> "dict[int, Score]":
        """Those of training by the updates of the last phase, in their order."""
        return self.read("scores.json", _by_updates) or {}

    @cached_property
    def offline(self) -> "OfflineAnalysis | None":
        return self.read("analysis/offline.json", OfflineAnalysis.of)

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
            self._leave_out(f"{file}: {lost} lines are no records")
        return found

    def read(self, name: str, make: Callable[[Any], T]) -> T | None:
        """What `make` makes of a JSON file; None where there is none, or a damaged
        one.
        """
        file = self.path / name
        if not file.exists():
            return None
        try:
            return make(read_json(file))
        except UserError as error:
            about = str(error).removeprefix(f"{file}: ")
        except DAMAGED as error:
            about = " ".join(f"{type(error).__name__} {error}".split())
        self._leave_out(f"{file}: damaged ({about})")
        return None

    def _leave_out(self, problem: str) -> None:
        if self.strict:
            raise UserError(f"{problem}; leave the run out, or delete the file")
        self.problems.append(f"{problem}; left out")

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


def words(name: str) -> str:
    """A name of code as one reads it."""
    return name.replace("_", " ")


# --- numbers, checked


def number(value: Any) -> float:
    """`value` as a finite float; TypeError or ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not np.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def curve(values: Any, length: int | None = None) -> np.ndarray:
    """A list of numbers as float [N], of `length` where it is given."""
    if not isinstance(values, list):
        raise TypeError(f"{type(values).__name__} in place of a list")
    if length is not None and len(values) != length:
        raise ValueError(f"{len(values)} values in place of {length}")
    return np.array([number(value) for value in values])


# --- what the files hold, checked


@dataclass(frozen=True)
class Histogram:
    """Histogram of the returns of the dataset's episodes: edges [K+1], counts [K]."""

    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Histogram":
        counts = curve(data["counts"])
        return cls(curve(data["edges"], len(counts) + 1), counts)


@dataclass(frozen=True)
class Info:
    """info.json; `histogram` is None in runs of earlier versions."""

    path: str
    episodes: int
    steps: int
    return_mean: float
    return_max: float
    histogram: Histogram | None
    packages: dict[str, str]
    python: str
    platform: str
    devices: tuple[str, ...]
    commit: str | None
    dirty: bool

    @classmethod
    def of(cls, data: Any) -> "Info":
        dataset, git = data["dataset"], data["git"] or {}
        statistics, histogram = dataset["statistics"], dataset.get("return_histogram")
        return cls(
            path=str(dataset["path"]),
            episodes=int(statistics["episodes"]),
            steps=int(statistics["steps"]),
            return_mean=number(statistics["return_mean"]),
            return_max=number(statistics["return_max"]),
            histogram=Histogram.of(histogram) if histogram else None,
            packages={k: str(v) for k, v in data["packages"].items() if v},
            python=str(data["python"]),
            platform=str(data["platform"]),
            devices=tuple(map(str, data["devices"])),
            commit=git.get("commit"),
            dirty=bool(git.get("dirty")),
        )


@dataclass(frozen=True)
class Score:
    """A policy's mean return with its 95 % interval, where there are several episodes;
    `normalized` in % of the task's reference.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    normalized: float | None = None
    episodes: int | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Score":
        """A score as `evaluation.scores.summarize` makes it."""
        low, high = (entry[key] for key in ("ci_low", "ci_high"))
        return cls(
            number(entry["mean"]),
            None if low is None else number(low),
            None if high is None else number(high),
            number(entry["normalized"]),
            int(entry["episodes"]),
        )


def _by_updates(data: Any) -> dict[int, Score]:
    steps = sorted((int(step), entry) for step, entry in data.items())
    return {step: Score.of(entry) for step, entry in steps}


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, data: dict[str, Any], name: str) -> "Estimate":
        return cls(*(number(data[key]) for key in (name, "low", "high")))


@dataclass(frozen=True)
class OfflineAnalysis:
    """analysis/offline.json: what the dataset alone says of a policy."""

    fqe: Estimate  # value by fitted Q evaluation
    residual: float  # by which that misses the rewards
    bias: Estimate  # of the run's own critic on held-out episodes
    sentence: str

    @classmethod
    def of(cls, data: Any) -> "OfflineAnalysis":
        return cls(
            Estimate.of(data["fqe"], "value"),
            number(data["fqe"]["residual"]),
            Estimate.of(data["calibration"], "bias"),
            str(data["sentence"]),
        )


# --- what a run took


@dataclass(frozen=True)
class Spent:
    """Seconds by phase, and the most bytes held; empty and None where not recorded."""

    seconds: dict[str, float]
    memory: float | None
    device_memory: float | None


def spent(run: RunFiles) -> Spent:
    """Time and memory that a run took; of a grid, with its members, who share one
    process.

    What lies between two records counts for the phase of the second one: encoding and
    compilation too. A process that went on with the run counts from its start; the
    updates that it repeated count once.
    """
    records = [*run.records, *(r for member in run.members for r in member.records)]
    times = [(clock(r, "wall"), clock(r, "process_seconds"), r) for r in records]
    clocks = sorted((t for t in times if None not in t), key=itemgetter(0))
    seconds: dict[str, float] = {}
    before = clocks[0][1] if run.grid and clocks else 0.0  # a member joins late
    for _, now, record in clocks:
        gap = now - before if now >= before else now
        phase = record["phase"]
        seconds[phase] = seconds.get(phase, 0.0) + gap
        before = now
    peaks = (_most(records, name) for name in ("peak_memory", "peak_device_memory"))
    return Spent(seconds, *peaks)


def _most(records: list[Record], name: str) -> float | None:
    found = [clock(record, name) for record in records]
    return max((value for value in found if value is not None), default=None)


def clock(record: Record, name: str) -> float | None:
    """What the clock said of a record, where it said so."""
    times = record.get("time")
    value = times.get(name) if isinstance(times, dict) else None
    return value if isinstance(value, int | float) else None
