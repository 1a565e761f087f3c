"""The loop: the same numbers however it is cut into dispatches, runs and machines."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from dreamer_leq import UserError
from dreamer_leq.data.sampling import batch_key, named_key, place
from dreamer_leq.system import shortages
from dreamer_leq.system.interrupts import Interrupted, Interrupts
from dreamer_leq.training import loop
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.loop import PhaseRun, Session
from dreamer_leq.training.metrics import METRICS_FILE, MetricsLogger, read_metrics
from dreamer_leq.training.progress import Progress

UPDATES = 23
KEY = named_key(5, "regression updates")
ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
DATA = {"x": ROWS, "y": (ROWS @ np.array([1.0, -2, 0.5], np.float32))}


@struct.dataclass
class Regression:
    """Noisy gradient descent on a line; `spoiled_at` makes one loss not a number."""

    spoiled_at: float = -1.0

    def init(self):
        return {"weights": jnp.zeros(3), "updates": jnp.zeros(())}

    def update(self, state, batch, key):
        def loss(weights):
            return jnp.mean((batch["x"] @ weights - batch["y"]) ** 2)

        value, gradient = jax.value_and_grad(loss)(state["weights"])
        noise = 0.01 * jax.random.normal(key, (3,))
        weights = state["weights"] - 0.1 * gradient + noise
        spoil = jnp.where(state["updates"] == self.spoiled_at, jnp.nan, 0.0)
        metrics = {"fit_loss": value + spoil, "size": abs(weights).sum() + spoil}
        return {"weights": weights, "updates": state["updates"] + 1}, metrics


@dataclass(frozen=True)
class Rows:
    """Draws 8 rows of DATA."""

    def draw(self, key):
        return jax.random.randint(key, (8,), 0, len(ROWS))

    def gather(self, arrays, index):
        return {name: array[index] for name, array in arrays.items()}


class Run:
    """One process's part of a run in `folder`."""

    def __init__(self, folder, log_every=5, checkpoint_every=7, placement="device"):
        self.folder = folder
        self.interrupts = Interrupts()
        self.evaluated = []
        self.sources = 0
        self.options = (log_every, checkpoint_every)
        self.placement = placement

    def source(self):
        self.sources += 1
        return place(DATA, Rows(), self.placement)[0]

    def train(
        self,
        updates=UPDATES,
        phase=None,
        start=None,
        evaluate=None,
        evaluate_every=0,
        prepare=False,
        in_session=(),
        **more,
    ):
        """The last state; records after the last checkpoint are dropped before. `more`
        are the run's other attributes.
        """
        phase = phase or Regression()
        start = phase.init() if start is None else start
        checkpoints = Checkpoints(self.folder / "checkpoints", keep=100)
        with MetricsLogger(self.folder) as logger, checkpoints:
            quiet = Progress(lambda line: None)
            session = Session(
                logger, checkpoints, quiet, self.interrupts, *self.options
            )
            session = replace(session, **dict(in_session))
            reached = checkpoints.latest("fit")
            logger.truncate(("fit",), "fit", -1 if reached is None else reached)
            run = PhaseRun(session, "fit", phase, self.source, updates, KEY)
            run.evaluate, run.evaluate_every = evaluate, evaluate_every
            for name, value in more.items():
                setattr(run, name, value)
            if prepare:
                run.prepare(jax.eval_shape(lambda: start))
            return jax.device_get(run.run(start))

    def stop_at(self, step, **more):
        """Train until a signal that comes while the loop evaluates after `step`."""

        def evaluate(state, at):
            if at == step:
                self.interrupts._note(signal.SIGTERM, None)

        with self.interrupts, pytest.raises(Interrupted) as stopped:
            self.train(evaluate=evaluate, evaluate_every=step, **more)
        return stopped.value

    @property
    def records(self):
        found = list(read_metrics(self.folder / METRICS_FILE))
        assert all(record.pop("time") for record in found)
        return found

    @property
    def checkpoints(self):
        return Checkpoints(self.folder / "checkpoints").steps("fit")


def saved(folder, step):
    return Checkpoints(folder / "checkpoints").restore("fit", step=step)


