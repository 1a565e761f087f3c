"""The loop: the same numbers however it is cut into dispatches, runs and machines."""

import itertools
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import SimpleNamespace

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
class Kept:
    """A phase whose updates change nothing."""

    def update(self, state, batch, key):
        return state, {}


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
        prepare=False,
        in_session=(),
        **attributes,
    ):
        """The last state; records after the last checkpoint are dropped before."""
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
            for name, value in attributes.items():
                setattr(run, name, value)
            if prepare:
                run.prepare(jax.eval_shape(lambda: start))
            return jax.device_get(run.run(start))

    def stop_at(self, step, done=True, **attributes):
        """Train until a signal that comes while the loop evaluates after `step`."""

        def evaluate(state, at):
            if at == step:
                self.interrupts._note(signal.SIGTERM, None)
            return done

        attributes |= dict(evaluate=evaluate, evaluate_every=step)
        with (
            self.interrupts,
            pytest.raises(Interrupted, match=f"TERM at fit update {step}"),
        ):
            self.train(**attributes)

    def die_at(self, step, error, **attributes):
        """Train until an error after the records of `step`, before its checkpoint."""

        def evaluate(state, at):
            if at == step:
                raise error

        with pytest.raises(type(error)):
            self.train(evaluate=evaluate, evaluate_every=step, **attributes)

    @property
    def records(self):
        found = list(read_metrics(self.folder / METRICS_FILE))
        assert all(record.pop("time") for record in found)
        return found

    def steps(self, metric):
        """Steps of the records that hold a metric."""
        return [record["step"] for record in self.records if metric in record]

    @property
    def checkpoints(self):
        return Checkpoints(self.folder / "checkpoints").steps("fit")


def saved(folder, step):
    return Checkpoints(folder / "checkpoints").restore("fit", step=step)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def by_hand(refresh=None):
    """Every update in plain steps: weights, and metrics [UPDATES]."""
    phase, rows = Regression(), Rows()
    state, metrics = phase.init(), []
    for step in range(UPDATES):
        if refresh and step % 6 == 0:
            state, _ = refresh(state, step)
        index = rows.draw(batch_key(KEY, step))
        state, found = phase.update(
            state, rows.gather(DATA, index), loop.update_key(KEY, step)
        )
        metrics.append(found)
    return state, {k: np.array([m[k] for m in metrics]) for k in metrics[0]}


# --- runs that nothing disturbs: plain, refreshed now and then, and over early


def halve(state, step):
    """A refresh whose result depends on the state and on the step."""
    weights = state["weights"] / 2 + step / 100 + 0.1
    return state | {"weights": weights}, {"halved": weights.sum()}


