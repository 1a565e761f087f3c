"""The runs that are compared: from the arguments of --compare to their scores."""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamer_leq.config import Config
from dreamer_leq.pages import results_file
from dreamer_leq.pages.run_files import RunFiles, Score
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json

LATER = "eval.json"  # scores by eval.py: of the policy, or of a grid's members
SWEEP = "sweep.json"  # in a sweep's folder: its runs, and what their methods are called


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


class Unscored(UserError):
    """A run without a final score."""


def open_runs(
    arguments: list[str], log: Callable[[str], None] = print
) -> list[ScoredRun]:
    """The runs of folders, or of NAME=FOLDER with the name of their method; a grid is
    all its members, and a folder may be a pattern such as `runs/*`. Of a sweep, or of
    the CSV file of one's results, all that have a final score. Runs without one are
    left out, and `log` receives why.

    Raises UserError for a folder that is no run's, and where no run has a final score.
    """
    runs: dict[Path, ScoredRun] = {}
    unscored: list[Unscored] = []
    for argument in arguments:
        given, folders = _folders(argument)
        for folder in folders:
            for run in _runs(folder, given, unscored):
                runs.setdefault(run.path.resolve(), run)
    if unscored and not runs:
        raise unscored[0]
    for error in unscored:
        log(f"left out: {error}")
    return list(runs.values())


def _runs(path: Path, given: str, unscored: list[Unscored]) -> Iterator[ScoredRun]:
    """The runs of a sweep, a file of results, a grid, or the one run; `unscored`
    receives those without a final score.
    """
    if path.suffix == ".csv":
        for number, line in enumerate(results_file.read(path), 2):
            files = results_file.run_of(line, f"{path}, line {number}")
            if files.updates in files.scores:
                yield scored(files, given or line.method)
    elif (path / SWEEP).is_file():
        for folder, method in _of_sweep(path):
            files = RunFiles(folder, strict=True)
            if (folder / "scores.json").exists() and files.updates in files.scores:
                yield scored(files, given or method)
    else:
        for files in _members(path):
            try:
                yield scored(files, given)
            except Unscored as error:
                unscored.append(error)


def _of_sweep(path: Path) -> list[tuple[Path, str]]:
    """The folders of a sweep's runs, and what their methods are called."""
    file = path / SWEEP
    found = read_json(file)
    try:
        return [(path / run["folder"], run["method"]) for run in found["runs"]]
    except (KeyError, TypeError):
        raise UserError(f"{file}: damaged: run the sweep's command again") from None


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


def scored(run: RunFiles, given: str) -> ScoredRun:
    """A run with its final score: of its training, or else of eval.py. Raises Unscored
    where there is none.
    """
    scores, last = run.scores, run.updates
    final = scores.get(last) or (_scored_later(run) if run.trained else None)
    if not (final or scores) and run.trained:
        folder = run.grid.path if run.grid else run.path
        own = run.config.about.suite == "own" and not run.config.env
        env = " --env MODULE:FUNCTION" if own else ""
        raise Unscored(
            f"{run.path} was trained without scores: python eval.py --logdir {folder} "
            f"--episodes 10{env} scores it"
        )
    if not (final or scores):
        raise Unscored(
            f"{run.path} has no scores yet: its policy is still to be trained"
        )
    if not final:
        raise Unscored(
            f"{run.path} has no final score yet: its last is of update "
            f"{max(scores, default=0)} of {last}"
        )
    cloned = scores.get(0) if run.cloned else None
    return ScoredRun(run, given, final if last else None, cloned)


def _scored_later(run: RunFiles) -> Score | None:
    """The score that eval.py gave the trained policy."""
    found = run.read(LATER, dict[str, Score]) or {}
    if "policy" not in found and run.grid:
        found = run.grid.read(LATER, dict[str, Score]) or {}
        return found.get(run.name)
    return found.get("policy")
