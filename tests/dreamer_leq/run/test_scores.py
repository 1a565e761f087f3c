"""Scores of a policy in training: once and only once, whatever happens to them."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.evaluation.rollouts import EpisodeResults
from dreamer_leq.evaluation.scores import summarize
from dreamer_leq.run import scores as policy_scores
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.scores import record_scores
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.training.metrics import MetricsLogger, read_metrics
from vd4rl_loader.simulators.workers import WorkerError, WorkerLost


@pytest.fixture
def run(tmp_path):
    """As much of a run as is scored."""
    lines = []
    with MetricsLogger(tmp_path) as logger, Interrupts() as interrupts:
        yield SimpleNamespace(
            config=from_presets("debug"),
            folder=RunFolder(tmp_path),
            facts=SimpleNamespace(environment={}),
            session=SimpleNamespace(logger=logger, interrupts=interrupts),
            log=lines.append,
            lines=lines,
        )


def score_with(monkeypatch, *troubles):
    """Each try has its trouble; after them scoring works. The number of tries."""
    tries, left = [], list(troubles)

    def score(*args, **options):
        tries.append(options)
        if left:
            left.pop(0)()
        returns, lengths = np.array([3.0, 5.0]), np.array([7, 7])
        results = EpisodeResults(returns, lengths, [], [], 1.0)
        return summarize(returns, lengths, (0.0, 10.0), seconds=1.0), results

    monkeypatch.setattr(policy_scores, "score", score)
    return tries


def lose():
    raise WorkerLost("environment 1: killed")


def scored(run):
    records = read_metrics(run.folder.path / "metrics.jsonl")
    return [(record["step"], record["eval_mean"]) for record in records]


def test_a_score_is_recorded_once(run, monkeypatch):
    tries = score_with(monkeypatch)
    assert record_scores(run, None, 3) and record_scores(run, None, 3)
    assert len(tries) == 1 and scored(run) == [(3, 4.0)]


def test_a_lost_worker_makes_it_score_again(run, monkeypatch):
    tries = score_with(monkeypatch, lose)
    assert record_scores(run, None, 3)
    assert tries[0] == tries[1] and scored(run) == [(3, 4.0)]
    assert run.lines[0] == "environment 1: killed: scoring again"


def test_workers_that_are_lost_twice_are_an_error(run, monkeypatch):
    score_with(monkeypatch, lose, lose)
    with pytest.raises(WorkerLost):
        record_scores(run, None, 3)
    assert scored(run) == []


def test_an_environment_that_raises_is_not_tried_again(run, monkeypatch):
    def fail():
        raise WorkerError("environment 1: KeyError")

    tries = score_with(monkeypatch, fail)
    with pytest.raises(WorkerError):
        record_scores(run, None, 3)
    assert len(tries) == 1


def test_a_signal_cuts_it_short_and_leaves_no_record(run, monkeypatch):
    score_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert record_scores(run, None, 3) is False
    assert run.session.interrupts.pending == signal.SIGTERM
    assert scored(run) == [] and not (run.folder.path / "scores.json").exists()
