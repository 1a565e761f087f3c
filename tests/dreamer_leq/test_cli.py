"""The start of the commands: what is imported, and what stops them at once."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_leq import UserError, cli
from vd4rl_loader.__main__ import main as loader_main
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators import opengl

ROOT = Path(__file__).resolve().parents[2]

# what a phase, an environment or a dataset may need, and a command line does not
HEAVY = (
    "jax jaxlib flax optax orbax tensorboardX rich imageio matplotlib dm_control "
    "mujoco gymnasium minari plotly jinja2 scipy"
)
IMPORTED = f"print(sorted(set({HEAVY.split()}) & set(sys.modules)))"
IDLE = "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
ALL_MODULES = """
import importlib, pkgutil
import dreamer_leq
for module in pkgutil.walk_packages(dreamer_leq.__path__, "dreamer_leq."):
    importlib.import_module(module.name)
"""


def python(code):
    """The last line of a fresh process."""
    command = [sys.executable, "-c", f"import sys\n{code}"]
    output = subprocess.check_output(command, cwd=ROOT, text=True)
    return output.splitlines()[-1]


def test_the_packages_are_light_to_import():
    """Configurations most of all; data and environments need no JAX either."""
    lighter = "{'jax', 'flax', 'dm_control', 'h5py', 'tyro'}"
    code = f"import dreamer_leq.config\nassert not {lighter} & set(sys.modules)\n"
    code += "import vd4rl_loader, dreamer_leq as dl\n"
    code += "dl.open_dataset, dl.make_env, dl.Latents\n"
    assert python(code + IMPORTED) == "[]"


def test_a_command_line_is_read_before_anything_is_imported():
    lines = [
        ("train_main", ["--help"]),
        ("train_main", ["--leq.tua", "0.3"]),
        ("train_main", ["--leq.tau", "low"]),
        ("train_main", ["--configs", "debgu"]),
        ("eval_main", ["--help"]),
        ("eval_main", ["--logdir", "runs", "--vidoe", "x.mp4"]),
    ]
    code = "from dreamer_leq import cli\n"
    for command, words in lines:
        code += f"try: print(cli.{command}({words}))\nexcept SystemExit: pass\n"
    assert python(code + IMPORTED) == "[]"


def test_no_module_works_while_it_is_imported():
    assert python(f"{ALL_MODULES}\n{IDLE}") == "False"


def test_what_can_not_render_stops_before_anything_is_made(
    monkeypatch, tmp_path, capsys
):
    def refuse():
        raise DataError("cannot render: libEGL.so.1 is missing")

    monkeypatch.setattr(opengl, "check_rendering", refuse)
    monkeypatch.setattr(cli, "keep_compiled_programs", lambda: None)
    folder = tmp_path / "run"
    assert cli.train_main(["--configs", "debug", "--logdir", str(folder)]) == 2
    assert capsys.readouterr().err == "error: cannot render: libEGL.so.1 is missing\n"
    assert not folder.exists()


@pytest.mark.parametrize("command", ["train_offline.py", "eval.py"])
def test_a_reader_that_has_gone_ends_a_command_quietly(command):
    gone, end = os.pipe()
    os.close(gone)
    run = [sys.executable, command, "--help"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(run, cwd=ROOT, env=env, stdout=end, stderr=subprocess.PIPE)
    os.close(end)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


POOR = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
POOR += [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
SPEAK = r"""
from dreamer_leq import cli
from rich.console import Console
from vd4rl_loader.__main__ import main
cli._guarded(lambda argv: Console().print("\u03c4 \u2026"), [])
main(["info", "x"])
print("\u03c4 \u2013")
"""


@pytest.mark.parametrize("variables", POOR, ids=lambda x: next(iter(x)))
def test_any_terminal_can_be_written_to(variables):
    run = [sys.executable, "-c", SPEAK]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"}
    said = subprocess.check_output(run, cwd=ROOT, env=environment | variables)
    assert said.split() == [b"?"] * 4


@pytest.mark.parametrize(
    ("platform", "way_out"),
    [
        ("cuda", "pip install -U 'jax[cuda13]', or unset JAX_PLATFORMS"),
        ("gpu,cpu", "pip install -U 'jax[cuda13]', or unset JAX_PLATFORMS"),
        ("tpu", "pip install -U 'jax[tpu]', or unset JAX_PLATFORMS"),
        ("rocm", "pip install -U 'jax[rocm7-local]', or unset JAX_PLATFORMS"),
        ("abacus", "finds no such device here: unset JAX_PLATFORMS"),
    ],
)
def test_a_platform_that_jax_lacks_is_one_line(platform, way_out, monkeypatch):
    from dreamer_leq.system import devices

    def refuse():
        raise RuntimeError(f"Unable to initialize backend {platform!r}:\nin pages")

    monkeypatch.setenv("JAX_PLATFORMS", platform)
    monkeypatch.setattr(devices.jax, "devices", refuse)
    for use in (lambda: devices.Devices.of({}), lambda: str(devices.ONE_DEVICE)):
        with pytest.raises(UserError) as refused:
            use()
        assert str(refused.value).startswith(f"JAX_PLATFORMS={platform}: ")
        assert way_out in str(refused.value) and "\n" not in str(refused.value)


def test_and_so_jax_says_it(tmp_path):
    """Of CUDA it says nothing: it asserts."""
    command = [sys.executable, "eval.py", "--logdir", tmp_path]
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: JAX_PLATFORMS=cuda: JAX finds no such device")


def test_addresses_and_impossible_names_are_no_paths(capsys):
    for path in ("gs://bucket/run", "s3://bucket", "runs/" + 256 * "x", "a\nb"):
        for flag in ("--logdir", "--compare"):
            assert cli.eval_main([flag, path]) == 2
            said = capsys.readouterr().err
            assert "is not a path on this machine" in said and said.count("\n") == 1
        collect = ["collect", "--suite", "pointmaze", "--task", "umaze", "--out", path]
        for command in (["info", path], ["convert", "x", path], collect):
            assert loader_main(command) == 2
            said = capsys.readouterr().err
            assert "is not a path on this machine" in said and said.count("\n") == 1


def test_a_home_is_written_out(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in (["--logdir", "~/run"], ["--compare", "mine=~/run"]):
        assert cli.eval_main(words) == 2
        assert f"{tmp_path}/run is not a run's folder" in capsys.readouterr().err


def test_commands_that_are_printed_are_quoted_and_there(monkeypatch, tmp_path):
    folder = tmp_path / "it's here"
    (folder / "videos").mkdir(parents=True)
    (folder / "scores.json").touch()
    (folder / "videos/policy.mp4").touch()
    for started in ("train_offline.py", "some/where/train_offline.py"):
        monkeypatch.setattr(sys, "argv", [started])
        score, curves, keys = map(shlex.split, cli._where(folder)[-3:])
        assert score[1] == str(Path(started).with_name("eval.py"))
        assert score[3] == str(folder) and curves[-1] == str(folder / "tensorboard")
        assert keys[:3] == ["python", started, "--help"]
        assert score[4:] == ["--episodes", "10", "--video", "out.mp4"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dreamer-leq-train"])
    assert cli._where(folder)[-3].startswith("  dreamer-leq-eval --logdir ")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install tensorboard && tensorboard --logdir" in cli._where(folder)[-2]
