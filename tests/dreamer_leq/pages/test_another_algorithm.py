"""Pages of an algorithm that they have never heard of."""

import html
import re
from dataclasses import dataclass

import pytest
import report_files as files
from plotly.offline import get_plotlyjs

from dreamer_leq import config as configs
from dreamer_leq.config import learners
from dreamer_leq.config.values import Share, several
from dreamer_leq.pages.comparison.page import comparison_page
from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.pages.report.page import page
from dreamer_leq.pages.run_files import RunFiles

UPDATES = 40


@dataclass(frozen=True)
class Mine(configs.Section):
    """An algorithm of another package."""

    title = "Mine"
    varies = ("caution",)

    updates: int = UPDATES
    batch: int = 16
    caution: several(Share) = 0.1
    gamma: float = 0.9


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a run of `mine`, which is known for as long."""
    monkeypatch.setitem(learners._SECTIONS, "mine", Mine)

    def write(name, algorithm="mine", caution=0.1, **keys):
        folder = files.write_run(tmp_path / name)
        given = {"algorithm": algorithm, "mine.caution": caution} | keys
        configs.save(configs.from_presets("debug", **given), folder / "config.yaml")
        if algorithm == "mine":
            records = [
                files.record("mine", n, 500.0 + n, strange_gap=n / 2, actor_pull=1.0)
                for n in range(10, UPDATES + 1, 10)
            ]
            files.write_records(folder, [*records, *files.world_model_records()])
            last = {str(n): files.score(100.0 + n) for n in (0, UPDATES)}
            files.write_json(folder / "scores.json", last)
            (folder / "eval.json").unlink()
        return folder

    return write


def words_of(page):
    page = page.replace(get_plotlyjs(), "")
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_its_report_shows_all_that_it_recorded(write):
    found = words_of(page(RunFiles(write("run"))))
    assert "Mine · RSSM · caution 0.1 · seed 0" in found
    assert "policy, 40 updates of Mine" in found and "policy before Mine" in found
    titles = ("loss · world model", "strange gap · Mine", "actor pull · Mine")
    places = [found.index(title) for title in titles]
    assert places == sorted(places)
    assert "LEQ" not in found and "τ" not in found


def test_its_comparison_shows_all_that_it_recorded(write):
    folders = [write(f"run{x}", caution=x, seed=int(10 * x)) for x in (0.1, 0.2)]
    summary = summarize(open_runs([str(folder) for folder in folders]))
    assert summary.methods == ["caution 0.1", "caution 0.2"]
    assert summary.scores["caution 0.1"][summary.tasks[0]] == pytest.approx([0.14])
    found = words_of(comparison_page(summary))
    titles = ("strange gap · Mine", "actor pull · Mine", "loss · world model")
    assert all(title in found for title in titles)
    assert "LEQ" not in found and "τ" not in found


def test_settings_of_each_task_are_in_the_legend(write):
    tasks = {"walker_walk-medium": 32, "cheetah_run-medium": 64}
    folders = []
    for task, units in tasks.items():
        keys = {"task": task, "critic.units": units}
        folders += [write(f"mine-{task}", task=task), write(task, "leq", **keys)]
        files.write_json(folders[-1] / "scores.json", {"20": files.score(50.0)})
    summary = summarize(open_runs([str(folder) for folder in folders]))
    assert summary.methods == ["LEQ", "Mine"]
    assert summary.legend["LEQ"] == {"critic.units": "32 / 64"}


def test_a_long_name_keeps_its_algorithm(write):
    keys = {"critic.layer_norm": False, "actor.layer_norm": True}
    folders = [write("a"), write("b", caution=0.2, **keys), write("c", "leq")]
    files.write_json(folders[2] / "scores.json", {"20": files.score(50.0)})
    summary = summarize(open_runs([str(folder) for folder in folders]))
    assert summary.methods == ["LEQ", "Mine A", "Mine B"]
    assert summary.legend["Mine A"]["caution"] == "0.1"


def test_algorithms_are_methods_by_their_names(write):
    folders = [write("a"), write("b", caution=0.2), write("c", "leq")]
    scores = {str(n): files.score(50.0) for n in (0, 20)}
    files.write_json(folders[2] / "scores.json", scores)
    summary = summarize(open_runs([str(folder) for folder in folders]))
    assert summary.methods == ["BC", "LEQ", "Mine caution 0.1", "Mine caution 0.2"]
    assert not summary.legend
