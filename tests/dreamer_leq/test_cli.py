"""The start of the commands: what is imported, and what stops them at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_leq import cli
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
    assert python(f"import dreamer_leq\n{IMPORTED}") == "[]"
    assert python(f"import vd4rl_loader\n{IMPORTED}") == "[]"


def test_data_and_environments_need_no_jax():
    light = "import dreamer_leq as dl\ndl.open_dataset, dl.make_env, dl.Latents"
    assert python(f"{light}\n{IMPORTED}") == "[]"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train_main", ["--help"]),
        ("train_main", ["--leq.tua", "0.3"]),
        ("train_main", ["--leq.tau", "low"]),
        ("train_main", ["--configs", "debgu"]),
        ("eval_main", ["--help"]),
        ("eval_main", ["--logdir", "runs", "--vidoe", "x.mp4"]),
    ],
)
def test_a_command_line_is_read_before_anything_is_imported(command, arguments):
    run = f"try: print(cli.{command}({arguments}))\nexcept SystemExit: pass"
    assert python(f"from dreamer_leq import cli\n{run}\n{IMPORTED}") == "[]"


def test_no_module_works_while_it_is_imported():
    assert python(f"{ALL_MODULES}\n{IDLE}") == "False"


def test_what_can_not_render_stops_before_anything_is_made(
    monkeypatch, tmp_path, capsys
):
    def refuse():
        raise DataError("cannot render: libEGL.so.1 is missing")

    monkeypatch.setattr(opengl, "check_rendering", refuse)
    for name in ("_quiet_libraries", "keep_compiled_programs"):
        monkeypatch.setattr(cli, name, lambda: None)
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
