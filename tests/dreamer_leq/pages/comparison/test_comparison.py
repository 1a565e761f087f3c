"""Runs beside each other, from folders as training leaves them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import report_files as files

from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main
from dreamer_leq.pages.comparison.offline import offline_table, offline_tasks
from dreamer_leq.pages.comparison.page import comparison_page
from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.pages.comparison.tables import improvement_table, score_table, unit
from dreamer_leq.system.errors import UserError

MAZES = ("pointmaze-umaze", "pointmaze-medium")
UPDATES = 20  # of LEQ in the preset debug


def evaluation(mean):
    return files.score(mean) | {"normalized": 100 * mean}


def write_run(folder, final, cloned=0.1, fqe=None, **flags):
    """A run's folder with what a comparison reads; `final` is its success."""
    config = configs.from_presets("maze", "debug", logdir=str(folder), **flags)
    configs.save(config, folder / "config.yaml")
    scores = {"0": evaluation(cloned), str(UPDATES): evaluation(final)}
    (folder / "scores.json").write_text(json.dumps(scores))
    records = [
        {"phase": "bc", "step": 10, "bc_loss": 0.5, "time": {"wall": 0.0}},
        *(
            {"phase": "leq", "step": n, "q": n / 10, "time": {}}
            for n in (5, 10, 15, 20)
        ),
        {"phase": "leq", "step": 20, "eval_mean": final, "time": {}},
    ]
    lines = (json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text("".join(lines))
    if fqe is not None:
        write_offline(folder, fqe)
    return folder


def write_offline(folder, fqe):
    found = files.offline_analysis(value=fqe) | {
        "calibration": {"bias": 2.0, "low": 1.0, "high": 3.0}
    }
    files.write_json(folder / "analysis/offline.json", found)


@pytest.fixture
def runs(tmp_path):
    """Two τ, two seeds, two mazes: [folder]."""
    folders = []
    for task in MAZES:
        for tau, scores in ((0.1, (1.0, 0.8)), (0.5, (0.2, 0.8))):
            for seed, score in enumerate(scores):
                folder = tmp_path / f"{task}-{tau}-{seed}"
                key = {"task": task, "seed": seed, "leq.tau": tau}
                folders.append(str(write_run(folder, score, fqe=-tau - seed, **key)))
    return folders


def test_methods_are_what_differs(runs):
    summary = summarize(open_runs(runs))
    assert summary.methods == ["BC", "tau 0.1", "tau 0.5"]
    assert summary.tasks == sorted(MAZES)
    np.testing.assert_allclose(summary.scores["tau 0.5"][MAZES[0]], [0.2, 0.8])
    np.testing.assert_allclose(summary.scores["BC"][MAZES[0]], [0.1, 0.1])


def test_a_tasks_own_settings_make_no_method(tmp_path):
    first = write_run(tmp_path / "a", 1.0, task=MAZES[0], **{"leq.tau": 0.1})
    other = {"leq.tau": 0.3, "eval.episodes": 7, "data.path": "elsewhere"}
    second = write_run(tmp_path / "b", 0.5, task=MAZES[1], **other)
    summary = summarize(open_runs([str(first), str(second)]))
    assert summary.methods == ["BC", "LEQ"]


def test_what_changes_no_result_makes_no_method(tmp_path):
    changed = {"analysis.episodes": 3, "latent.remat": True, "data.cache_dir": "cache"}
    given = [
        write_run(tmp_path / name, 0.5, seed=seed, **flags)
        for seed, (name, flags) in enumerate([("a", {}), ("b", changed)])
    ]
    assert summarize(open_runs(map(str, given))).methods == ["BC", "LEQ"]


def test_keys_of_the_same_name_are_told_apart(tmp_path):
    write_run(tmp_path / "a", 1.0, **{"bc.batch": 16})
    write_run(tmp_path / "b", 1.0, **{"bc.batch": 32, "actor.conservative": False})
    summary = summarize(open_runs([str(tmp_path / "*")]))
    assert summary.methods == ["BC batch 16", "BC batch 32", "A", "B"]
    assert summary.legend == {
        "A": {"conservative": "False", "bc.batch": "32"},
        "B": {"conservative": "True", "bc.batch": "16"},
    }


def test_what_is_cloned_tells_methods_apart_beside_others(tmp_path):
    for name, best in (("a", 0.5), ("b", 1.0)):
        write_run(tmp_path / name, best, cloned=best / 2, **{"bc.best": best})
    write_run(tmp_path / "c", 0.3, algorithm="iql", **{"world_model": "vectors"})
    summary = summarize(open_runs([str(tmp_path / "*")]))
    cloning, others = ["BC best 0.5", "BC best 1"], ["LEQ best 0.5", "LEQ best 1"]
    assert summary.methods == [*cloning, "IQL", *others]
    assert summary.scores["BC best 0.5"]["pointmaze-medium"].tolist() == [0.25]


def test_the_user_may_name_methods(runs, tmp_path):
    ours = f"ours={tmp_path}/*-0.1-*"
    summary = summarize(open_runs([ours, f"theirs={runs[2]}", f"theirs={runs[6]}"]))
    assert summary.methods == ["BC", "ours", "theirs"]
    assert len(summary.scores["ours"][MAZES[0]]) == 2
    assert len(summary.scores["theirs"][MAZES[0]]) == 1


def test_a_run_that_is_given_twice_counts_once(runs, tmp_path):
    assert len(open_runs([*runs, runs[0], f"{tmp_path}/*"])) == len(runs)


def test_a_grid_is_its_members(tmp_path):
    grid = tmp_path / "grid"
    keys = {"leq.tau": [0.1, 0.5], "seeds": 2}
    config = configs.from_presets("maze", "debug", logdir=str(grid), **keys)
    configs.save(config, grid / "config.yaml")
    for name, member in config.members.items():
        write_run(grid / name, 0.5, seed=member.seed, **{"leq.tau": member.leq.tau})
    summary = summarize(open_runs([str(grid)]))
    assert summary.methods == ["BC", "tau 0.1", "tau 0.5"]
    assert [run.path.name for run in summary.runs] == list(config.members)
    # the members of a seed share the cloned policy
    assert {len(scores) for scores in summary.scores["BC"].values()} == {2}


def test_tables(runs):
    summary = summarize(open_runs(runs))
    rows = {name: cells for name, *cells in score_table(summary).rows}
    assert rows[MAZES[0]] == [
        "10.0 (10.0 … 10.0)",
        "90.0 (80.0 … 100.0)",
        "50.0 (20.0 … 80.0)",
    ]
    means = [cell.split()[0] for cell in rows["interquartile mean"]]
    assert means == ["10.0", "90.0", "50.0"]
    gaps = [cell.split()[0] for cell in rows["optimality gap"]]
    assert gaps == ["90.0", "10.0", "50.0"]
    # of 4 pairs two and a tie and a win: 1 > 0.2, 1 > 0.8, 0.8 > 0.2, 0.8 = 0.8
    chances = {name: cells for name, *cells in improvement_table(summary).rows}
    assert chances["better than tau 0.5"][1].startswith("0.88 (")
    assert chances["better than tau 0.1"][1] == "–"


def test_what_is_seen_alone_is_said(runs, tmp_path):
    assert "intervals over so few are too narrow" in summarize(open_runs(runs)).notes[0]
    alone = summarize(open_runs([write_run(tmp_path / "x", 1.0).as_posix()]))
    assert "nothing tells chance apart" in alone.notes[0]
    assert ["interquartile mean", "10.0", "100.0"] in score_table(alone).rows


def test_without_cloning_there_is_no_bc(tmp_path):
    folder = write_run(tmp_path / "run", 1.0, **{"bc.updates": 0})
    summary = summarize(open_runs([str(folder)]))
    assert summary.methods == ["LEQ"]


def refusal(folders):
    with pytest.raises(UserError) as error:
        summarize(open_runs([str(folder) for folder in folders]))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusals(runs, tmp_path):
    assert "is not a run's folder" in refusal([tmp_path / "nothing"])
    assert "no folder is called so" in refusal([tmp_path / "nothing*"])
    assert "'tau 0.5' has no run on pointmaze-umaze" in refusal([*runs[:2], *runs[4:]])
    other = {"leq.tau": 0.3, "actor.conservative": False, "task": MAZES[0]}
    refused = refusal([*runs, write_run(tmp_path / "other", 1.0, **other)])
    assert "'B' (tau 0.3, conservative False) has no run on pointmaze-medium" in refused


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "run was trained without scores: python eval.py --logdir"),
        (json.dumps({"0": files.score(0.0)}), "its last is of update 0 of 20"),
        ("{", "not valid JSON"),
        ("[]", "damaged"),
        (
            json.dumps({"20": files.score(0.0) | {"mean": "high"}}),
            "str in place of float",
        ),
    ],
)
def test_scores_that_cannot_be_compared(tmp_path, text, complaint):
    folder = write_run(tmp_path / "run", 1.0)
    file = folder / "scores.json"
    file.unlink() if text is None else file.write_text(text)
    assert complaint in refusal([folder])


