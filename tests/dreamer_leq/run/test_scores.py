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
from dreamer_leq.run.scores import record_scores, try_environment
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.training.metrics import MetricsLogger, read_metrics
from vd4rl_loader.errors import DataError
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
            films=True,
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
    assert record_scores([run], None, 3) and record_scores([run], None, 3)
    assert len(tries) == 1 and scored(run) == [(3, 4.0)]


def test_a_lost_worker_makes_it_score_again(run, monkeypatch):
    tries = score_with(monkeypatch, lose)
    assert record_scores([run], None, 3)
    assert tries[0] == tries[1] and scored(run) == [(3, 4.0)]
    assert run.lines[0] == "environment 1: killed: scoring again"


def fail():
    raise WorkerError("environment 1: KeyError")


@pytest.mark.parametrize("troubles", [(lose, lose), (fail,)])
def test_scores_that_fail_in_training_are_left_out(run, monkeypatch, troubles):
    tries = score_with(monkeypatch, *troubles)
    assert record_scores([run], None, 3)
    assert scored(run) == [] and len(tries) == len(troubles)
    assert run.lines[-1].startswith("no scores after 3 updates of LEQ: environment 1: ")


@pytest.mark.parametrize(
    ("troubles", "error"), [((lose, lose), WorkerLost), ((fail,), WorkerError)]
)
def test_the_last_ones_that_fail_are_an_error(run, monkeypatch, troubles, error):
    score_with(monkeypatch, *troubles)
    with pytest.raises(error) as raised:
        record_scores([run], None, run.config.leq.updates)
    assert raised.value.__notes__ and scored(run) == []


def test_without_episodes_there_is_nothing_to_do(run, monkeypatch):
    tries = score_with(monkeypatch)
    run.config = from_presets("debug", **{"eval.episodes": 0})
    assert record_scores([run], None, 3) and not tries and not scored(run)


# --- the environment, before there is a policy


def facts_of(**environment):
    return SimpleNamespace(environment=environment, action_size=2)


def test_an_environment_is_tried_before_the_training(monkeypatch):
    tried = []

    class Environments:
        def __init__(self, *_, record):
            tried.append(record)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def reset(self):
            if tried[-1] and troubles:
                raise troubles.pop()

        def step(self, action):
            assert action.shape == (1, 2)
            if troubles:
                raise troubles.pop()

    monkeypatch.setattr(policy_scores, "open_environments", Environments)
    config, lines = from_presets("maze", "debug"), []
    troubles = []
    assert try_environment(config, facts_of(), lines.append) and tried == [1]
    troubles = [WorkerError("no EGL")]
    assert not try_environment(config, facts_of(), lines.append)
    assert lines[0].startswith("no film of the policy: ") and "no EGL" in lines[0]
    troubles = [WorkerError("shapes")] * 2
    with pytest.raises(UserError, match=r"actions of 2 numbers: shapes; --eval\.epi"):
        try_environment(config, facts_of(), lines.append)
    with_pixels = from_presets("debug")
    troubles = [DataError("cannot render")]
    with pytest.raises(DataError, match="cannot render"):
        try_environment(with_pixels, facts_of(), lines.append)
    tried.clear()
    none = from_presets("debug", **{"eval.episodes": 0})
    assert not try_environment(none, facts_of(), lines.append) and not tried


def test_a_signal_cuts_it_short_and_leaves_no_record(run, monkeypatch):
    score_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert record_scores([run], None, 3) is False
    assert run.session.interrupts.pending == signal.SIGTERM
    assert scored(run) == [] and not (run.folder.path / "scores.json").exists()
