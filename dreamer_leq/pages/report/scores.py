"""The scores of a run's policy, and what to hold them against."""

from dataclasses import dataclass

from dreamer_leq.evaluation.scores import normalized_score
from dreamer_leq.pages.run_files import RunFiles, Score


@dataclass(frozen=True)
class Scores:
    """The policy's latest score and the one before the algorithm's first update, each
    with its name on the page, and the scores of others.
    """

    policy: Score | None
    policy_name: str
    before: Score | None
    before_name: str
    random: Score | None
    data_mean: Score | None
    data_best: Score | None

    @property
    def others(self) -> list[tuple[str, Score]]:
        """The scores of others than the policy, by name."""
        found = {
            "random actions": self.random,
            "dataset, mean episode": self.data_mean,
            "dataset, best episode": self.data_best,
        }
        return [(name, score) for name, score in found.items() if score]

    @property
    def rows(self) -> list[tuple[str, Score]]:
        """All scores that there are, by name."""
        own = {self.policy_name: self.policy, f"policy {self.before_name}": self.before}
        return [(name, score) for name, score in own.items() if score] + self.others


def scores_of(run: RunFiles) -> Scores:
    """The scores of one run; those of a grid are its members'."""
    evaluated = run.read("eval.json", dict[str, Score]) or {}
    if run.grid:
        together = run.grid.read("eval.json", dict[str, Score]) or {}
        evaluated = {"policy": together.get(run.name), **together, **evaluated}
    last, algorithm = max(run.scores, default=0), run.title(run.algorithm)
    policy, name = run.scores.get(last), f"policy, {last:,} updates of {algorithm}"
    if evaluated.get("policy") and not _outdated(run):
        policy, name = evaluated["policy"], "policy, scored by eval.py"
    before = (run.scores.get(0) if last else None), f"before {algorithm}"
    return Scores(policy, name, *before, evaluated.get("random"), *_of_data(run))


def _outdated(run: RunFiles) -> bool:
    """Whether the run was trained on since eval.py scored it."""
    trained, own = run.path / "scores.json", run.path / "eval.json"
    scored = own if own.exists() or not run.grid else run.grid.path / "eval.json"
    if not trained.exists():
        return False
    return trained.stat().st_mtime > scored.stat().st_mtime


def _of_data(run: RunFiles) -> list[Score | None]:
    """The dataset's mean and best episode."""
    if not run.config or not run.info:
        return [None, None]
    reference = run.config.about.reference
    data = run.info.dataset.statistics
    returns = data.return_mean, data.return_max
    return [Score(x, normalized_score(x, reference)) for x in returns]
