"""Worker processes: answers, errors, deaths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.workers import (
    Worker,
    WorkerError,
    WorkerLost,
    close_all,
    exchange,
)


def handler(request):
    """Does what the request says. Imported by the workers: must be at module level."""
    command, argument = request
    if command == "divide":
        return 1 / argument
    if command == "modules":
        return argument in sys.modules
    if command == "refuse":
        raise DataError(argument)
    if command == "exit":
        os._exit(argument)
    if command == "sleep":
        time.sleep(argument)
    if command == "compute":  # for so many seconds, with pauses
        end = time.monotonic() + argument[0]
        while time.monotonic() < end:
            sum(range(500_000))
            time.sleep(argument[1])
    if command == "touch":
        Path(argument).touch()
    if command == "kill":
        os.kill(os.getpid(), argument)
    return os.getpid()


class Unloadable:
    """Can be pickled, but not unpickled."""

    def __call__(self, request):
        return request

    def __reduce__(self):
        return int, ("not a number",)


@pytest.fixture
def worker():
    worker = Worker(handler)
    yield worker
    close_all([worker], patience=5.0)


def ask(worker, command, argument=None):
    worker.ask((command, argument))
    return worker.answer("request 4")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_answers(worker):
    assert ask(worker, "divide", 4) == 0.25
    assert ask(worker, "pid") not in (None, os.getpid())


def test_an_exception_names_request_and_cause_and_the_worker_goes_on(worker):
    with pytest.raises(WorkerError, match="request 4: ZeroDivisionError") as error:
        ask(worker, "divide", 0)
    assert "return 1 / argument" in "".join(error.value.__notes__)
    assert ask(worker, "divide", 4) == 0.25


def test_an_error_of_the_users_stays_one(worker):
    with pytest.raises(DataError, match=r"^no such task$"):
        ask(worker, "refuse", "no such task")


def test_a_dead_worker_is_reported_with_its_exit_code(worker):
    with pytest.raises(WorkerError, match=r"request 4: .*exited with code 7"):
        ask(worker, "exit", 7)
    with pytest.raises(WorkerError, match="exited with code 7"):
        ask(worker, "pid")


def test_a_killed_worker_is_reported_with_the_signal(worker):
    with pytest.raises(WorkerError, match=r"request 4: .*SIGKILL \(out of memory"):
        ask(worker, "kill", signal.SIGKILL)


def test_a_handler_that_cannot_be_loaded_is_reported():
    worker = Worker(Unloadable())
    with pytest.raises(WorkerError, match=r"ValueError.*not a number"):
        ask(worker, "pid")
    close_all([worker], patience=5.0)


def test_exchange_answers_every_request_of_shared_and_own_queues():
    workers = [Worker(handler) for _ in range(2)]
    shared = iter([("divide", n) for n in range(1, 8)])
    answers = dict(exchange([(w, shared) for w in workers], str, 60.0))
    assert answers == {("divide", n): 1 / n for n in range(1, 8)}
    own = [(w, iter([("pid", i), ("pid", i + 2)])) for i, w in enumerate(workers)]
    pids = {request[1]: pid for request, pid in exchange(own, str, 60.0)}
    assert pids[0] == pids[2] != pids[1] == pids[3]
    close_all(workers, patience=5.0)


def test_a_worker_goes_on_while_its_answers_are_not_read(worker, tmp_path):
    files = [tmp_path / str(n) for n in range(5)]
    requests = [("touch", str(file)) for file in files]
    answers = exchange([(worker, iter(requests))], str, 60.0, ahead=3)
    assert next(answers)[0] == requests[0]
    end = time.monotonic() + 60
    while not files[3].exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert [file.exists() for file in files] == [True] * 4 + [False]
    assert [request for request, _ in answers] == requests[1:]


def test_a_death_is_of_the_first_request_without_an_answer(worker):
    requests = [("divide", 1), ("divide", 2), ("exit", 7), ("divide", 4)]
    answers = exchange([(worker, iter(requests))], str, 60.0, ahead=4)
    assert [next(answers)[1] for _ in range(2)] == [1, 0.5]
    with pytest.raises(WorkerLost, match=r"\('exit', 7\): .*code 7"):
        next(answers)


def test_exchange_reports_a_death_while_another_worker_is_busy():
    workers = [Worker(handler) for _ in range(2)]
    queues = [(workers[0], iter([("sleep", 30)])), (workers[1], iter([("exit", 3)]))]
    with pytest.raises(WorkerError, match=r"\('exit', 3\): .*code 3"):
        for request, _ in exchange(queues, str, 60.0):
            pytest.fail(f"waited for {request}")
    close_all(workers, patience=0.0)


def test_exchange_reports_a_worker_that_hangs_and_which():
    workers = [Worker(handler) for _ in range(2)]
    hang = (workers[0], iter([("sleep", 600)]))
    shared = (workers[1], iter([("divide", 1)]))
    with pytest.raises(WorkerLost, match=r"\('sleep', 600\): no answer .* \d s"):
        list(exchange([hang, shared], str, 1.0))
    close_all(workers, patience=0.0)


def test_a_worker_on_a_busy_machine_does_not_hang():
    """What it has computed counts, not the time that others took meanwhile."""
    worker = Worker(handler)
    ask(worker, "pid")
    requests = iter([("compute", (1.2, 0.05)), ("compute", (600.0, 0.0))])
    answers = exchange([(worker, requests)], str, 0.5)
    next(answers)
    with pytest.raises(WorkerLost, match="no answer"):
        next(answers)
    close_all([worker], patience=0.0)


def test_death_is_told_from_an_exception(worker):
    with pytest.raises(WorkerError) as raised:
        ask(worker, "divide", 0)
    assert not isinstance(raised.value, WorkerLost)
    with pytest.raises(WorkerLost):
        ask(worker, "exit", 7)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_are_the_parents(worker, signum):
    assert ask(worker, "kill", signum) == ask(worker, "pid")


ORPHAN = """
import os, sys
from {module} import handler
from vd4rl_loader.simulators.workers import Worker
worker = Worker(handler)
worker.ask(("pid", None))
print(worker.answer("pid"), flush=True)
worker.ask(("sleep", 100))
os.kill(os.getpid(), 9)
"""


def test_a_busy_worker_does_not_outlive_a_killed_parent(tmp_path):
    """It might be writing what the run that goes on writes as well."""
    with open(tmp_path / "pid", "w") as output:  # a pipe would be held by the worker
        killed = subprocess.run(
            [sys.executable, "-c", ORPHAN.format(module=handler.__module__)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=output,
        )
    assert killed.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_closing_ends_the_processes_without_zombies(worker):
    pid = ask(worker, "pid")
    assert is_alive(pid)
    close_all([worker], patience=5.0)
    assert not is_alive(pid)


def test_workers_do_not_import_jax(worker):
    import jax  # noqa: F401

    assert not ask(worker, "modules", "jax")
    assert not ask(worker, "modules", "h5py")
