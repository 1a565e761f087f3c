"""Every command that the README and the docs show is one that we accept, and every
link leads somewhere.
"""

import argparse
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from dreamer_leq import UserError, cli
from dreamer_leq import config as configs
from dreamer_leq.sweeps import file as sweep_file
from vd4rl_loader.__main__ import _COMMANDS

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = r"""
Text with `python train_offline.py --nonsense`, which is not in a block.

```bash
pip install -e . && python train_offline.py
python eval.py --logdir runs/a --episodes 10 --video out.mp4  # a comment
python train_offline.py --configs vd4rl size1m --task walker_walk-expert \
    --data "my data" --leq.tau 0.3
```

```python
python = "no command"
```

```bash
python -m vd4rl_loader collect --task cheetah_run --level medium --episodes 9 --out d
python -m vd4rl_loader download --task walker_walk --level expert --out d
tensorboard --logdir runs
```

```bash
python -m vd4rl_loader collect --suite pointmaze --task large --steps 9999 --out d.hdf5
python -m vd4rl_loader download --suite neorl --task Hopper-low --out d
python -m vd4rl_loader download --suite d4rl --task antmaze-umaze --out d
python train_offline.py --configs d4rl_antmaze --task antmaze-umaze --data d
```
"""


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


readme = load(ROOT / ".ci/readme_commands.py")


def accept(words):
    """Parse a `python …` command as the program itself does; raises if it refuses."""
    if words[0] == "train_offline.py":
        configs.load(words[1:])
    elif words[0] == "eval.py":
        cli._eval_parser().parse_args(words[1:])
    elif words[:3] == ["-m", "dreamer_leq", "sweep"]:
        told = cli._sweep_parser().parse_args(words[3:])
        assert sweep_file.read(ROOT / told.file).tasks
    elif words[:2] == ["-m", "vd4rl_loader"]:
        parser = argparse.ArgumentParser(exit_on_error=False)
        home, _ = _COMMANDS[words[2]]
        importlib.import_module(f"vd4rl_loader.{home}").add_arguments(parser)
        parser.parse_args(words[3:])
    else:
        assert (ROOT / words[0]).exists(), words


def python_commands(text):
    return [words[1:] for words in readme.commands(text) if words[0] == "python"]


DOCS = sorted((ROOT / "docs").glob("*.md"))
FOUND = python_commands((ROOT / "README.md").read_text())


@pytest.mark.parametrize("words", FOUND, ids=" ".join)
def test_the_readmes_command_is_accepted(words):
    accept(words)


@pytest.mark.parametrize("words", FOUND, ids=" ".join)
def test_and_so_it_is_at_debug_size(words):
    command = readme.small(words)
    assert command is None or accept(command) is None


ABLATIONS = (ROOT / "docs/ablations.md").read_text()
ROWS = re.findall(r"^\|.*?\| (?:the same and )?`(--[^`]*)` ", ABLATIONS, re.MULTILINE)


@pytest.mark.parametrize("flags", ROWS)
def test_an_ablations_flags_are_accepted(flags):
    whole = flags.startswith("--configs")
    configs.load([*([] if whole else ["--configs", "d4rl_antmaze"]), *flags.split()])


def test_the_ablations_rows_are_found():
    assert len(ROWS) > 20


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_pages_commands_are_accepted(page):
    for words in python_commands(page.read_text()):
        accept(words)


def dead_links(page, text):
    """Links to files that aren't there, or to headings that they don't have."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        if "://" not in target and not (
            file.exists() and (not heading or heading in anchors(file.read_text()))
        ):
            yield target


def anchors(text):
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name
)
def test_a_pages_links_lead_somewhere(page):
    assert not list(dead_links(page, page.read_text()))


def test_a_dead_link_would_be_found():
    text = "[a](README.md) [b](docs/nothing.md) [c](README.md#start) [d](#nothing)"
    dead = list(dead_links(ROOT / "README.md", text))
    assert dead == ["docs/nothing.md", "#nothing"]


def test_the_readme_shows_every_program():
    shown = {words[0] for words in FOUND}
    assert {"train_offline.py", "eval.py", "-m"} <= shown
    assert ["train_offline.py"] in FOUND  # the one command that needs nothing
    assert ["pytest", "-n", "2", "--dist", "loadfile"] in list(
        readme.commands((ROOT / "README.md").read_text())
    )


def test_commands_of_a_sample():
    assert [shlex.join(words) for words in readme.commands(SAMPLE)] == [
        "pip install -e .",
        "python train_offline.py",
        "python eval.py --logdir runs/a --episodes 10 --video out.mp4",
        "python train_offline.py --configs vd4rl size1m --task walker_walk-expert "
        "--data 'my data' --leq.tau 0.3",
        "python -m vd4rl_loader collect --task cheetah_run --level medium "
        "--episodes 9 --out d",
        "python -m vd4rl_loader download --task walker_walk --level expert --out d",
        "tensorboard --logdir runs",
        "python -m vd4rl_loader collect --suite pointmaze --task large --steps 9999 "
        "--out d.hdf5",
        "python -m vd4rl_loader download --suite neorl --task Hopper-low --out d",
        "python -m vd4rl_loader download --suite d4rl --task antmaze-umaze --out d",
        "python train_offline.py --configs d4rl_antmaze --task antmaze-umaze --data d",
    ]


def test_debug_size_of_a_sample():
    small = [readme.small(words) for words in readme.commands(SAMPLE)]
    assert [i for i, command in enumerate(small) if command is None] == [0, 6, 9, 10]
    assert small[1] == ["train_offline.py", "--configs", "demo", "debug"]
    assert small[2][3:5] == ["--episodes", "2"]
    assert small[3][:5] == ["train_offline.py", "--configs", "vd4rl", "size1m", "debug"]
    assert small[3][-2:] == ["--leq.tau", "0.3"]
    assert small[4][2] == small[5][2] == "collect"
    assert small[7][7:9] == ["--steps", "2000"]
    assert small[8][2:5] == ["collect", "--suite", "gymnasium"]
    assert small[8][-1] == "d/Hopper-v3-low-1000-train-noise.npz"
    for command in filter(None, small):
        accept(command)
    with pytest.raises(ValueError, match="make coffee"):
        readme.small(["make", "coffee"])


@pytest.mark.parametrize(
    "wrong",
    [
        "train_offline.py --leq.tua 0.3",
        "train_offline.py --configs nothing",
        "eval.py --logdir x --vidoe out.mp4",
        "eval.py",
        "-m vd4rl_loader collect --task cheetah_run --levle medium",
        "nothing.py",
    ],
)
def test_a_wrong_command_would_be_found(wrong):
    refusals = (UserError, SystemExit, argparse.ArgumentError, AssertionError)
    with pytest.raises(refusals):
        accept(wrong.split())