def count(state, step):
    """Adds 100 to the counter of updates."""
    updates = state["updates"] + 100
    return state | {"updates": updates}, {"refreshes": updates // 100}


REFRESH = {"refresh": halve, "refresh_every": 6, "refresh_first": True}
EARLY = {
    "refresh": count,
    "refresh_every": 6,
    "finished": lambda state: float(state["updates"]) > 200,
}
KINDS = {"plain": {}, "refreshed": REFRESH, "early": EARLY}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """By kind: the run, and its last state."""
    runs = {kind: Run(tmp_path_factory.mktemp(kind)) for kind in KINDS}
    return {kind: (run, run.train(**KINDS[kind])) for kind, run in runs.items()}


@pytest.fixture
def ends_like(wholes):
    """Asserts that a run's last state, records and checkpoints are those of a kind."""

    def ends_like(kind, run, state):
        whole, expected = wholes[kind]
        assert_same(state, expected)
        assert run.records == whole.records
        assert set(whole.checkpoints) <= set(run.checkpoints)
        for step in whole.checkpoints:
            (state, extra), (theirs, sums) = (
                saved(folder, step) for folder in (run.folder, whole.folder)
            )
            assert_same(state, theirs)
            assert extra["totals"] == sums["totals"]

    return ends_like


def test_it_does_the_updates_one_after_the_other(wholes):
    run, state = wholes["plain"]
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


def test_a_refresh_takes_the_state_between_two_updates(wholes):
    run, state = wholes["refreshed"]
    expected, _ = by_hand(halve)
    np.testing.assert_allclose(state["weights"], expected["weights"], rtol=1e-5)
    assert run.steps("halved") == [6, 12, 18]
    assert run.steps("size") == [5, 10, 15, 20, 23]  # of these nothing is lost


def test_a_phase_ends_early_with_the_state_that_says_so(wholes):
    run, state = wholes["early"]
    assert state["updates"] == 212
    assert run.checkpoints == [0, 7, 12]
    # all updates are in the records, those after the last rhythm too
    assert run.steps("size") == [5, 10, 12] and run.steps("refreshes") == [6, 12]


def test_checkpoints_hold_the_sums_that_are_not_written_yet(wholes):
    run, state = wholes["plain"]
    assert run.checkpoints == [0, 7, 14, 21, UPDATES]
    stored, extra = saved(run.folder, UPDATES)
    assert_same(stored, state)
    assert extra == {"totals": {}, "since": UPDATES, "over": True}
    assert not any(saved(run.folder, step)[1]["over"] for step in (0, 7, 21))
    _, metrics = by_hand()
    totals = saved(run.folder, 7)[1]["totals"]
    assert totals.keys() == metrics.keys()
    for name in metrics:
        np.testing.assert_allclose(totals[name], metrics[name][5:7].sum(), rtol=1e-5)


def test_a_refresh_without_metrics_writes_no_record(tmp_path):
    run = Run(tmp_path)
    run.train(updates=7, refresh=lambda state, step: (state, {}), refresh_every=6)
    assert [record["step"] for record in run.records] == [5, 7]


def test_a_seed_gives_each_component_its_own_key():
    keys = [named_key(0, "world_model"), named_key(0, "leq"), named_key(1, "leq")]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == 3


def test_a_phase_is_an_argument_not_a_constant(tmp_path):
    """What a phase holds frozen may change without compiling again."""
    Run(tmp_path / "a").train(phase=Regression(spoiled_at=-1.0))
    before = loop._advance._cache_size()
    phase = replace(Regression(), spoiled_at=-2.0)
    Run(tmp_path / "b").train(phase=phase)
    assert loop._advance._cache_size() == before


# --- the same however it is cut


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("seconds", [0.0, 1e9])
@pytest.mark.parametrize("kind", ["plain", "refreshed"])
def test_dispatches_and_host_memory_change_nothing(
    ends_like, tmp_path, monkeypatch, kind, seconds, placement
):
    dispatches = []
    advance = loop._advance

    def counted(*arguments):
        dispatches.append(int(arguments[-1]))
        return advance(*arguments)

    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", seconds)
    monkeypatch.setattr(loop, "_advance", counted)
    run = Run(tmp_path, placement=placement)
    ends_like(kind, run, run.train(**KINDS[kind]))
    assert sum(dispatches) == UPDATES
    assert (len(dispatches) == UPDATES) is (seconds == 0)


# Records come every 5, checkpoints every 7, refreshes every 6 updates.
@pytest.mark.parametrize(
    ("kind", "step"),
    [("plain", step) for step in (1, 5, 7, 22)]
    + [("refreshed", step) for step in (5, 6, 7)]
    + [("early", step) for step in (6, 9, 12)],
)
def test_a_stopped_run_ends_like_one_that_was_not(ends_like, tmp_path, kind, step):
    Run(tmp_path).stop_at(step, **KINDS[kind])
    resumed = Run(tmp_path)
    assert resumed.checkpoints[-1] == step
    ends_like(kind, resumed, resumed.train(**KINDS[kind]))
    assert resumed.sources == (0 if (kind, step) == ("early", 12) else 1)


class Killed(BaseException):
    """Nothing of the loop is to handle this."""


@pytest.mark.parametrize(
    ("kind", "step"),
    [("plain", step) for step in (2, 7, 15, UPDATES)]
    + [("refreshed", step) for step in (6, 14)],
)
def test_a_killed_run_ends_like_one_that_was_not(ends_like, tmp_path, kind, step):
    Run(tmp_path).die_at(step, Killed(), **KINDS[kind])
    resumed = Run(tmp_path)
    assert step not in resumed.checkpoints
    ends_like(kind, resumed, resumed.train(**KINDS[kind]))


@pytest.mark.parametrize("kind", ["plain", "early"])
def test_a_finished_phase_is_not_run_again(ends_like, wholes, kind):
    evaluated, records = [], wholes[kind][0].records
    again = Run(wholes[kind][0].folder)
    options = KINDS[kind] | {"evaluate": lambda *a: evaluated.append(a)}
    ends_like(kind, again, again.train(**options))
    assert again.sources == 0 and not evaluated and again.records == records


@pytest.mark.parametrize(("begun", "every"), [(13, 5), (7, 3), (20, 4)])
def test_a_run_that_is_made_longer_equals_a_long_one(wholes, tmp_path, begun, every):
    """Also where its metrics are logged at other intervals than before."""
    Run(tmp_path, log_every=every).train(updates=begun)
    longer = Run(tmp_path)
    assert_same(longer.train(), wholes["plain"][1])
    _, metrics = by_hand()
    begin = 0
    for record in longer.records:
        mean = metrics["fit_loss"][begin : record["step"]].mean()
        np.testing.assert_allclose(record["fit_loss"], mean, rtol=1e-5)
        begin = record["step"]
    assert begin == UPDATES


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
    ends_like, tmp_path, compilers, placement
):
    run = Run(tmp_path, placement=placement)
    state = run.train(prepare=True)
    (thread,) = compilers()
    assert thread != threading.main_thread().name
    assert run.sources == 1
    ends_like("plain", run, state)


