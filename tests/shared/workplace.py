"""Commands run as people run them, and what they left behind."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import imageio.v3 as imageio
import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.metrics import read_metrics
from vd4rl_loader.simulators import opengl

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
)
PHASES = ("world_model", "bc", "fqe", "leq")
RENDERING = cache(opengl.check_rendering)
PATIENCE = 300  # seconds after which something hangs


@dataclass
class Workplace:
    """A folder in which commands are run, with a home of their own."""

    path: Path
    cache: Path
    variables: dict[str, str] = field(default_factory=dict)  # of the environment

    def start(self, script, *arguments):
        """The command, its output going to a file."""
        environment = users_environment(self.cache) | self.variables
        script = script if script == "-m" else ROOT / script
        command = [sys.executable, script, *map(str, arguments)]
        with open(self.output, "w") as output:
            return subprocess.Popen(
                command,
                cwd=self.path,
                env=environment,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
            )

    def run(self, script, *arguments):
        """(exit code, stdout, stderr)"""
        process = self.start(script, *arguments)
        _, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, self.output.read_text(), errors

    def stop(self, process, signum, reached):
        """Send a signal as soon as `reached`; (exit code, stdout, stderr)."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            output = self.output.read_text()
            assert process.poll() is None, f"ended too early:\n{output}"
            assert time.monotonic() < deadline, f"got stuck:\n{output}"
            time.sleep(0.01)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, self.output.read_text(), errors

    @property
    def output(self):
        return self.path / "output.txt"

    def files(self):
        """What lies here, but for what the tests themselves write."""
        found = {file.relative_to(self.path) for file in self.path.rglob("*")}
        return found - {Path("output.txt")}


def users_environment(cache):
    """Variables as in a user's shell: importing JAX here has set some that it lacks.
    Programs that a run of the tests has compiled are shared.
    """
    theirs = {k: v for k, v in os.environ.items() if k[:3] not in ("JAX", "TF_")}
    theirs |= {k: os.environ[k] for k in SHARED if k in os.environ}
    theirs |= {"XDG_CACHE_HOME": str(cache), "COLUMNS": "120"}
    return theirs | {"PYTHONPATH": str(ROOT)}  # for a script of -m


def free_address():
    """Where processes of this machine can meet."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def records(folder):
    """All but what the clock says."""
    found = list(read_metrics(folder / "metrics.jsonl"))
    assert all(record.pop("time") for record in found)
    return found


def scalars(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if "/time/" not in tag
    }


def scores(folder):
    found = json.loads((folder / "scores.json").read_text())
    assert all(score.pop("seconds") > 0 for score in found.values())
    return found


def parameters(folder, phase):
    """Step and state of a phase's last checkpoint."""
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.latest(phase)
    return step, checkpoints.restore(phase, step=step)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trained(folder, phases=PHASES):
    """Every phase ran to its end, with finite metrics, and the policy was scored, also
    before the last one where it had been cloned.
    """
    found = records(folder)
    assert list(dict.fromkeys(record["phase"] for record in found)) == list(phases)
    values = [x for record in found for x in record.values() if not isinstance(x, str)]
    assert np.isfinite(values).all()
    updates = parameters(folder, phases[-1])[0]
    before = ["0"] if "bc" in phases else []
    assert list(scores(folder)) == [*before, str(updates)]


def films(path):
    """What the mp4 and the gif of a name hold."""
    return [imageio.imread(path.with_suffix(suffix)) for suffix in (".mp4", ".gif")]


def run_here(place, main, *flags, filmed=1):
    """(exit code, stdout, stderr) of a command in this process, where JAX is loaded; so
    many episodes are filmed, one more process plays them, and whether this machine can
    render is found out once.
    """
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.chdir(place.path)
        patch.setattr("dreamer_leq.run.scores.FILMED", filmed)
        patch.setattr("os.sched_getaffinity", lambda process: {0})
        patch.setattr(opengl, "check_rendering", RENDERING)
        for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):
            patch.setenv(name, "3")  # what the commands set ends here
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        code = main([str(flag) for flag in flags])
    return code, output.getvalue(), errors.getvalue()


def refused(place, main, *flags):
    """The one line with which a command is refused that leaves nothing behind."""
    before = place.files()
    code, _, errors = run_here(place, main, *flags)
    assert code == 2, errors
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors
    assert place.files() == before
    return errors.removeprefix("error: ").strip()
