"""The runs that are compared, as their folders have them. No JAX."""

import glob
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json

Record = dict[str, Any]  # of metrics.jsonl: phase, step and metrics


@dataclass(frozen=True)
class Evaluation:
    """A policy's episodes in its environment."""

    mean: float  # return
    score: float  # 1 is the task's reference


@dataclass(frozen=True)
class Estimate:
    """What the dataset alone says of a policy."""

    fqe: float  # value by fitted Q evaluation
    residual: float  # by which that misses the rewards
    bias: float  # of LEQ's critic on held-out episodes


@dataclass(frozen=True)
class ScoredRun:
    """A finished run, or a grid's member. `given` is the name that the user gives its
    method, or empty.
    """

    path: Path
    given: str
    config: Config
    final: Evaluation | None  # None where nothing is trained but behaviour cloning
    cloned: Evaluation | None  # of behaviour cloning, before LEQ

    @property
    def task(self) -> str:
        return self.config.task

    @property
    def seed(self) -> int:
        return self.config.seed

    @cached_property
    def offline(self) -> Estimate | None:
        """analysis/offline.json, where there is one."""
        file = self.path / "analysis" / "offline.json"
        if not file.exists():
            return None
        found = read_json(file)
        try:
            fqe = found["fqe"]
            numbers = fqe["value"], fqe["residual"], found["calibration"]["bias"]
            return Estimate(*map(float, numbers))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{file} is damaged: delete it and make it anew") from None

    @cached_property
    def records(self) -> list[Record]:
        """Those of metrics.jsonl."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise UserError(f"{file}: not every line is a record of metrics") from None


def open_runs(arguments: list[str]) -> list[ScoredRun]:
    """The runs of folders, or of NAME=FOLDER with the name of their method; a grid is
    all its members, and a folder may be a pattern such as `runs/*`.

    Raises UserError for a folder that is no run's or has no final score.
    """
    runs: dict[Path, ScoredRun] = {}
    for argument in arguments:
        given, folders = _folders(argument)
        for folder in folders:
            for path, config in _members(folder):
                runs.setdefault(path.resolve(), _scored(path, given, config))
    return list(runs.values())


def _folders(argument: str) -> tuple[str, list[Path]]:
    """The method's name and the folders that are meant."""
    name, equals, pattern = argument.rpartition("=")
    if not equals or Path(argument).exists():
        name, pattern = "", argument
    if not glob.has_magic(pattern):
        return name.strip(), [Path(pattern)]
    found = [path for path in map(Path, sorted(glob.glob(pattern))) if path.is_dir()]
    if not found:
        raise UserError(f"--compare {argument}: no folder is called so")
    return name.strip(), found


def _members(folder: Path) -> list[tuple[Path, Config]]:
    config = _config(folder)
    members = [folder / name for name in config.members]
    return [(path, _config(path)) for path in members] or [(folder, config)]


def _config(folder: Path) -> Config:
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(f"{folder} is not a run's folder: it has no config.yaml")
    return configs.read(file)


def _scored(path: Path, given: str, config: Config) -> ScoredRun:
    file = path / "scores.json"
    if not file.exists():
        raise UserError(f"{path} has no scores yet: its policy is still to be trained")
    scores = read_json(file)
    if not isinstance(scores, dict):
        raise UserError(f"{file} is damaged: delete it and make it anew")
    last = str(config.leq.updates)
    if last not in scores:
        reached = max(scores, key=int, default="0")
        raise UserError(
            f"{path} has no final score yet: its last is of update {reached} of {last}"
        )
    cloned = _evaluation(scores, "0", file) if config.bc.updates else None
    final = _evaluation(scores, last, file) if config.leq.updates else None
    return ScoredRun(path, given, config, final, cloned)


def _evaluation(scores: dict[str, Any], step: str, file: Path) -> Evaluation | None:
    if step not in scores:
        return None
    try:
        mean, normalized = (float(scores[step][k]) for k in ("mean", "normalized"))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{file}: the scores of update {step} are damaged") from None
    return Evaluation(mean, normalized / 100)