def test_a_resumed_phase_is_compiled_once(wholes, tmp_path, compilers):
    Run(tmp_path).train(updates=14)
    jax.clear_caches()
    resumed = Run(tmp_path, log_every=3)  # more than one dispatch
    assert_same(resumed.train(), wholes["plain"][1])
    assert len(compilers()) == 2


def test_only_a_new_phase_is_prepared(wholes, tmp_path, compilers):
    again, none = Run(wholes["plain"][0].folder), Run(tmp_path)
    again.train(prepare=True)
    none.train(updates=0, prepare=True)
    assert again.sources == none.sources == 0 and not compilers()


# --- evaluation


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"evaluate_every": 8}, [8, 16, UPDATES]), ({}, [UPDATES]), (EARLY, [12])],
)
def test_it_is_evaluated_at_its_steps_and_at_the_end(tmp_path, options, steps):
    seen = []
    Run(tmp_path).train(
        evaluate=lambda state, step: seen.append((step, state["updates"] % 100)),
        **options,
    )
    assert seen == [(step, step) for step in steps]


def test_evaluation_and_checkpoint_see_the_refreshed_state(tmp_path, wholes):
    seen = {}
    Run(tmp_path, checkpoint_every=6).train(
        evaluate=lambda state, step: seen.update({step: jax.device_get(state)}),
        evaluate_every=6,
        **REFRESH,
    )
    for step in (6, 12, 18):
        assert_same(saved(tmp_path, step)[0], seen[step])
    assert_same(seen[UPDATES], wholes["refreshed"][1])


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


@pytest.mark.parametrize("step", [13, UPDATES])
@pytest.mark.parametrize("how", ["fails", "is cut short", "is cut short twice"])
def test_an_evaluation_without_an_end_is_done_again(ends_like, tmp_path, how, step):
    if how == "fails":
        Run(tmp_path).die_at(step, RuntimeError("a worker died"))
    else:
        for _ in range(1 + how.endswith("twice")):
            Run(tmp_path).stop_at(step, done=False)
    resumed, calls = Run(tmp_path), []
    assert resumed.checkpoints[-1] == step

    def evaluate(state, step):
        calls.append((step, int(state["updates"])))
        return True

    state = resumed.train(evaluate=evaluate, evaluate_every=step)
    assert calls == [(at, at) for at in sorted({step, UPDATES})]
    ends_like("plain", resumed, state)


# --- losses that are not finite, and memory that runs out


def test_a_loss_that_is_not_finite_stops_the_run_with_a_checkpoint(ends_like, tmp_path):
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
    ends_like("plain", run, run.train())  # with what was mended


