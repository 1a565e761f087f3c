"""Statistics of returns, against known distributions."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from dreamer_leq.config.tasks import parse
from dreamer_leq.evaluation.scores import (
    normalized_score,
    score_table,
    summarize,
    write_scores,
)
from dreamer_leq.evaluation.statistics import wilson_interval


def test_mean_std_and_normalised_score():
    scores = summarize([100.0, 300.0], [500, 400], seconds=2.5)
    assert scores["mean"] == 200 and scores["std"] == 100  # of the episodes: ddof 0
    assert scores["normalized"] == 20
    assert scores["length"] == 450 and scores["seconds"] == 2.5
    assert scores["episodes"] == 2 and scores["returns"] == [100, 300]


def test_interval_of_two_episodes_is_between_them():
    # a resample of two is (low, low), (high, high) or mixed: 1/4, 1/4, 1/2
    scores = summarize([100.0, 300.0], [500, 500])
    assert (scores["ci_low"], scores["ci_high"]) == (100, 300)


def test_interval_of_many_is_that_of_the_normal_distribution():
    returns = np.random.default_rng(1).gamma(2.0, 100.0, size=400)
    scores = summarize(returns, np.full(400, 500))
    half = 1.96 * returns.std() / np.sqrt(400)
    assert scores["ci_low"] == pytest.approx(returns.mean() - half, abs=0.1 * half)
    assert scores["ci_high"] == pytest.approx(returns.mean() + half, abs=0.1 * half)


def test_interval_is_seeded():
    returns, lengths = np.random.default_rng(2).normal(size=10), np.full(10, 500)
    assert summarize(returns, lengths, seed=3) == summarize(returns, lengths, seed=3)
    other = summarize(returns, lengths, seed=4)
    assert summarize(returns, lengths, seed=3)["ci_low"] != other["ci_low"]


@pytest.mark.parametrize(
    ("task", "mean", "score"),
    [
        ("hopper-medium", -20.272305, 0),
        ("hopper-medium", 3234.3, 100),
        ("walker2d-medium", 4592.3, 100),
        ("walker2d-medium", 1.629008, 0),
        ("halfcheetah-medium", -280.178953, 0),
        ("halfcheetah-medium", 5927.4105235, 50),  # half way
        ("Hopper-low", 5, 0),
        ("Hopper-low", 3294, 100),
        ("HalfCheetah-high", 12284, 100),
        ("Walker2d-low", 2572, 50),
        ("antmaze-large-play", 0.37, 37),
        ("walker_walk-medium", 730, 73),
    ],
)
def test_a_score_is_the_way_from_one_reference_to_the_other(task, mean, score):
    assert normalized_score(mean, parse(task).reference) == pytest.approx(score)
    summary = summarize([mean, mean], [9, 9], parse(task).reference)
    assert summary["normalized"] == pytest.approx(score)


def test_successes_have_wilsons_interval_and_returns_the_bootstraps():
    successes = summarize([1.0, 0.0, 1.0, 1.0], [9] * 4, (0.0, 1.0))
    assert (successes["ci_low"], successes["ci_high"]) == wilson_interval(3, 4)
    # all succeed: where the bootstrap would be certain
    all_of_them = summarize([1.0] * 10, [9] * 10, (0.0, 1.0))
    assert all_of_them["ci_low"] == pytest.approx(0.722, abs=5e-4)
    returns = summarize([1.0, 0.0, 1.0, 1.0], [9] * 4)
    assert (returns["ci_low"], returns["ci_high"]) == (0.25, 1.0)


def test_one_episode_has_no_interval():
    scores = summarize([7.0], [500])
    assert scores["mean"] == 7 and scores["ci_low"] is scores["ci_high"] is None


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        summarize([], [])


def test_json_holds_exactly_the_scores(tmp_path):
    scores = summarize([0.1, 1 / 3], [500, 500], seconds=1.0)
    write_scores(tmp_path / "deep" / "scores.json", {"policy": scores})
    path = tmp_path / "deep" / "scores.json"
    assert json.loads(path.read_text()) == {"policy": scores}
    assert list(path.parent.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "scores.json"
    write_scores(path, {"mean": 1})
    with pytest.raises(TypeError):
        write_scores(path, {"mean": object()})
    assert json.loads(path.read_text()) == {"mean": 1}


def test_table_shows_every_policy():
    rows = {
        "random": summarize([30.0], [500]),
        "LEQ": summarize([600.0, 700.0], [500, 500], seconds=61.25),
    }
    out = io.StringIO()
    Console(file=out, width=120).print(score_table(rows))
    lines = out.getvalue().splitlines()
    random, leq = (next(line for line in lines if name in line) for name in rows)
    assert "30.0" in random and "–" in random
    for cell in ("650.0", "50.0", "600.0 … 700.0", "65.0", "500", "61.2 s"):
        assert cell in leq
