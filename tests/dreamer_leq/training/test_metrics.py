"""Metrics on disk: exact, resumable, and readable whatever killed the writer."""

import json
import os
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamer_leq import UserError
from dreamer_leq.training.metrics import METRICS_FILE, MetricsLogger, read_metrics

PHASES = ("world_model", "bc", "leq")


def records(logdir):
    """What two runs are compared by: all but the clock."""
    found = list(read_metrics(logdir / METRICS_FILE))
    for record in found:
        record.pop("time")
    return found


def scalars(logdir):
    """{tag: [(step, value), ...]} as TensorBoard reads it."""
    events = EventAccumulator(str(logdir / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def write_steps(logger, phase, steps):
    for step in steps:
        logger.write(phase, step, {"loss": step / 7}, {"updates_per_second": 3.0})


def test_numbers_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    single, double = rng.normal(size=2).astype(np.float32)[0], rng.normal() / 3
    metrics = {"a": single, "b": double, "c": jnp.float32(single), "n": np.int64(2)}
    with MetricsLogger(tmp_path) as logger:
        logger.write("leq", 10, metrics | {"d": jnp.bfloat16(0.1)})
    (record,) = records(tmp_path)
    assert list(record) == ["phase", "step", "a", "b", "c", "n", "d"]
    assert (record["phase"], record["step"]) == ("leq", 10)
    assert np.float32(record["a"]) == single and record["b"] == double
    assert record["c"] == record["a"] and record["n"] == 2
    assert jnp.bfloat16(record["d"]) == jnp.bfloat16(0.1)


def test_every_line_is_out_before_write_returns(tmp_path):
    with MetricsLogger(tmp_path) as logger:
        for step in range(3):
            logger.write("leq", step, {"loss": 1.0})
            assert len(records(tmp_path)) == step + 1


def test_what_the_clock_says_stands_apart(tmp_path):
    for run in ("a", "b"):
        with MetricsLogger(tmp_path / run) as logger:
            logger.write("leq", 1, {"loss": 1 / 3}, {"updates_per_second": len(run)})
    assert records(tmp_path / "a") == records(tmp_path / "b")
    (record,) = read_metrics(tmp_path / "a" / METRICS_FILE)
    assert record["time"]["updates_per_second"] == 1 and "wall" in record["time"]


def test_a_record_says_what_the_process_has_used(tmp_path):
    with MetricsLogger(tmp_path) as logger:
        for step in (1, 2):
            logger.write("leq", step, {"loss": 1.0})
    first, second = (record["time"] for record in read_metrics(tmp_path / METRICS_FILE))
    assert 0 < first["process_seconds"] <= second["process_seconds"]
    # NumPy and JAX alone take that, and no machine of ours has as much
    assert 2**26 < first["peak_memory"] <= second["peak_memory"] < 2**45


def test_names_of_the_record_itself_are_refused(tmp_path):
    with MetricsLogger(tmp_path) as logger, pytest.raises(ValueError, match="step"):
        logger.write("leq", 1, {"step": 2.0})


def test_tensorboard_shows_phase_and_name(tmp_path):
    with MetricsLogger(tmp_path) as logger:
        write_steps(logger, "world_model", [100, 200])
        logger.write("leq", 100, {"actor/return": 5.0})
    found = scalars(tmp_path)
    assert set(found) == {
        "world_model/loss",
        "world_model/time/updates_per_second",
        "leq/actor/return",
    }
    steps, values = zip(*found["world_model/loss"], strict=True)
    assert steps == (100, 200)
    np.testing.assert_allclose(values, [100 / 7, 200 / 7], rtol=1e-6)


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with MetricsLogger(whole) as logger:
        write_steps(logger, "world_model", [1, 2, 3])
        write_steps(logger, "bc", [1, 2, 3, 4])
        write_steps(logger, "leq", [1, 2])
    with MetricsLogger(broken) as logger:
        write_steps(logger, "world_model", [1, 2, 3])
        write_steps(logger, "bc", [1, 2, 3])
    with MetricsLogger(broken) as logger:
        logger.truncate(PHASES, "bc", 2)
        assert len(records(broken)) == 5
        write_steps(logger, "bc", [3, 4])
        write_steps(logger, "leq", [1, 2])
    assert records(broken) == records(whole)
    assert scalars(broken) == scalars(whole)


def test_resuming_gives_tensorboard_what_a_killed_run_had_not_flushed(tmp_path):
    with MetricsLogger(tmp_path) as logger:
        write_steps(logger, "leq", [1, 2])
    before = scalars(tmp_path)
    for events in (tmp_path / "tensorboard").iterdir():
        events.unlink()
    with MetricsLogger(tmp_path) as logger:
        logger.truncate(PHASES, "leq", 2)
    assert scalars(tmp_path) == before


def test_truncating_drops_later_phases_and_keeps_strangers(tmp_path):
    with MetricsLogger(tmp_path) as logger:
        logger.write("dataset", 900, {"steps": 1})
        write_steps(logger, "world_model", [5, 10])
        write_steps(logger, "leq", [1])
        logger.truncate(PHASES, "world_model", 5)
        assert [(r["phase"], r["step"]) for r in records(tmp_path)] == [
            ("dataset", 900),
            ("world_model", 5),
        ]
        logger.truncate(PHASES, "world_model", -1)
        assert [r["phase"] for r in records(tmp_path)] == ["dataset"]
        with pytest.raises(ValueError, match="fqe"):
            logger.truncate(PHASES, "fqe", 1)


def test_truncating_is_all_or_nothing(tmp_path, monkeypatch):
    logger = MetricsLogger(tmp_path)
    write_steps(logger, "leq", [1, 2, 3])

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        logger.truncate(PHASES, "leq", 1)
    assert [r["step"] for r in records(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("torn", ['{"phase": "leq", "st', "\u00e9", "{}"])
def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path, torn):
    with MetricsLogger(tmp_path) as logger:
        write_steps(logger, "leq", [1, 2])
    with open(tmp_path / METRICS_FILE, "ab") as file:
        file.write(torn.encode()[:-1] or b"x")
    assert [r["step"] for r in records(tmp_path)] == [1, 2]
    with MetricsLogger(tmp_path) as logger:
        write_steps(logger, "leq", [3])
    assert [r["step"] for r in records(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("line", ["{torn", "[1, 2]", '{"phase": "leq"}', "3", ""])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / METRICS_FILE
    good = json.dumps({"phase": "leq", "step": 1, "time": {}})
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: .*delete the line"):
        list(read_metrics(path))


def test_wandb_that_is_not_installed_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[wandb\]'"):
        MetricsLogger(tmp_path, wandb={"project": "leq"})


class FakeWandB(types.ModuleType):
    """Stands in for the W&B client; keeps what it is told."""

    class Error(Exception):
        pass

    def __init__(self, online=True):
        super().__init__("wandb")
        self.online, self.inits, self.axes, self.logs = online, [], {}, []
        self.errors = types.SimpleNamespace(Error=self.Error)
        self.finished = 0

    def init(self, **arguments):
        self.inits.append(arguments)
        if not self.online and arguments.get("mode") != "offline":
            raise self.Error("no network")
        return self

    def define_metric(self, name, step_metric):
        self.axes[name] = step_metric

    def log(self, data):
        self.logs.append(data)

    def finish(self):
        self.finished += 1


def test_wandb_gets_every_phase_on_its_own_axis(tmp_path, monkeypatch):
    wandb = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for step in (1, 2):  # the second time resumed
        with MetricsLogger(tmp_path, wandb={"project": "p"}) as logger:
            logger.write("leq", step, {"loss": 0.5}, {"updates_per_second": 2.0})
    first, second = wandb.inits
    assert first["project"] == "p" and first["resume"] == "allow"
    assert first["id"] == second["id"]
    assert wandb.axes == {"leq/*": "leq/step"}
    expected = {"leq/step": 2, "leq/loss": 0.5, "leq/time/updates_per_second": 2.0}
    assert wandb.logs[1] == expected
    assert wandb.finished == 2


def test_wandb_out_of_reach_goes_on_offline(tmp_path, monkeypatch, capsys):
    wandb = FakeWandB(online=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with MetricsLogger(tmp_path, wandb={}) as logger:
        logger.write("leq", 1, {"loss": 0.5})
    assert len(wandb.logs) == 1
    assert "no network" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        '{"phase": "leq", "step": "a", "time": {}}',
        '{"phase": ["leq"], "step": 1, "time": {}}',
        '{"phase": "leq", "step": 1, "time": {}, "loss": "x"}',
        '{"phase": "leq", "step": 1}',
        "[" * 100_000,
    ],
)
def test_a_line_of_other_kinds_is_named(tmp_path, line):
    path = tmp_path / METRICS_FILE
    path.write_text(line + "\n")
    with pytest.raises(UserError, match="line 1: not a record"):
        list(read_metrics(path))


def test_a_pipe_for_metrics_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / METRICS_FILE)
    with pytest.raises(UserError, match="is not a file"):
        MetricsLogger(tmp_path)
