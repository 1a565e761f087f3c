"""Two processes that train together: what one does alone and what both agree on.

They have to be processes: the tests run this file as a program.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from workplace import free_address

from dreamer_leq import UserError
from dreamer_leq.data.sampling import named_key, place
from dreamer_leq.system import processes
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.system.interrupts import Interrupted, Interrupts
from dreamer_leq.training import loop
from dreamer_leq.training.checkpoints import Checkpoints, SharedCheckpoints
from dreamer_leq.training.loop import PhaseRun, Session
from dreamer_leq.training.metrics import MetricsLogger, NoMetrics, read_metrics
from dreamer_leq.training.progress import Progress

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, UPDATES, STOP = 2, 12, 5
ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
DATA = {"x": ROWS, "y": ROWS @ np.array([1.0, -2, 0.5], np.float32)}


@struct.dataclass
class Regression:
    """Noisy gradient descent on a line."""

    def update(self, weights, batch, key):
        def loss(weights):
            return jnp.mean((batch["x"] @ weights - batch["y"]) ** 2)

        value, gradient = jax.value_and_grad(loss)(weights)
        noise = 0.01 * jax.random.normal(key, (3,))
        return weights - 0.1 * gradient + noise, {"loss": value}


@dataclass(frozen=True)
class Rows:
    """Draws 8 rows of DATA."""

    def draw(self, key):
        return jax.random.randint(key, (8,), 0, len(ROWS))

    def gather(self, arrays, index):
        return {name: array[index] for name, array in arrays.items()}


def train(folder, devices, evaluate=None):
    """Train in `folder`, from the last checkpoint on: the weights."""
    first = processes.first()
    own = Checkpoints(folder / "checkpoints", keep=100)
    checkpoints = SharedCheckpoints(own) if devices.mesh else own
    with (
        Interrupts() as interrupts,
        MetricsLogger(folder) if first else NoMetrics() as log,
    ):
        quiet = Progress(lambda line: None)
        session = Session(log, checkpoints, quiet, interrupts, 2, 4, devices)
        source = lambda: place(DATA, Rows(), "host", devices)[0]  # noqa: E731
        run = PhaseRun(session, "fit", Regression(), source, UPDATES, named_key(0, "a"))
        run.evaluate, run.evaluate_every = evaluate, STOP
        return run.run(jnp.zeros(3))


# --- what each of the two finds out


def main(folder):
    processes.join()
    devices = Devices.of({"data": jax.device_count()})
    found = {"devices": str(devices), "first": processes.first()}
    found["shared"] = processes.shared([np.float32([jax.process_index(), -0.0])])
    found["shared"] = str(found["shared"][0])
    found["gathered"] = processes.gathered([jax.process_index(), 7])
    found["by first"] = processes.by_first(lambda: [os.environ["JAX_PROCESS_ID"], None])
    found["agree"] = [processes.all_agree(f) for f in (True, processes.first())]
    found["same"] = [processes.all_same(x) for x in ({"a": 1.5}, found["first"])]
    found["rows"] = str(devices.rows(8))
    found["fails"] = [refusal(processes.by_first), refusal(failing_together)]

    def stop_the_second(weights, step):
        if step == STOP and not processes.first():
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        train(folder, devices, stop_the_second)
    except Interrupted as stop:
        found |= {"stopped": str(stop), "programs": loop._advance._cache_size()}
    print(json.dumps(found))


def fail():
    raise UserError("it is broken")


def refusal(call):
    with pytest.raises(UserError) as refused:
        call(fail)
    return str(refused.value)


def failing_together(call):
    """What fails in the second process alone."""
    processes.first_then_others(lambda: None if processes.first() else call())


# --- and what they should


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def both(folder):
    """What the two have found out, after the second got a SIGTERM."""
    address, started = free_address(), []
    for index in range(PROCESSES):
        values = (address, str(PROCESSES), str(index))
        variables = dict(zip(processes.VARIABLES, values, strict=True))
        folders = os.pathsep.join(map(str, (ROOT, ROOT / "tests/shared")))
        environment = os.environ | variables | {"PYTHONPATH": folders}
        command = [sys.executable, __file__, str(folder)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe))
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_they_find_each_other(both):
    assert [found["first"] for found in both] == [True, False]
    assert {found["devices"] for found in both} == {"2 x cpu (cpu), in 2 processes"}
    assert [found["rows"] for found in both] == [
        "slice(0, 4, None)",
        "slice(4, 8, None)",
    ]


def test_they_agree(both):
    for found in both:
        assert found["gathered"] == [[0, 7], [1, 7]]
        assert found["agree"] == found["same"] == [True, False]


def test_the_first_shares_what_it_has(both):
    for found in both:
        assert found["shared"] == "[ 0. -0.]"
        assert found["by first"] == ["0", None]


def test_what_fails_in_one_fails_in_all(both):
    assert both[0]["fails"] == ["it is broken", "another process stopped"]
    elsewhere = "the first process stopped: it is broken"
    assert both[1]["fails"] == [elsewhere, "it is broken"]


def test_a_signal_to_one_stops_all_after_the_same_update(both):
    for found in both:
        assert f"SIGTERM at fit update {STOP}" in found["stopped"]


def test_updates_are_compiled_once(both):
    assert [found["programs"] for found in both] == [1, 1]


def test_one_process_goes_on_where_they_stopped(both, folder, tmp_path):
    assert Checkpoints(folder / "checkpoints").steps("fit") == [0, 4, STOP]
    weights = train(folder, ONE_DEVICE)
    np.testing.assert_allclose(weights, train(tmp_path, ONE_DEVICE), rtol=1e-5)
    losses = [
        [(record["step"], record["loss"]) for record in read_metrics(path)]
        for path in (folder / "metrics.jsonl", tmp_path / "metrics.jsonl")
    ]
    assert [step for step, _ in losses[0]] == [2, 4, 6, 8, 10, 12]
    np.testing.assert_allclose(*losses, rtol=1e-5)


# --- one process


def test_one_process_does_nothing_of_its_own():
    made = object()
    assert processes.first()
    assert processes.by_first(lambda: made) is made
    assert processes.first_then_others(lambda: made) is made
    assert processes.gathered([3, 0.1]) == [(3, 0.1)]
    assert processes.all_agree(True) and not processes.all_agree(False)
    assert processes.all_same("anything") and processes.shared(made) is made


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES without JAX_COORDINATOR_ADDR"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}, "all three"),
        (dict.fromkeys(processes.VARIABLES, "two"), "have to be whole numbers"),
    ],
)
def test_half_a_description_is_refused(monkeypatch, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as refused:
        processes.join()
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_the_only_task_of_a_job_joins_nobody(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(jax.distributed, "initialize", fail)
    processes.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