def test_a_loss_that_never_was_finite_leaves_the_start(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(UserError, match="update 0 is from before"):
        run.train(phase=Regression(spoiled_at=0.0))
    assert run.checkpoints == [0]
    assert (saved(tmp_path, 0)[0]["weights"] == 0).all()


def test_a_loss_that_is_not_finite_comes_with_advice(tmp_path):
    with pytest.raises(UserError, match="look at the data, or go slower"):
        Run(tmp_path).train(phase=Regression(spoiled_at=3.0), advice="go slower")


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
    ends_like, tmp_path, monkeypatch, taken, saved_at
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
    ends_like("plain", resumed, resumed.train())


def test_another_error_of_the_devices_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(*arguments):
        raise XlaRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(loop, "_advance", fail)
    with pytest.raises(XlaRuntimeError, match="INTERNAL"):
        Run(tmp_path).train()


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


# --- several members side by side


SEEDS = (3, 4, 5, 6)
KEYS = [named_key(seed, "fit updates") for seed in SEEDS]


def train_members(folder, spoiled_at=-1.0, **more):
    """Four members from one start but for their counters: their last states."""
    start = jax.tree.map(lambda x: jnp.stack([x] * len(SEEDS)), Regression().init())
    start["updates"] = jnp.array([0.0, 4.0, 0.0, 0.0])
    phase = Regression(spoiled_at=spoiled_at)
    return Run(folder).train(start=start, phase=phase, key=jnp.stack(KEYS), **more)


def train_apart(folder, **more):
    """The same, each with a logger of its own."""
    with ExitStack() as stack:
        loggers = [MetricsLogger(folder / f"member{seed}") for seed in SEEDS]
        loggers = [stack.enter_context(logger) for logger in loggers]
        return train_members(folder, loggers=loggers, **more)


def member_records(folder):
    files = (folder / f"member{seed}" / METRICS_FILE for seed in SEEDS)
    return [list(read_metrics(file)) for file in files]


# how many samples are worth a turn, where a member's batch has 8
TURNS = {"side by side": 256, "one after the other": 1, "two by two": 16}


@pytest.fixture(scope="module", params=TURNS)
def members(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAMPLES_AT_ONCE", TURNS[request.param])
        jax.clear_caches()
        yield folder, train_apart(folder)
    jax.clear_caches()


def test_each_member_is_as_if_it_was_alone(members, tmp_path):
    folder, states = members
    for i, own in enumerate(member_records(folder)):
        alone = Run(tmp_path / str(i))
        state = alone.train(key=KEYS[i])
        np.testing.assert_allclose(
            states["weights"][i], state["weights"], rtol=1e-5, atol=1e-6
        )
        for theirs, ours in zip(alone.records, own, strict=True):
            assert ours.pop("time") and ours.pop("phase") == theirs.pop("phase")
            assert ours == pytest.approx(theirs, rel=1e-5)


def test_without_loggers_their_mean_is_written(members, tmp_path):
    train_members(tmp_path)
    records = Run(tmp_path).records
    for found, *own in zip(records, *member_records(members[0]), strict=True):
        expected = np.mean([record["fit_loss"] for record in own])
        assert found["fit_loss"] == pytest.approx(expected)


def test_stopped_members_end_like_those_that_were_not(members, tmp_path):
    train_apart(tmp_path, updates=10)
    assert_same(members[1], train_apart(tmp_path))


@pytest.mark.parametrize(
    ("rows", "at_once", "turns"),
    [(8, 1, [4]), (8, 7, [4]), (8, 8, [2]), (8, 12, [2]), (8, 16, []), (2**23, 1, [])],
)
def test_members_take_turns_unless_their_states_are_large(
    rows, at_once, turns, monkeypatch
):
    """In groups that divide them. A change of turns copies the state, and a ring of
    rows may have gigabytes.
    """
    monkeypatch.setattr(loop, "SAMPLES_AT_ONCE", at_once)
    jax.clear_caches()
    ring = {"rows": jax.ShapeDtypeStruct((4, rows, 8), jnp.float32)}
    arguments = (lambda data, key, step: data, Kept(), jnp.zeros((4, 2)), ring, {})
    program = loop._advance.trace(*arguments, jnp.stack(KEYS), 0, 1).jaxpr
    scans = [e for e in program.eqns if e.primitive.name == "scan"]
    assert [scan.params["length"] for scan in scans] == turns


@pytest.mark.parametrize(("at_once", "third"), [(256, 2), (16, 3)])
def test_a_dispatch_is_longer_where_members_take_turns(
    tmp_path, monkeypatch, at_once, third
):
    """By a clock on which every dispatch takes a second; the third may be of 2 updates
    for each turn, but a record is due after it.
    """
    dispatches, advance = [], loop._advance

    def counted(*arguments):
        dispatches.append(int(arguments[-1]))
        return advance(*arguments)

    monkeypatch.setattr(loop, "SAMPLES_AT_ONCE", at_once)
    monkeypatch.setattr(loop, "SECONDS_PER_DISPATCH", 2.0)
    monkeypatch.setattr(
        loop, "time", SimpleNamespace(monotonic=itertools.count().__next__)
    )
    monkeypatch.setattr(loop, "_advance", counted)
    jax.clear_caches()
    train_members(tmp_path)
    assert dispatches[:3] == [1, 1, third]


def test_a_member_that_diverges_stops_all(tmp_path):
    with pytest.raises(UserError, match="fit_loss is not finite"):
        train_members(tmp_path, spoiled_at=25.0)
