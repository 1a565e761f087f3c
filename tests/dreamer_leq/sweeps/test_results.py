"""What a sweep's runs have shown: data, tables, and what was chosen."""

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import report_files as files

from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main
from dreamer_leq.commands.sweep import _begin, _show, _shown
from dreamer_leq.config.checks import relevant
from dreamer_leq.config.command import command, parsed
from dreamer_leq.config.tasks import is_task
from dreamer_leq.evaluation import statistics
from dreamer_leq.pages import results_file
from dreamer_leq.pages.comparison import published
from dreamer_leq.sweeps.file import read
from dreamer_leq.sweeps.plan import TRAIN, plan
from dreamer_leq.sweeps.results import complete, results, tuned, tuning_note, tunings
from dreamer_leq.system.errors import UserError

SWEEP = """\
name: table
configs: [maze, debug]
tasks: [pointmaze-umaze, pointmaze-medium]
algorithms: {leq: {leq.tau: [0.1, 0.3]}, iql: {configs: iql}}
seeds: 2
"""
# success by τ; the estimate orders them the other way round
SCORES = {0.1: 0.8, 0.3: 0.9}
GIB = 2**30


def write_run(folder, config, score, estimate):
    """As training leaves a run."""
    folder.mkdir(parents=True, exist_ok=True)
    configs.save(config, folder / "config.yaml")
    files.write_json(folder / "info.json", files.info())
    ends = [files.score(x) | {"normalized": 100 * x} for x in (0.0, score)]
    scores = dict(zip(("0", str(config.own.updates)), ends, strict=True))
    (folder / "scores.json").write_text(json.dumps(scores))
    files.write_records(folder, [files.record(config.algorithm, 20, 90.0, q=1.0)])
    if estimate is not None:
        found = files.offline_analysis(value=estimate)
        files.write_json(folder / "analysis/offline.json", found)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep whose runs are done, and its jobs."""
    place = tmp_path_factory.mktemp("sweep")
    (place / "sweep.yaml").write_text(f"{SWEEP}folder: {place}/out\n")
    told = read(place / "sweep.yaml")
    jobs = plan(told)
    for job in jobs:
        if job.kind != TRAIN:
            continue
        write_run(job.folder, job.config, 0.0, None)
        for folder, config in job.runs.items():
            tau = config.leq.tau if config.algorithm == "leq" else None
            score = SCORES.get(tau, 0.5) - 0.1 * config.seed
            folder = job.folder / folder
            write_run(folder, config, score, None if tau is None else -10 * tau)
    return told, jobs


@pytest.fixture(scope="module")
def found(sweep):
    return results(sweep[1], print)


def test_every_run_is_a_line(sweep, found, tmp_path):
    assert len(found) == 2 * (2 * 2 + 2)
    results_file.write(tmp_path / "results.csv", [one.row for one in found])
    with open(tmp_path / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    first = lines[0]
    wanted = {
        "task": "pointmaze-umaze",
        "method": "LEQ tau 0.1",
        "coefficients": "tau=0.1",
        "seed": "0",
        "score": "80",
        "evaluations": "0:0 20:80",
        "offline": "-1",
        "peak_memory": str(2 * GIB),
        "together": "4",
        "commit": "2e76cb156615d40268be29b791b661edc4352fdb changed",
    }
    assert {key: first[key] for key in wanted} == wanted
    assert [one.row for one in found] == results_file.read(tmp_path / "results.csv")


def test_a_line_is_the_run_again(found, tmp_path):
    one = found[3]
    again = results_file.run_of(one.row, "here")
    assert relevant(again.config) == relevant(one.run.config)
    assert {n: x.normalized for n, x in again.scores.items()} == pytest.approx(
        {n: x.normalized for n, x in one.run.files.scores.items()}
    )


@pytest.mark.parametrize("preset", ["d4rl_antmaze", "rebrac"])
def test_a_command_is_read_back(preset):
    more = {"data.path": "a place/5", "leq.lam": np.inf, "task": "pointmaze-umaze"}
    lists = {"latent.mults": [1, 2, 4], "leq.tau": [0.1, 0.2]}
    config = configs.from_presets(
        preset, **more, **lists, **{"critic.layer_norm": False}
    )
    assert relevant(parsed(command(config))) == relevant(config)


def test_the_best_is_chosen_by_what_is_asked(found):
    first, *_ = tuning = tunings(found)
    assert first.chosen("online") == (("tau", 0.3),)
    assert first.chosen("offline") == (("tau", 0.1),)
    own = [run for run in tuned(tuning, "online") if run.given == "LEQ"]
    assert {run.config.leq.tau for run in own} == {0.3} and len(own) == 4
    assert {run.config.leq.tau for run in tuned(tuning, "offline")[:2]} == {0.1}
    note = tuning_note(tuning, "online")
    row = [
        "pointmaze-umaze",
        "LEQ",
        "2 x 2 seeds",
        "tau 0.3",
        "85.0",
        "tau 0.1",
        "75.0",
    ]
    assert note.table.rows[0] == [*row, "75.0"] and len(note.table.rows) == 2


def test_without_estimates_scores_choose(found):
    (one,) = tunings([x for x in found if x.method == "IQL"][:2])
    assert one.chosen("offline") is None and one.chosen("online") == ()
    assert tuned([one], "offline") and tuning_note([one], "offline") is None


def test_methods_that_lack_a_task_are_left_out(found):
    said = []
    runs = [
        one.run
        for one in found
        if (one.method, one.run.task) != ("IQL", "pointmaze-medium")
    ]
    kept = complete(runs, said.append)
    assert {run.given for run in kept} == {"LEQ"} and "IQL is left out" in said[0]


def test_a_sweep_ends_in_its_table_and_can_be_compared(
    sweep, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    told, jobs = sweep
    _begin(told, jobs)
    _show(told, jobs, print)
    said = capsys.readouterr().out
    assert "Tuning" in said and "interquartile mean" in said
    page = (told.folder / "comparison.html").read_text()
    assert "Performance profiles" in page and "2 x 2 seeds" in page
    assert "LEQ tau 0.3" in (told.folder / "settings.html").read_text()
    others = tmp_path / "published.csv"
    others.write_text(
        "task,method,score,deviation,source,verified,note\n"
        "pointmaze-umaze,Other,70.5,1.5,its paper,no,\n"
    )
    out = ["--out", str(tmp_path / "out.html")]
    tables = []
    for what in (told.folder, told.folder / "results.csv"):
        compared = ["--compare", str(what), "--published", str(others)]
        assert eval_main([*compared, *out]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and "70.5 ± 1.5 ?" in tables[0]
    assert "its paper" in (tmp_path / "out.html").read_text()


def test_results_that_a_full_disk_refuses_are_said(sweep, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    said = []
    monkeypatch.setattr("dreamer_leq.pages.results_file.write", full)
    assert not _shown(*sweep, said.append)
    assert "No space left on device" in said[-1] and "no results in" in said[-1]


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--compare", "task,method\n", "column algorithm lacks"),
        ("--published", "task,method\n", "column score lacks"),
        (
            "--published",
            "task,method,score,deviation,source,verified,note\na,b,high,,,,\n",
            "line 2: score: expected a number, got 'high'",
        ),
    ],
)
def test_other_files_are_one_line(flag, text, said, sweep, tmp_path, capsys):
    (tmp_path / "x.csv").write_text(text)
    other = ["--compare", str(sweep[0].folder)] if flag == "--published" else []
    assert eval_main([*other, flag, str(tmp_path / "x.csv")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_our_published_scores_can_be_read():
    lines = published.read(Path(__file__).resolve().parents[3] / "docs/published.csv")
    assert len(lines) > 500 and all(line.source for line in lines)
    assert {line.verified for line in lines} == {"yes", "no"}
    assert all(is_task(line.task) for line in lines)
    assert len({(line.task, line.method) for line in lines}) == len(lines)


def test_a_damaged_run_is_left_out(sweep):
    folder = next(folder for job in sweep[1][1:] for folder in job.runs)
    file = Path(folder, "scores.json")
    kept, said = file.read_text(), []
    file.write_text("{")
    try:
        assert len(results(sweep[1], said.append)) == 11
    except UserError:
        pytest.fail("it is one line")
    finally:
        file.write_text(kept)
    assert "scores.json" in said[0]
