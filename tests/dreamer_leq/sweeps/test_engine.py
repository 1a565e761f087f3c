"""Jobs in their order, with programs that end at once in place of training."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import stand_in_slurm

from dreamer_leq.cli import main
from dreamer_leq.sweeps.engine import drive
from dreamer_leq.sweeps.local import Local, gpus
from dreamer_leq.sweeps.plan import TRAIN, Job
from dreamer_leq.sweeps.process import JobProcess, Work, run_to_end, seconds_of
from dreamer_leq.system.interrupts import Interrupts
from dreamer_leq.system.locks import only_user

# Says when it began and ended; what it does meanwhile is its argument.
STAND_IN = """
import os, signal, sys, time
what = sys.argv[1]
with open("times", "a") as file:
    print(os.path.basename(os.getcwd()), "begins", file=file, flush=True)
    if what == "fails":
        sys.exit("error: no such thing")
    if what == "killed once" and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "saves":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if what == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork():
            time.sleep(0.1)
    if what == "waits":
        print("waits", flush=True)
        while not os.path.exists("../go"):
            time.sleep(0.05)
    if what in ("saves", "hangs"):
        os.write(1, f"ready {os.getpid()}\\n".encode())  # whole, beside the other's
        time.sleep(60)
    print(os.path.basename(os.getcwd()), "ends", file=file)
"""


@pytest.fixture
def sweep(tmp_path):
    """Makes jobs, and what stands for them, of (name, what it does, after)."""

    def sweep(*wanted):
        jobs, works = [], {}
        for name, what, *after in wanted:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            words = (what,)
            jobs.append(Job(name, TRAIN, folder, words, None, "", tuple(after)))
            code = f"import os; os.chdir({str(folder)!r})"
            program = (sys.executable, "-c", f"{code}; exec({STAND_IN!r})")
            works[name] = Work(name, words, str(folder), "job", program=program)
        return jobs, works

    return sweep


def run(jobs, works, engine=None):
    with Interrupts() as interrupts:
        return drive(jobs, engine or Local(2), interrupts, works)


def times(folder):
    return (folder / "times").read_text().splitlines()


def log_of(folder):
    log = folder / "job.log"
    return log.read_text().splitlines() if log.exists() else []


def ended(pid):
    """Whether a process is gone, or dead and waits for who takes it in."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_each_runs_once_after_those_that_it_waits_for(sweep, tmp_path):
    jobs, works = sweep(("a", ""), ("b", "", "a"), ("c", "", "a"), ("d", "", "b", "c"))
    state = run(jobs, works)
    assert sorted(state.done) == ["a", "b", "c", "d"] and not state.failed
    assert [times(tmp_path / name) for name in "abcd"] == [
        [f"{name} begins", f"{name} ends"] for name in "abcd"
    ]
    began = {n: os.stat(tmp_path / n / "times").st_mtime_ns for n in "abcd"}
    assert began["a"] < began["b"] < began["d"] and began["a"] < began["c"]
    # the same again does nothing, another command of a job runs it again
    again = run(jobs, works)
    assert not any(outcome.ran for outcome in again.outcomes.values())
    assert len(times(tmp_path / "b")) == 2


def test_a_failure_ends_only_what_waits_for_it(sweep):
    jobs, works = sweep(("a", "fails"), ("b", "", "a"), ("c", "", "b"), ("d", ""))
    state = run(jobs, works)
    assert state.done == ["d"]
    assert state.failed["a"].reason == "exit code 1: no such thing"
    assert state.failed["c"].reason == "waits for b, which failed"
    assert seconds_of(works["a"]) is None and not state.failed["b"].ran


def test_what_something_killed_begins_again(sweep, tmp_path):
    jobs, works = sweep(("a", "killed once"))
    assert run(jobs, works).done == ["a"]
    assert times(tmp_path / "a") == ["a begins", "a begins", "a ends"]


def test_a_signal_lets_jobs_save_and_starts_no_more(sweep, tmp_path):
    jobs, works = sweep(("a", "saves"), ("b", "", "a"), ("c", "saves"))

    def stop_when_ready():
        while not log_of(tmp_path / "a"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_ready).start()
    state = run(jobs, works, Local(1))
    assert state.outcomes["a"].code == 143 and state.outcomes["a"].stopped
    assert state.outcomes.keys() <= {"a", "b"} and not state.failed


def test_a_job_that_ignores_the_signal_is_killed_with_its_children(
    sweep, tmp_path, monkeypatch
):
    monkeypatch.setattr("dreamer_leq.sweeps.process.GRACE_SECONDS", 0.1)
    _, works = sweep(("a", "hangs"))
    process = JobProcess(works["a"])
    while len(lines := log_of(tmp_path / "a")) < 2:
        assert process.poll() is None
    process.save()
    outcome = process.poll()
    assert outcome.code == -signal.SIGKILL and not outcome.stopped
    assert outcome.reason == "killed, as it had not ended 0.1 s after SIGTERM"
    until = time.monotonic() + 5
    while not all(ended(int(line.split()[1])) for line in lines):
        assert time.monotonic() < until