def by_hand():
    """Every update in plain steps: weights, and metrics [UPDATES]."""
    phase, rows = Regression(), Rows()
    state, metrics = phase.init(), []
    for step in range(UPDATES):
        index = rows.draw(batch_key(KEY, step))
        state, found = phase.update(
            state, rows.gather(DATA, index), loop.update_key(KEY, step)
        )
        metrics.append(found)
    return state, {k: np.array([m[k] for m in metrics]) for k in metrics[0]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing disturbs, and its last state."""
    run = Run(tmp_path_factory.mktemp("whole"))
    return run, run.train()


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# --- what it computes


def test_it_does_the_updates_one_after_the_other(whole):
    run, state = whole
    expected, metrics = by_hand()
    assert state["updates"] == UPDATES
    np.testing.assert_allclose(state["weights"], expected["weights"], rtol=1e-5)
    assert [record["step"] for record in run.records] == [5, 10, 15, 20, 23]
    begin = 0
    for record in run.records:
        assert record["phase"] == "fit"
        for name in ("fit_loss", "size"):
            mean = metrics[name][begin : record["step"]].mean()
            np.testing.assert_allclose(record[name], mean, rtol=1e-5)
        begin = record["step"]


def test_it_learns(whole):
    run, state = whole
    losses = [record["fit_loss"] for record in run.records]
    assert losses[-1] < 0.1 * losses[0]
    np.testing.assert_allclose(state["weights"], [1, -2, 0.5], atol=0.3)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_updates_per_dispatch_change_nothing(whole, tmp_path, monkeypatch, seconds):
    dispatches = []
    advance = loop._advance

    def counted(*arguments):
        dispatches.append(int(arguments[-1]))
        return advance(*arguments)

    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", seconds)
    monkeypatch.setattr(loop, "_advance", counted)
    run = Run(tmp_path)
    state = run.train()
    assert sum(dispatches) == UPDATES
    assert (len(dispatches) == UPDATES) is (seconds == 0)
    assert_same(state, whole[1])
    assert run.records == whole[0].records


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_data_in_host_memory_changes_nothing(whole, tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", seconds)
    run = Run(tmp_path, placement="host")
    assert_same(run.train(), whole[1])
    assert run.records == whole[0].records


def test_a_seed_gives_each_component_its_own_key():
    keys = [named_key(0, "world_model"), named_key(0, "leq"), named_key(1, "leq")]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == 3
    assert (named_key(1, "leq") == keys[2]).all()


def test_the_seed_decides(whole, tmp_path):
    """What one seed gives again and again, as above, another one does not."""
    other = Run(tmp_path)
    state = other.train(key=named_key(6, "regression updates"))
    assert (state["weights"] != whole[1]["weights"]).all()
    assert all(a != b for a, b in zip(other.records, whole[0].records, strict=True))


# --- checkpoints and resuming


def test_checkpoints_come_at_their_steps_and_at_the_ends(whole):
    run, state = whole
    assert run.checkpoints == [0, 7, 14, 21, UPDATES]
    stored, extra = saved(run.folder, UPDATES)
    assert_same(stored, state)
    assert extra == {"totals": {}, "since": UPDATES, "over": True}
    assert not any(saved(run.folder, step)[1]["over"] for step in (0, 7, 21))


def test_a_checkpoint_holds_the_sums_that_are_not_written_yet(whole):
    run, _ = whole
    _, metrics = by_hand()
    totals = saved(run.folder, 7)[1]["totals"]
    assert totals.keys() == metrics.keys()
    for name in metrics:
        np.testing.assert_allclose(totals[name], metrics[name][5:7].sum(), rtol=1e-5)


@pytest.mark.parametrize("step", [1, 4, 5, 7, 13, 22])
def test_a_stopped_run_ends_like_one_that_was_not(whole, tmp_path, step):
    stopped = Run(tmp_path)
    stopped.stop_at(step)
    assert stopped.checkpoints[-1] == step
    resumed = Run(tmp_path)
    assert_same(resumed.train(), whole[1])
    assert resumed.records == whole[0].records
    for at in (0, 7, 14, 21, UPDATES):
        assert_same(saved(tmp_path, at), saved(whole[0].folder, at))


class Killed(BaseException):
    """Nothing of the loop is to handle this."""


@pytest.mark.parametrize("step", [2, 7, 12, 15, 21, UPDATES])
def test_a_killed_run_ends_like_one_that_was_not(whole, tmp_path, step):
    """It dies after the records of `step`, before its checkpoint."""

    def die(state, at):
        if at == step:
            raise Killed

    with pytest.raises(Killed):
        Run(tmp_path).train(evaluate=die, evaluate_every=step)
    assert step not in Run(tmp_path).checkpoints
    resumed = Run(tmp_path)
    assert_same(resumed.train(), whole[1])
    assert resumed.records == whole[0].records


def test_a_finished_phase_is_not_run_again(whole):
    run, state = whole
    again = Run(run.folder)
    evaluated = []
    assert_same(again.train(evaluate=lambda *a: evaluated.append(a)), state)
    assert again.sources == 0 and not evaluated
    assert again.records == run.records


def test_more_updates_go_on_from_the_last_checkpoint(whole, tmp_path):
    short = Run(tmp_path, log_every=1)
    short.train(updates=14)
    assert_same(Run(tmp_path).train(), whole[1])


# --- compiling while the first state is made


@pytest.fixture
def compilers(caplog):
    """Names of the threads that have compiled the updates."""
    jax.config.update("jax_log_compiles", True)
    jax.clear_caches()
    text = "Finished XLA compilation of jit(_advance)"
    yield lambda: [r.threadName for r in caplog.records if text in r.getMessage()]
    jax.config.update("jax_log_compiles", False)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_a_prepared_phase_is_compiled_once_and_elsewhere(
    whole, tmp_path, compilers, placement
):
    run = Run(tmp_path, placement=placement)
    state = run.train(prepare=True)
    (thread,) = compilers()
    assert thread != threading.main_thread().name
    assert run.sources == 1
    assert_same(state, whole[1])
    assert run.records == whole[0].records
    assert run.checkpoints == whole[0].checkpoints


def test_a_resumed_phase_is_compiled_once(whole, tmp_path, compilers):
    Run(tmp_path).train(updates=14)
    jax.clear_caches()
    resumed = Run(tmp_path, log_every=3)  # more than one dispatch
    assert_same(resumed.train(), whole[1])
    assert len(compilers()) == 2


def test_only_a_new_phase_is_prepared(whole, tmp_path, compilers):
    again, none = Run(whole[0].folder), Run(tmp_path)
    again.train(prepare=True)
    none.train(updates=0, prepare=True)
    assert again.sources == none.sources == 0 and not compilers()


# --- evaluation


def test_it_is_evaluated_at_its_steps_and_at_the_end(tmp_path):
    seen = []
    Run(tmp_path).train(
        evaluate=lambda state, step: seen.append((step, int(state["updates"]))),
        evaluate_every=8,
    )
    assert seen == [(8, 8), (16, 16), (UPDATES, UPDATES)]


def test_without_a_rhythm_it_is_evaluated_at_the_end(tmp_path):
    seen = []
    Run(tmp_path).train(evaluate=lambda state, step: seen.append(step))
    assert seen == [UPDATES]


# --- what is done more rarely than an update


def halve(state, step):
    """A refresh whose result depends on the state and on the step."""
    weights = state["weights"] / 2 + step / 100
    return state | {"weights": weights}, {"halved": weights.sum()}


REFRESH = {"refresh": halve, "refresh_every": 6}


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory):
    """A run with refreshes that nothing disturbs, and its last state."""
    run = Run(tmp_path_factory.mktemp("refreshed"))
    return run, run.train(**REFRESH)


def test_a_refresh_takes_the_state_between_two_updates(refreshed):
    run, state = refreshed
    phase, rows, expected, halved = Regression(), Rows(), Regression().init(), []
    for step in range(UPDATES):
        index = rows.draw(batch_key(KEY, step))
        batch, key = rows.gather(DATA, index), loop.update_key(KEY, step)
        expected, _ = phase.update(expected, batch, key)
        if (step + 1) % 6 == 0:
            expected, metrics = halve(expected, step + 1)
            halved.append((step + 1, float(metrics["halved"])))
    np.testing.assert_allclose(state["weights"], expected["weights"], rtol=1e-5)
    found = [(r["step"], r["halved"]) for r in run.records if "halved" in r]
    assert [step for step, _ in found] == [6, 12, 18]
    np.testing.assert_allclose(found, halved, rtol=1e-5)
    # of the updates' own metrics nothing is lost
    assert [r["step"] for r in run.records if "size" in r] == [5, 10, 15, 20, 23]


def test_a_refresh_without_metrics_writes_no_record(tmp_path):
    run = Run(tmp_path)
    run.train(refresh=lambda state, step: (state, {}), refresh_every=6)
    assert [record["step"] for record in run.records] == [5, 10, 15, 20, 23]


def test_evaluation_and_checkpoint_see_the_refreshed_state(tmp_path, refreshed):
    seen = {}
    run = Run(tmp_path, checkpoint_every=6)
    run.train(
        evaluate=lambda state, step: seen.update({step: jax.device_get(state)}),
        evaluate_every=6,
        **REFRESH,
    )
    for step in (6, 12, 18):
        assert_same(saved(tmp_path, step)[0], seen[step])
    assert_same(seen[UPDATES], refreshed[1])


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_dispatches_change_nothing_of_refreshes(
    refreshed, tmp_path, monkeypatch, seconds
):
    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", seconds)
    run = Run(tmp_path)
    assert_same(run.train(**REFRESH), refreshed[1])
    assert run.records == refreshed[0].records


@pytest.mark.parametrize("step", [5, 6, 7, 12, 17, 18])
def test_a_run_stopped_around_a_refresh_ends_like_one_that_was_not(
    refreshed, tmp_path, step
):
    Run(tmp_path).stop_at(step, **REFRESH)
    assert Run(tmp_path).checkpoints[-1] == step
    resumed = Run(tmp_path)
    assert_same(resumed.train(**REFRESH), refreshed[1])
    assert resumed.records == refreshed[0].records


@pytest.mark.parametrize("step", [6, 12, 14])
def test_a_run_killed_after_a_refresh_does_it_again(refreshed, tmp_path, step):
    """It dies after the refresh's record, before the checkpoint that would keep it."""

    def die(state, at):
        if at == step:
            raise Killed

    with pytest.raises(Killed):
        Run(tmp_path).train(evaluate=die, evaluate_every=step, **REFRESH)
    assert step not in Run(tmp_path).checkpoints
    resumed = Run(tmp_path)
    assert_same(resumed.train(**REFRESH), refreshed[1])
    assert resumed.records == refreshed[0].records


# --- phases that are over before their last update


def count(state, step):
    """Adds 100 to the counter of updates."""
    updates = state["updates"] + 100
    return state | {"updates": updates}, {"refreshes": updates // 100}


def refreshed_twice(state):
    return float(state["updates"]) > 200


EARLY = {"refresh": count, "refresh_every": 6, "finished": refreshed_twice}


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A run that is over with its second refresh, after 12 of its 23 updates."""
    run = Run(tmp_path_factory.mktemp("early"))
    return run, run.train(**EARLY)


def test_a_phase_ends_early_with_the_state_that_says_so(early):
    run, state = early
    assert state["updates"] == 212
    assert run.checkpoints == [0, 7, 12]
    assert_same(saved(run.folder, 12)[0], state)


def test_records_of_a_phase_that_ends_early_reach_its_end(early):
    """All of its updates are in the records, those after the last rhythm too."""
    run, _ = early
    assert [r["step"] for r in run.records if "size" in r] == [5, 10, 12]
    assert [r["step"] for r in run.records if "refreshes" in r] == [6, 12]


def test_a_phase_that_ends_early_is_evaluated_at_its_end(tmp_path):
    seen = []
    Run(tmp_path).train(evaluate=lambda state, step: seen.append(step), **EARLY)
    assert seen == [12]


def test_a_phase_that_ended_early_is_not_run_again(early):
    run, state = early
    again, before = Run(run.folder), run.records
    assert_same(again.train(**EARLY), state)
    assert again.sources == 0 and again.records == before


@pytest.mark.parametrize("step", [4, 6, 9])
def test_a_stopped_run_ends_as_early(early, tmp_path, step):
    Run(tmp_path).stop_at(step, **EARLY)
    resumed = Run(tmp_path)
    assert_same(resumed.train(**EARLY), early[1])
    assert resumed.records == early[0].records
    assert resumed.checkpoints[-1] == 12


def test_a_signal_at_the_early_end_is_heard_and_the_phase_is_over(early, tmp_path):
    Run(tmp_path).stop_at(12, **EARLY)
    resumed = Run(tmp_path)
    assert_same(resumed.train(**EARLY), early[1])
    assert resumed.sources == 0
    assert resumed.records == early[0].records


# --- losses that are not finite


def test_a_loss_that_is_not_finite_stops_the_run_with_a_checkpoint(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(UserError) as error:
        run.train(phase=Regression(spoiled_at=9.0))
    message = str(error.value)
    assert message.startswith("fit_loss is not finite at fit update 1")
    assert "nor size" in message and "update 7 is from before" in message
    assert "\n" not in message
    assert run.checkpoints == [0, 7]
    assert all(np.isfinite(x).all() for x in saved(tmp_path, 7)[0].values())
    assert [record["step"] for record in run.records] == [5]


def test_it_can_go_on_from_there_with_what_was_mended(whole, tmp_path):
    with pytest.raises(UserError):
        Run(tmp_path).train(phase=Regression(spoiled_at=9.0))
    run = Run(tmp_path)
    assert_same(run.train(), whole[1])
    assert run.records == whole[0].records


def test_a_loss_that_never_was_finite_leaves_the_start(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(UserError, match="update 0 is from before"):
        run.train(phase=Regression(spoiled_at=0.0))
    assert run.checkpoints == [0]
    assert (saved(tmp_path, 0)[0]["weights"] == 0).all()


# --- more updates, other intervals


@pytest.mark.parametrize(("begun", "every"), [(13, 5), (7, 3), (20, 4)])
def test_a_run_that_is_made_longer_equals_a_long_one(whole, tmp_path, begun, every):
    """Also where its metrics are logged at other intervals than before."""
    Run(tmp_path, log_every=every).train(updates=begun)
    longer = Run(tmp_path)
    assert_same(longer.train(), whole[1])
    _, metrics = by_hand()
    begin = 0
    for record in longer.records:
        mean = metrics["fit_loss"][begin : record["step"]].mean()
        np.testing.assert_allclose(record["fit_loss"], mean, rtol=1e-5)
        begin = record["step"]
    assert begin == UPDATES


def test_what_is_evaluated_is_kept_where_that_is_wanted(tmp_path, monkeypatch):
    steps = {"best": []}
    kept = Checkpoints(
        tmp_path / "checkpoints", keep=1, also=lambda name: steps["best"]
    )
    monkeypatch.setattr(sys.modules[__name__], "Checkpoints", lambda *_, **__: kept)

    def evaluate(state, step):
        if step == 12:
            steps["best"] = [12]

    session = {"keep_evaluated": True}
    Run(tmp_path).train(evaluate=evaluate, evaluate_every=6, in_session=session)
    assert kept.steps("fit") == [12, UPDATES]


def test_a_loss_that_is_not_finite_comes_with_advice(tmp_path):
    with pytest.raises(UserError, match="look at the data, or go slower"):
        Run(tmp_path).train(phase=Regression(spoiled_at=3.0), advice="go slower")


# --- signals


def test_sigterm_saves_that_step_and_says_so(tmp_path):
    stopped = Run(tmp_path).stop_at(13)
    assert stopped.code == 128 + signal.SIGTERM == 143
    assert "SIGTERM" in str(stopped) and "fit update 13" in str(stopped)
    assert Run(tmp_path).checkpoints == [0, 7, 13]


@pytest.mark.parametrize("signum", Interrupts.SIGNALS)
def test_the_first_signal_is_noted(signum):
    before = signal.getsignal(signum)
    with Interrupts() as interrupts:
        interrupts.raise_pending("nowhere")  # nothing came
        os.kill(os.getpid(), signum)
        assert interrupts.pending == signum
        ends = signum in (signal.SIGTERM, signal.SIGINT)
        second = signal.SIG_DFL if ends else signal.SIG_IGN
        assert signal.getsignal(signum) == second
        with pytest.raises(Interrupted) as stopped:
            interrupts.raise_pending("update 3")
    assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", Interrupts.SIGNALS)
def test_what_is_done_again_anyway_is_broken_off(signum):
    with Interrupts() as interrupts:
        with interrupts.breaking_off("the encoding"):
            pass
        stopped = pytest.raises(Interrupted, match="the encoding")
        with stopped, interrupts.breaking_off("the encoding"):
            os.kill(os.getpid(), signum)
            pytest.fail("went on")
        with pytest.raises(Interrupted), interrupts.breaking_off("what comes next"):
            pytest.fail("began")


class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_signal_is_lost_in_other_peoples_code():
    stopped = pytest.raises(Interrupted, match="the videos")
    with Interrupts() as interrupts, stopped, interrupts.breaking_off("the videos"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pytest.fail("taken for a failure")
    stopped = pytest.raises(Interrupted, match="the videos")
    with Interrupts() as interrupts, stopped, interrupts.breaking_off("the videos"):
        Finalised()


TWICE = """
import os, signal
from dreamer_leq.system.interrupts import Interrupts
with Interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached", flush=True)
"""


def test_a_second_signal_ends_the_process_at_once():
    root = Path(loop.__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", TWICE], cwd=root, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout == "still here\n"


def test_a_phase_is_an_argument_not_a_constant(tmp_path):
    """What a phase holds frozen may change without compiling again."""
    Run(tmp_path / "a").train(phase=Regression(spoiled_at=-1.0))
    before = loop._advance._cache_size()
    phase = replace(Regression(), spoiled_at=-2.0)
    Run(tmp_path / "b").train(phase=phase)
    assert loop._advance._cache_size() == before


# --- evaluations that are cut short, or fail


def finishing(calls):
    """An evaluation that notes its steps."""
    return lambda state, step: calls.append((step, int(state["updates"]))) or True


@pytest.mark.parametrize("step", [7, 13, UPDATES])
def test_an_evaluation_that_a_signal_cuts_short_is_done_again(whole, tmp_path, step):
    run, calls = Run(tmp_path), []

    def cut_short(state, at):
        run.interrupts._note(signal.SIGTERM, None)
        return False

    with run.interrupts, pytest.raises(Interrupted, match=f"fit update {step}"):
        run.train(evaluate=cut_short, evaluate_every=step)
    assert run.checkpoints[-1] == step
    resumed = Run(tmp_path)
    state = resumed.train(evaluate=finishing(calls), evaluate_every=step)
    steps = [*range(step, UPDATES, step), UPDATES]
    assert calls == [(at, at) for at in steps]
    assert_same(state, whole[1])
    assert resumed.records == whole[0].records


def test_a_second_signal_cuts_it_short_again(tmp_path):
    for _ in range(2):
        run = Run(tmp_path)

        def cut_short(state, at, run=run):
            run.interrupts._note(signal.SIGTERM, None)
            return False

        with run.interrupts, pytest.raises(Interrupted, match="fit update 13"):
            run.train(evaluate=cut_short, evaluate_every=13)
    calls = []
    Run(tmp_path).train(evaluate=finishing(calls), evaluate_every=13)
    assert calls == [(13, 13), (UPDATES, UPDATES)]


def test_an_evaluation_that_fails_costs_no_update(whole, tmp_path):
    def fail(state, at):
        raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        Run(tmp_path).train(evaluate=fail, evaluate_every=13)
    resumed, calls = Run(tmp_path), []
    assert resumed.checkpoints[-1] == 13
    state = resumed.train(evaluate=finishing(calls), evaluate_every=13)
    assert calls == [(13, 13), (UPDATES, UPDATES)]
    assert_same(state, whole[1])
    assert resumed.records == whole[0].records


# --- memory that runs out


class XlaRuntimeError(RuntimeError):
    """Has the name of JAX's."""


def run_out_at(monkeypatch, step, take):
    """The first dispatch from `step` on runs out of memory, and may take the buffers
    that were donated to it. Dispatches are of one update.
    """
    advance = loop._advance

    def short(*arguments):
        state, first = arguments[3], arguments[-2]
        if int(first) >= step:
            if take:
                jax.tree.map(lambda x: x.delete(), state)
            raise XlaRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"
            )
        return advance(*arguments)

    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", 0.0)
    monkeypatch.setattr(loop, "_advance", short)


@pytest.mark.parametrize(("taken", "saved_at"), [(False, 11), (True, 7)])
def test_a_lack_of_memory_names_what_to_lower(
    whole, tmp_path, monkeypatch, taken, saved_at
):
    with monkeypatch.context() as patch, pytest.raises(UserError) as error:
        run_out_at(patch, 11, taken)
        patch.setitem(shortages._OTHER, "fit", ("fit.batch", "fit.length"))
        Run(tmp_path).train(section="fit")
    message = str(error.value)
    assert message.startswith("fit update 11: out of memory (RESOURCE_EXHAUSTED")
    assert "--data.placement host" in message and "fit.batch, fit.length" in message
    assert message.endswith(f"the same command goes on from update {saved_at}")
    assert "\n" not in message
    resumed = Run(tmp_path)
    assert resumed.checkpoints[-1] == saved_at
    assert_same(resumed.train(), whole[1])
    assert resumed.records == whole[0].records


def test_another_error_of_the_devices_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(*arguments):
        raise XlaRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(loop, "_advance", fail)
    with pytest.raises(XlaRuntimeError, match="INTERNAL"):
        Run(tmp_path).train()


# --- several members side by side


SEEDS = (3, 4, 5)


def member_key(seed):
    return named_key(seed, "fit updates")


def train_members(folder, **more):
    """Three members from one start: their last states, and each one's logger."""
    start = jax.tree.map(lambda x: jnp.stack([x] * len(SEEDS)), Regression().init())
    with ExitStack() as stack:
        open_logger = lambda seed: MetricsLogger(folder / f"member{seed}")  # noqa: E731
        loggers = [stack.enter_context(open_logger(seed)) for seed in SEEDS]
        key = jnp.stack([member_key(seed) for seed in SEEDS])
        return Run(folder).train(start=start, key=key, loggers=loggers, **more)


@pytest.fixture(scope="module", params=["side by side", "in turn"])
def members(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in turn":  # as those of large batches are
            patch.setattr(loop, "SAMPLES_FOR_TURNS", 1)
            jax.clear_caches()
        yield folder, train_members(folder)
    jax.clear_caches()


def test_each_member_is_as_if_it_was_alone(members, tmp_path):
    folder, states = members
    for i, seed in enumerate(SEEDS):
        alone = Run(tmp_path / str(seed))
        state = alone.train(key=member_key(seed))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6),  # noqa: B023
            states,
            state,
        )
        own = list(read_metrics(folder / f"member{seed}" / METRICS_FILE))
        for theirs, ours in zip(alone.records, own, strict=True):
            assert [ours.pop(k) for k in ("phase", "step")] == [
                theirs.pop(k) for k in ("phase", "step")
            ]
            assert ours.pop("time") and ours == pytest.approx(theirs, rel=1e-5)


