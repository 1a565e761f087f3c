"""Curves of whatever was recorded, of one run or of several."""

import json

import numpy as np
import pytest
import report_files as files

from dreamer_leq.pages.charts import BLUE, Style
from dreamer_leq.pages.curves import MOST_POINTS, Source, curves
from dreamer_leq.pages.run_files import RunFiles


@pytest.fixture
def folder(tmp_path):
    return files.write_run(tmp_path / "run")


def charts(folder, **options):
    source = Source("run", RunFiles(folder), Style(BLUE))
    groups = curves([source], **options)
    return {chart.title: chart for group in groups for chart in group.charts}


def test_a_curve_has_the_steps_and_values_of_its_phase(folder):
    records = [files.record("leq", n, 1.0, q=n / 10) for n in (5, 10)]
    files.write_records(folder, [files.record("bc", 5, 0.5, q=9.0), *records])
    found = charts(folder, timed=False)
    assert list(found) == ["q · BC", "q · LEQ"]
    (trace,) = found["q · LEQ"].figure.data
    assert (trace.x.tolist(), trace.y.tolist()) == ([5, 10], [0.5, 1.0])


def test_a_score_has_its_interval(folder):
    (trace,) = charts(folder)["return in the environment · LEQ"].figure.data
    assert (trace.error_y.arrayminus, trace.error_y.array) == ([10.0], [15.0])


def test_what_is_no_number_is_left_out(folder):
    lines = [files.record("leq", n, 1.0, q=q) for n, q in enumerate([1, None, "x"])]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    nan = json.dumps(files.record("leq", 3, 1.0, q=float("nan"))) + "\n"
    (folder / "metrics.jsonl").write_text(text + nan)
    assert charts(folder)["q · LEQ"].figure.data[0].x.tolist() == [0]


def test_long_curves_are_thinned_and_keep_their_spikes(folder):
    n = 20_000
    records = [files.record("leq", i, float(i), q=np.sin(i / 500)) for i in range(n)]
    records[7_777]["q"] = 99.0
    files.write_records(folder, records)
    chart = charts(folder)["q · LEQ"]
    (trace,) = chart.figure.data
    assert MOST_POINTS / 2 < len(trace.x) == len(trace.y) <= MOST_POINTS
    assert trace.y.max() == 99.0
    assert len(chart.json) < 10_000