def test_nobody_begins_in_a_folder_that_is_in_use(sweep, tmp_path):
    _, works = sweep(("a", ""))
    process = JobProcess(works["a"])
    with only_user(tmp_path / "a", "train"):
        assert process.poll() is None
        assert "in use" in process.waits and not (tmp_path / "a/times").exists()
    assert run_to_end(works["a"]).code == 0


def test_a_record_of_another_command_doesnt_count(sweep, tmp_path):
    _, works = sweep(("a", ""))
    record = {"command": "other", "seconds": 1.0}
    Path(tmp_path, "a/job.json").write_text(json.dumps(record))
    assert seconds_of(works["a"]) is None
    assert run_to_end(works["a"]).ran
    assert seconds_of(works["a"]) >= 0


def test_a_record_of_other_settings_doesnt_count(sweep, tmp_path):
    """The same words come to something else where a preset has changed."""
    _, works = sweep(("a", ""))
    work = replace(works["a"], settings={"leq.updates": "2000", "leq.tau": "0.1"})
    assert run_to_end(work).ran and seconds_of(work) >= 0
    younger = replace(work, settings={**work.settings, "leq.new": "1"})
    assert seconds_of(younger) >= 0  # a key that wasn't there has its default
    other = replace(work, settings={**work.settings, "leq.updates": "1000"})
    assert seconds_of(other) is None


def test_jobs_on_gpus_share_them(sweep, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert gpus() == ["0", "3"]
    engine = Local(per_gpu=2)
    assert engine.room() == 4 and Local(3).room() == 2
    given = []
    monkeypatch.setattr("dreamer_leq.sweeps.local.JobProcess", given.append)
    for work in sweep(*[(name, "") for name in "abcd"])[1].values():
        engine.submit(work)
    found = [(x.environment["CUDA_VISIBLE_DEVICES"]) for x in given]
    assert sorted(found) == ["0", "0", "3", "3"] and engine.room() == 0
    assert {x.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] for x in given} == {"0.450"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine", "ray"], "needs ray, which is not installed: pip install"),
        (["--engine", "slurm"], "needs submitit, which is not installed: pip install"),
        (["--address", "auto"], "--address: is of --engine ray"),
        (["--engine", "slurm", "--per-gpu", "2"], "Slurm gives whole GPUs"),
        (["--time", "long"], "expected H:MM, such as 24:00"),
        (["--jobs", "-1"], "--jobs: give 0 to 1000"),
    ],
)
def test_engines_that_cant_run_start_nothing(
    flags, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("ray", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    text = "name: x\nconfigs: [maze, debug]\ntasks: pointmaze-umaze\nalgorithms: bc\n"
    Path("x.yaml").write_text(text)
    assert main(["sweep", "x.yaml", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_submitits_stand_in_runs_jobs(sweep, tmp_path):
    pytest.importorskip("submitit")
    from dreamer_leq.sweeps.slurm import Slurm

    jobs, works = sweep(("a", ""), ("b", "", "a"), ("c", "fails"))
    state = run(jobs, works, Slurm(tmp_path, gpus=0, cluster="local"))
    assert state.done == ["a", "b"] and "no such thing" in state.failed["c"].reason


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of a cluster's jobs, whose commands are found."""
    pytest.importorskip("submitit")
    jobs, commands = tmp_path / "cluster", tmp_path / "bin"
    jobs.mkdir()
    commands.mkdir()
    monkeypatch.setenv("STAND_IN_SLURM", str(jobs))
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    stand_in_slurm.install(commands)
    return jobs


def test_what_slurm_still_runs_is_not_sent_again(sweep, tmp_path, slurm):
    """Slurm's jobs outlive a command that is killed; the next one takes them over, but
    not those that another command line sent, or that Slurm has forgotten.
    """
    from dreamer_leq.sweeps.slurm import Slurm

    jobs, works = sweep(("a", "waits"), ("b", "waits"))
    killed = Slurm(tmp_path, gpus=0)
    for work in works.values():
        killed.submit(work)
    assert killed.outcomes() == []
    while not all(log_of(tmp_path / name) for name in "ab"):
        time.sleep(0.05)
    (tmp_path / "go").touch()
    state = run(jobs, works, Slurm(tmp_path, gpus=0))
    assert state.done == ["a", "b"] and len(list(slurm.glob("*.sh"))) == 1
    assert times(tmp_path / "a") == ["a begins", "a ends"]


def test_slurm_gets_what_it_has_forgotten_and_other_commands(sweep, tmp_path, slurm):
    from dreamer_leq.sweeps.slurm import Slurm

    _, works = sweep(("a", ""), ("b", ""))
    sent = tmp_path / "slurm" / "sent"
    sent.mkdir(parents=True)
    for name, job, command in (("a", "7", works["a"].command), ("b", "8", "another")):
        (sent / f"{name}.json").write_text(json.dumps({"job": job, "command": command}))
    (slurm / "8.pid").touch()  # runs
    engine = Slurm(tmp_path, gpus=0)
    for work in works.values():
        engine.submit(work)
    ended = engine.outcomes()
    assert "--array=0-1%2" in (slurm / "1.sh").read_text()
    assert json.loads((sent / "b.json").read_text())["job"] == "1_1"
    while len(ended) < 2:
        ended += engine.outcomes()
    assert all(outcome.code == 0 for outcome in ended)
