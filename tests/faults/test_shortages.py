"""Disks and memory that run out: one line, exit code 2, and nothing good is lost."""

import errno
import json
import os
import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq import UserError, cli
from dreamer_leq.system.files import remove_leftovers
from dreamer_leq.system.shortages import shortage
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.metrics import METRICS_FILE, MetricsLogger, read_metrics
from vd4rl_loader.__main__ import main as loader_main
from vd4rl_loader.errors import DataError, disk_trouble
from vd4rl_loader.files.state_files import write_d4rl, write_neorl

STATE = {"weights": jnp.arange(4096.0)}


@pytest.fixture
def small_files():
    """Files of this process may have 4 kB, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


# --- the disk


def test_a_checkpoint_that_does_not_fit_is_one_line_and_the_last_one_stays(
    tmp_path, small_files, caplog
):
    with pytest.raises(UserError) as error, Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("leq", 5, STATE)
        small_files()
        checkpoints.save("leq", 10, jax.tree.map(jnp.sin, STATE))
    message = str(error.value)
    assert f"{tmp_path}/leq/10 can't be written: File too large" in message
    assert "that of update 5 is complete" in message and "\n" not in message
    again = Checkpoints(tmp_path)
    assert again.steps("leq") == [5]
    np.testing.assert_array_equal(again.restore("leq")[0]["weights"], STATE["weights"])
    assert [path.name for path in (tmp_path / "leq").iterdir()] == ["5"]
    assert not caplog.records  # none of orbax's threads complains


def test_it_can_be_saved_once_there_is_space(tmp_path, small_files):
    with pytest.raises(UserError), Checkpoints(tmp_path) as checkpoints:
        small_files()
        checkpoints.save("leq", 5, STATE)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("leq", 5, STATE)
    assert Checkpoints(tmp_path).steps("leq") == [5]


def test_a_record_is_written_whole_or_not_at_all(tmp_path, small_files):
    """The kernel takes the part of a line that fits, without an error."""
    with pytest.raises(OSError) as error, MetricsLogger(tmp_path) as logger:
        small_files()
        for step in range(1000):
            logger.write("leq", step, {"loss": step / 3})
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(tmp_path / METRICS_FILE)
    text = (tmp_path / METRICS_FILE).read_text()
    assert text.endswith("\n") and len(text) <= 4096
    records = list(read_metrics(tmp_path / METRICS_FILE))
    assert [record["step"] for record in records] == list(range(len(records)))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device: free some space"),
        (errno.EROFS, "Read-only file system: make it writable"),
        (errno.EACCES, "Permission denied: give yourself the right"),
    ],
)
def test_a_disks_error_is_one_line_of_either_command(monkeypatch, capsys, number, said):
    error = OSError(number, os.strerror(number), "runs/x")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(cli, "_train", fail)
    monkeypatch.setattr("vd4rl_loader.info.run", fail)
    assert cli.train_main([]) == loader_main(["info", "data"]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith(f"error: runs/x: {said}")


def test_other_errors_are_bugs_and_keep_their_traceback(monkeypatch):
    def fail(*arguments):
        raise FileNotFoundError(errno.ENOENT, "no such file", "x")

    monkeypatch.setattr(cli, "_train", fail)
    with pytest.raises(FileNotFoundError):
        cli.train_main([])
    assert disk_trouble(ValueError("x")) is None and shortage(KeyError("x")) is None


@pytest.mark.parametrize("suffix", [".hdf5", ".npz"])
def test_data_that_does_not_fit_is_one_line_and_no_file(tmp_path, small_files, suffix):
    """The HDF5 library would crash."""
    arrays = {"observations": np.random.default_rng(0).random((4000, 3))}
    arrays |= dict.fromkeys(("next_observations", "actions"), arrays["observations"])
    arrays |= dict.fromkeys(("rewards", "terminals", "timeouts"), np.zeros(4000, bool))
    write = {".hdf5": write_d4rl, ".npz": write_neorl}[suffix]
    small_files()
    with pytest.raises(DataError, match=r"cannot write: .*File too large"):
        write(tmp_path / f"data{suffix}", arrays, {})
    assert not list(tmp_path.iterdir())


# --- memory


def test_a_lack_of_memory_outside_of_updates_is_one_line_too(monkeypatch, capsys):
    def fail(*arguments):
        np.empty(2**60, np.uint8)

    monkeypatch.setattr(cli, "_train", fail)
    assert cli.train_main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory (Unable to allocate")
    assert "--data.placement host" in said and said.count("\n") == 1
    for key in ("latent.batch", "latent.length", "seeds"):
        assert key in said


def test_xlas_own_error_is_told_from_others():
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jnp.zeros((2**50,), jnp.uint8).block_until_ready()
    assert "out of memory" in shortage(error.value)


# --- what killed processes leave


def test_leftovers_of_dead_processes_go(tmp_path):
    dead = 2**22 + 1  # above the kernel's highest number
    (tmp_path / "videos").mkdir()
    for name in ("config", "videos/policy"):
        path = tmp_path / name
        path.with_name(f".{path.name}.{dead}.tmp.json").write_text("{")
    (tmp_path / f".leq.{dead}.tmp").mkdir()
    (tmp_path / f".leq.{dead}.tmp/file").write_text("")
    kept = {f".info.{os.getppid()}.tmp.json", "config.json", ".tmp", ".x.tmp.json"}
    for name in kept:
        (tmp_path / name).write_text(json.dumps({}))
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"videos"}
    assert not list((tmp_path / "videos").iterdir())