def test_own_tasks_have_returns_and_no_statistics(runs, tmp_path):
    mine = write_run(tmp_path / "mine", 1.0, task="arm", **{"eval.episodes": 0})
    alone = summarize(open_runs([str(mine)]))
    assert [row[0] for row in score_table(alone).rows] == ["arm"]
    assert unit(alone) == "returns: the tasks have no reference"
    page = comparison_page(alone)
    assert "%, " not in unit(alone) and "optimality gap" not in page.lower()
    assert "score, %" not in page and "in % of the task" not in page
    beside = summarize(open_runs([f"x={mine}", *(f"x={run}" for run in runs)]))
    assert [row[0] for row in score_table(beside).rows] == [
        "arm, return",
        *sorted(MAZES),
    ]
    assert "or the return where it has none" in unit(beside)


def test_runs_without_scores_are_left_out_or_scored_later(runs, tmp_path):
    trained = write_run(tmp_path / "trained", 1.0)
    begun = write_run(tmp_path / "begun", 1.0)
    (trained / "scores.json").unlink()
    (begun / "scores.json").unlink()
    (begun / "metrics.jsonl").write_text("")
    lines = []
    assert len(open_runs([*runs, str(trained), str(begun)], lines.append)) == len(runs)
    assert [line.split(": ", 1)[0] for line in lines] == ["left out", "left out"]
    assert "without scores: python eval.py" in lines[0]
    assert "still to be trained" in lines[1]
    for folder in (trained, begun):
        files.write_json(folder / "eval.json", {"policy": evaluation(0.7)})
    (run,) = open_runs([str(trained), str(begun)], lines.append)
    assert run.path == trained and run.final.normalized == 70.0
    assert "begun has no scores yet" in lines[2]