def test_without_loggers_their_mean_is_written(members, tmp_path):
    mean = Run(tmp_path)
    start = jax.tree.map(lambda x: jnp.stack([x] * 3), Regression().init())
    mean.train(start=start, key=jnp.stack([member_key(seed) for seed in SEEDS]))
    each = [list(read_metrics(members[0] / f"member{s}" / METRICS_FILE)) for s in SEEDS]
    for found, *own in zip(mean.records, *each, strict=True):
        expected = np.mean([record["fit_loss"] for record in own])
        assert found["fit_loss"] == pytest.approx(expected)


def test_stopped_members_end_like_those_that_were_not(members, tmp_path):
    train_members(tmp_path, updates=10)
    assert_same(members[1], train_members(tmp_path))


def test_a_member_that_diverges_stops_all(tmp_path):
    start = jax.tree.map(lambda x: jnp.stack([x] * 3), Regression().init())
    start["updates"] = jnp.array([0.0, 4.0, 0.0])
    key = jnp.stack([member_key(seed) for seed in SEEDS])
    with pytest.raises(UserError, match="fit_loss is not finite"):
        Run(tmp_path).train(phase=Regression(spoiled_at=6.0), start=start, key=key)


@pytest.mark.parametrize(
    ("step", "extra", "said"),
    [
        (UPDATES + 1, {"totals": {}}, "is beyond its 23 updates"),
        (5, {}, "has no sums of metrics"),
        (5, {"totals": [1]}, "has no sums of metrics"),
        (5, {"totals": {"loss": "x"}}, "has no sums of metrics"),
    ],
)
def test_a_checkpoint_that_can_not_be_gone_on_from_is_named(
    tmp_path, step, extra, said
):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save("fit", step, Regression().init(), extra)
        session = Session(None, checkpoints, None, None, 5, 10)
        run = PhaseRun(session, "fit", Regression(), lambda: None, UPDATES, KEY)
        with pytest.raises(UserError, match=said):
            run.run(Regression().init())
