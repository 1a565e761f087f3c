"""A run's folder as the pages read it: JSON files and the configuration. No JAX.

A file that is missing leaves its place empty.
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from math import isfinite
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json

Record = dict[str, Any]  # of metrics.jsonl: phase, step, metrics and time

WORLD_MODEL = "world_model"  # the phase that comes first
OFFLINE = "analysis/offline.json"
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
        """The members of a grid that have begun, in the order of the configuration."""
        names = self.config.members if self.config else ()
        folders = [self.path / name for name in names]
        found = [folder for folder in folders if folder.is_dir()]
        return [RunFiles(folder, self, self.strict) for folder in found]

    @property
    def unit(self) -> str:
        """What an episode's score is: return or success."""
        return self.config.about.unit if self.config else "return"

    @property
    def referenced(self) -> bool:
        """Whether scores are in % of a return that is known, too."""
        return not self.config or self.config.about.referenced

    @property
    def has_environment(self) -> bool:
        """Whether it says what its policy is scored in."""
        return self.referenced or bool(self.config.env)

    @property
    def algorithm(self) -> str:
        """The name of what trained the policy: of the last phase, and of a section of
        the configuration.
        """
        return self.config.algorithm if self.config else configs.DEFAULT

    @property
    def updates(self) -> int:
        """The updates of the algorithm after which a run is finished."""
        return self.config.own.updates

    @property
    def trained(self) -> bool:
        """Whether the algorithm's last updates were recorded."""
        after = self.updates - self.config.log.every
        own = (r["step"] for r in self.records if r["phase"] == self.algorithm)
        return self.updates > 0 and any(step > after for step in own)

    @property
    def coefficients(self) -> dict[str, tuple[Any, ...]]:
        """The values of what a grid of the algorithm may vary."""
        return self.config.varying if self.config else {}

    @cached_property
    def phases(self) -> list[str]:
        """The phases that were recorded here and in the grid, in their order."""
        runs = (self.grid, self, *self.members)
        found = (record["phase"] for run in runs if run for record in run.records)
        return sorted(dict.fromkeys(found), key=lambda phase: phase != WORLD_MODEL)

    @property
    def cloned(self) -> bool:
        """Whether behaviour cloning came before the algorithm."""
        before = CLONING in self.config.own.after
        return before and getattr(self.config, CLONING).updates > 0

    def title(self, name: str) -> str:
        """A phase or algorithm as one writes it, such as LEQ."""
        section = configs.sections().get(name)
        return section.title if section else words(name)

    @cached_property
    def info(self) -> "Info | None":
        return self.read("info.json", Info)

    @cached_property
    def scores(self) -> "dict[int, Score]":
        """The scores of training by updates of the last phase, in their order."""
        return dict(sorted((self.read("scores.json", dict[int, Score]) or {}).items()))

    @cached_property
    def offline(self) -> "OfflineAnalysis | None":
        return self.read(OFFLINE, OfflineAnalysis)

    @cached_property
    def records(self) -> list[Record]:
        """The records of metrics.jsonl; lines that are none are left out."""
        file = self.path / "metrics.jsonl"
        try:
            lines = file.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror}")
            return []
        found = [record for line in lines if (record := record_of(line))]
        if lost := len(lines) - len(found):
            self._leave_out(f"{file}: {lost} lines are no records")
        return found

    def read(self, name: str, kind: Any) -> Any:
        """What a JSON file holds, as `kind`; None where there is none, or a damaged
        one.
        """
        file = self.path / name
        if not file.exists():
            return None
        try:
            return checked(kind, read_json(file))
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


def record_of(line: bytes) -> Record | None:
    """The record in a line of metrics.jsonl; None where there is none."""
    try:
        record = json.loads(line)
        fits = isinstance(record["phase"], str) and isinstance(record["step"], int)
    except (*DAMAGED, RecursionError):
        return None
    return record if fits else None


def words(name: str) -> str:
    """A name of code as one reads it."""
    return name.replace("_", " ")


# --- what the files hold: fields are called as in JSON, where there may be more


@dataclass(frozen=True)
class Histogram:
    """Histogram of the returns of the dataset's episodes: edges [K+1], counts [K]."""

    edges: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Statistics:
    """What the dataset's episodes are."""

    episodes: int
    steps: int
    return_mean: float
    return_max: float


@dataclass(frozen=True)
class Picture:
    """How an environment's images are drawn."""

    name: str
    camera: int


@dataclass(frozen=True)
class Environment:
    """What a policy is scored in; only dm_control's has an action repeat."""

    suite: str
    task: str | None = None
    id: str | None = None
    maze: str | None = None
    make: str | None = None  # of an environment of the user's own
    action_repeat: int | None = None
    render: Picture | None = None


@dataclass(frozen=True)
class Dataset:
    """The dataset of a run; runs of earlier versions have no histogram."""

    path: str
    statistics: Statistics
    return_histogram: Histogram | None = None
    environment: Environment | None = None


@dataclass(frozen=True)
class Commit:
    """The state of the code; `dirty`: it was changed since."""

    commit: str | None = None
    dirty: bool = False


@dataclass(frozen=True)
class Info:
    """info.json: what was run, with what, and where."""

    dataset: Dataset
    packages: dict[str, str | None]
    python: str
    platform: str
    devices: list[str]
    git: Commit | None


@dataclass(frozen=True)
class Score:
    """A policy's mean return with its 95 % interval, where there are several episodes;
    `normalized` in % of the task's reference.
    """

    mean: float
    normalized: float
    ci_low: float | None = None
    ci_high: float | None = None
    episodes: int | None = None
    success: float | None = None  # share, where the environment says so


@dataclass(frozen=True)
class FittedQ:
    """A policy's value by fitted Q evaluation, with its 95 % interval where the fit has
    converged; `residual` is by how much that misses the rewards.
    """

    value: float
    residual: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bias:
    """The mean error of a critic, with its 95 % interval."""

    bias: float
    low: float
    high: float


@dataclass(frozen=True)
class OfflineAnalysis:
    """analysis/offline.json: what the dataset alone says of a policy and its critic."""

    fqe: FittedQ
    calibration: Bias
    sentence: str


def checked(kind: Any, data: Any) -> Any:
    """JSON data as a `kind`: a dataclass, a dict, a list, an array of numbers, a text
    or a number, which has to be finite where it may not be None.

    Raises one of DAMAGED.
    """
    arguments = get_args(kind)
    if NoneType in arguments:
        undefined = isinstance(data, float) and not isfinite(data)
        return None if undefined or data in (None, {}) else checked(arguments[0], data)
    if is_dataclass(kind):
        own = [x.name for x in fields(kind) if x.name in data or x.default is MISSING]
        kinds = get_type_hints(kind)
        return kind(**{name: checked(kinds[name], data[name]) for name in own})
    if get_origin(kind) is dict:
        name, what = arguments
        return {name(key): checked(what, x) for key, x in data.items()}
    if kind is np.ndarray:
        return np.array(checked(list[float], data))
    known = get_origin(kind) or kind
    fitting = isinstance(data, int | float if known is float else known)
    if not fitting or isinstance(data, bool) is not (known is bool):
        raise TypeError(f"{type(data).__name__} in place of {known.__name__}")
    if known is float and not isfinite(data):
        raise ValueError(f"{data} is not finite")
    return [checked(arguments[0], x) for x in data] if known is list else known(data)


# --- what a run took


@dataclass(frozen=True)
class Spent:
    """What a run took: seconds by phase and the most bytes it held; empty and None
    where that is not recorded.
    """

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
