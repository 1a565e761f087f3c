"""The runs that are compared: from the arguments of --compare to their scores."""

import glob
from dataclasses import dataclass
from pathlib import Path

from dreamer_leq.config import Config
from dreamer_leq.pages.run_files import RunFiles, Score
from dreamer_leq.system.errors import UserError


@dataclass(frozen=True)
class ScoredRun:
    """A finished run, or a grid's member. `given` is the name that the user gives its
    method, or empty.
    """

    files: RunFiles
    given: str
    final: Score | None  # None where nothing is trained after behaviour cloning
    cloned: Score | None  # of behaviour cloning, where it came before the algorithm

    @property
    def config(self) -> Config:
        return self.files.config

    @property
    def path(self) -> Path:
        return self.files.path

    @property
    def task(self) -> str:
        return self.config.task

    @property
    def seed(self) -> int:
        return self.config.seed


def open_runs(arguments: list[str]) -> list[ScoredRun]:
    """The runs of folders, or of NAME=FOLDER with the name of their method; a grid is
    all its members, and a folder may be a pattern such as `runs/*`.

    Raises UserError for a folder that is no run's or has no final score.
    """
    runs: dict[Path, ScoredRun] = {}
    for argument in arguments:
        given, folders = _folders(argument)
        for folder in folders:
            for files in _members(folder):
                runs.setdefault(files.path.resolve(), _scored(files, given))
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


def _members(folder: Path) -> list[RunFiles]:
    """The members of a grid, begun or not, or the one run."""
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder} is not a run's folder: it has no config.yaml")
    run = RunFiles(folder, strict=True)
    names = run.config.members
    return [RunFiles(folder / name, run, strict=True) for name in names] or [run]


def _scored(run: RunFiles, given: str) -> ScoredRun:
    if not (run.path / "scores.json").exists():
        raise UserError(
            f"{run.path} has no scores yet: its policy is still to be trained"
        )
    scores, last = run.scores, run.updates
    if last not in scores:
        raise UserError(
            f"{run.path} has no final score yet: its last is of update "
            f"{max(scores, default=0)} of {last}"
        )
    cloned = scores.get(0) if run.cloned else None
    return ScoredRun(run, given, scores[last] if last else None, cloned)
