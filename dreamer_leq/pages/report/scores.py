"""The scores of a run's policy, and what to hold them against."""

from dataclasses import dataclass
from typing import Any

from dreamer_leq.evaluation.scores import normalized_score
from dreamer_leq.pages.parts import number
from dreamer_leq.pages.run_files import RunFiles


@dataclass(frozen=True)
class Score:
    """A mean return with its 95 % interval, where there are several episodes."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    normalized: float | None = None
    episodes: int | None = None

    @classmethod
    def of(cls, name: str, entry: dict[str, Any]) -> "Score":
        """That of `evaluation.scores.summarize`."""
        low, high = (entry[key] for key in ("ci_low", "ci_high"))
        return cls(
            name,
            number(entry["mean"]),
            None if low is None else number(low),
            None if high is None else number(high),
            number(entry["normalized"]),
            int(entry["episodes"]),
        )


@dataclass(frozen=True)
class Scores:
    """`policy` is the latest; `cloned` that before the first update of LEQ."""

    policy: Score | None
    cloned: Score | None
    random: Score | None
    data_mean: Score | None
    data_best: Score | None

    @property
    def rows(self) -> list[Score]:
        found = (self.policy, self.cloned, self.random, self.data_mean, self.data_best)
        return [score for score in found if score]


def scores_of(run: RunFiles) -> Scores:
    """The scores of one run; those of a grid are its members'."""
    training = run.read("scores.json", _by_updates) or []
    evaluated = run.read("eval.json", _by_name) or {}
    if run.grid:
        together = run.grid.read("eval.json", _by_name) or {}
        evaluated = {"policy": together.get(run.name), **together, **evaluated}
    policy = training[-1][1] if training else None
    if evaluated.get("policy") and not _outdated(run):
        policy = evaluated["policy"]
    cloned = training[0][1] if len(training) > 1 and training[0][0] == 0 else None
    return Scores(policy, cloned, evaluated.get("random"), *_of_data(run))


def _by_updates(data: Any) -> list[tuple[int, Score]]:
    """The scores of scores.json after each number of updates of LEQ."""
    steps = sorted((int(step), entry) for step, entry in data.items())
    return [(n, Score.of(_words(n), entry)) for n, entry in steps]


def _words(updates: int) -> str:
    return f"policy, {updates:,} updates of LEQ" if updates else "policy before LEQ"


def _by_name(data: Any) -> dict[str, Score]:
    """The scores of eval.json: the policy's, or those of a grid's members."""
    names = {"random": "random actions"}
    return {
        name: Score.of(names.get(name, "policy, scored by eval.py"), entry)
        for name, entry in data.items()
    }


def _outdated(run: RunFiles) -> bool:
    """Whether the run was trained on since eval.py scored it."""
    trained, own = run.path / "scores.json", run.path / "eval.json"
    scored = own if own.exists() or not run.grid else run.grid.path / "eval.json"
    if not trained.exists():
        return False
    return trained.stat().st_mtime > scored.stat().st_mtime


def _of_data(run: RunFiles) -> tuple[Score | None, Score | None]:
    if not run.config or not run.info:
        return None, None
    reference = run.config.about.reference

    def score(name: str, value: float) -> Score:
        return Score(name, value, normalized=normalized_score(value, reference))

    mean, best = run.info.return_mean, run.info.return_max
    return score("dataset, mean episode", mean), score("dataset, best episode", best)
