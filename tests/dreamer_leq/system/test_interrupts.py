"""What terminals and schedulers send, to processes of their own."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dreamer_leq.system.interrupts import Interrupted, Interrupts
from vd4rl_loader.simulators.workers import Worker

ROOT = Path(__file__).resolve().parents[3]
STOPPED = """
import pathlib, sys, time
from dreamer_leq.system.interrupts import Interrupted, Interrupts
with Interrupts() as interrupts:
    print("training", flush=True)
    while not interrupts.pending:
        time.sleep(0.01)
    try:
        print("one more line", flush=True)
        interrupts.raise_pending("leq update 3")
    except Interrupted as stop:
        pathlib.Path(sys.argv[1]).write_text(str(stop))
        sys.exit(stop.code)
"""


def test_a_closed_terminal_lets_a_run_save_and_end(tmp_path):
    ours, theirs = os.openpty()
    inherit = dict(stdin=theirs, stdout=theirs, start_new_session=True)
    take_terminal = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY)\n"
    command = [sys.executable, "-c", take_terminal + STOPPED, tmp_path / "said"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **inherit)
    os.close(theirs)
    assert b"training" in os.read(ours, 100)
    os.close(ours)  # ssh is closed
    assert process.wait(30) == 129
    assert process.stderr.read() == b""
    assert (tmp_path / "said").read_text().startswith("stopped by SIGHUP at leq upd")


def test_nohup_stays_in_force():
    code = """
import os, signal
from dreamer_leq.system.interrupts import Interrupts
with Interrupts() as interrupts:
    os.kill(os.getpid(), signal.SIGHUP)
    print(interrupts.pending)
"""
    command = ["nohup", sys.executable, "-c", code]
    options = dict(stderr=subprocess.DEVNULL, text=True)
    assert subprocess.check_output(command, cwd=ROOT, **options) == "None\n"


def test_kernels_and_shells_repeat_themselves():
    for signum in set(Interrupts.SIGNALS) - set(Interrupts.STOPS):
        with Interrupts() as interrupts:
            for _ in range(3):
                os.kill(os.getpid(), signum)
            assert interrupts.pending == signum


def test_in_another_thread_there_are_none():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Interrupts() as interrupts, interrupts.breaking_off("the encoding"):
            seen.append((signal.getsignal(signal.SIGTERM), interrupts.pending))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


@pytest.mark.parametrize("signum", Interrupts.SIGNALS)
def test_workers_leave_the_answer_to_their_parent(signum):
    worker = Worker(abs)
    worker.ask(-1)
    assert worker.answer("one") == 1
    os.kill(worker._process.pid, signum)
    worker.ask(-2)
    assert worker.answer("two") == 2
    worker.hang_up()
    worker.join(5)


def test_a_scheduler_names_its_signal():
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Interrupted, match="SIGUSR1 at leq update 3") as stopped:
            interrupts.raise_pending("leq update 3")
    assert stopped.value.code == 138