@pytest.mark.parametrize("text", ["[]", '{"fqe": {"value": 1.0}}', '{"fqe": null}'])
def test_a_damaged_estimate_is_named(runs, text):
    file = Path(runs[0]) / "analysis" / "offline.json"
    file.write_text(text)
    summary = summarize(open_runs(runs))
    with pytest.raises(UserError, match=r"offline\.json: damaged"):
        offline_tasks(summary)


def test_offline_estimates_beside_the_scores(runs):
    first, _ = offline_tasks(summarize(open_runs(runs)))
    row = offline_table([first]).rows[0]
    assert row[1:] == ["tau 0.1", "2", "-0.6", "1.0", "+2.0", "0.9"]
    assert first.sentences[0].startswith("fewer than 3 methods")
    # FQE: -0.1, -1.1, -0.5, -1.5; success: 1, 0.8, 0.2, 0.8
    assert first.sentences[1].startswith("4 runs: rank correlation +0.32")


def test_fits_that_have_not_converged_are_counted(runs):
    found = files.offline_analysis()
    found["fqe"] |= {"low": None, "high": None}
    files.write_json(Path(runs[0]) / "analysis/offline.json", found)
    medium, umaze = offline_tasks(summarize(open_runs(runs)))
    assert len(medium.sentences) == 2
    assert umaze.sentences[2] == "runs whose fit has not converged: 1"


class Requests(HTMLParser):
    """What of a page would make a browser ask somebody for something."""

    def __init__(self):
        super().__init__()
        self.found, self.policy = [], ""

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in attributes:
                self.found.append((tag, attributes[name]))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]


@pytest.fixture
def page(runs):
    return comparison_page(summarize(open_runs(runs)))


def test_the_page_asks_nobody_for_anything(page):
    requests = Requests()
    requests.feed(page)
    assert requests.found == []
    assert requests.policy.startswith("default-src 'none';")
    assert "@import" not in page[: page.index("</style>")]


def test_the_page_shows_everything(page):
    for text in ("90.0 (80.0 … 100.0)", "rank correlation", "pointmaze-umaze-0.5-1"):
        assert text in page
    data = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    figures = [json.loads(text) for text in data]
    # three statistics, profiles, scores, two offline, of two mazes three metrics
    assert len(figures) == 3 + 1 + 1 + 2 + 2 * 3
    assert [trace["name"] for trace in figures[-1]["data"]] == [
        f"tau {tau} · seed {seed}" for tau in ("0.1", "0.5") for seed in (0, 1)
    ]
    colours = [trace["line"]["color"] for trace in figures[-1]["data"]]
    assert len(set(colours)) == 4


def test_a_name_can_not_be_markup(runs):
    page = comparison_page(summarize(open_runs([f"<script>x={run}" for run in runs])))
    body = page[page.index("<body>") :]
    assert "<script>x" not in page[: page.index("<style>")] + body


def test_the_command(runs, tmp_path, capsys):
    out = tmp_path / "page" / "all.html"
    assert eval_main(["--compare", *runs, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "interquartile mean" in said and f"wrote {out}" in said.replace("\n", "")
    assert out.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--compare", "nothing"], "nothing is not a run's folder"),
        (["--compare", "nothing", "--out", "x.png"], "has to end in .html"),
        (["--compare", "a", "--logdir", "b"], "not allowed with"),
        ([], "--logdir --compare is required"),
    ],
)
def test_a_command_that_is_refused(flags, complaint, capsys):
    assert eval_main(flags) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert complaint in errors
