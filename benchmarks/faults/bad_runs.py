"""Damaged run folders, configurations and flags.

As in `bad_data`, a kind fills a folder and gives what was done and the arguments. The
run is a small one on a maze, whose checkpoints are of zeros: nothing is trained.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
from bad_data import DATA, Kind, Made
from damage import Rng, damaged_bytes, damaged_tree
from hostile_data import ARCHIVES, PLACES
from ruamel.yaml import YAML
from states import layouts

from dreamer_leq import cli
from dreamer_leq import config as configs
from dreamer_leq.config.checks import keys as known_keys
from dreamer_leq.config.flags import load
from dreamer_leq.data.opening import reward_transform
from dreamer_leq.envs.suites import environment_factory
from dreamer_leq.evaluation.scores import summarize
from dreamer_leq.run import build
from dreamer_leq.run.folder import DataFacts, RunFolder
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.world_models.ensemble_training import abstract_best
from vd4rl_loader.states import open_states

RUN = "run"
FILE = f"{DATA}/maze.hdf5"
TRAIN = ["--configs", "maze", "debug", "--task", "pointmaze-umaze", "--logdir", RUN]
TRAIN += ["--data", FILE]
EVAL = ["--logdir", RUN]


def make_run(root: Path) -> None:
    """A dataset, and the folder of a run on it, below `root`."""
    (root / DATA).mkdir(parents=True)
    rows = layouts.rows([(40, "timeout"), (40, "timeout")], size=2)
    layouts.write_d4rl(root / FILE, rows)
    values = {"task": "pointmaze-umaze", "data.path": FILE, "logdir": RUN}
    config = configs.from_presets("maze", "debug", **values)
    dataset = open_states(root / FILE, log=lambda line: None)
    transform = reward_transform(config, dataset)
    folder = RunFolder(root / RUN)
    folder.begin(config, DataFacts.of(dataset, FILE, config.about, transform))
    net = build.ensemble_net(config, folder.facts.observation)
    world = SimpleNamespace(feature_size=net.vector_size)
    learner = build.learner(config, "leq", world, net.action_size)
    params = jax.eval_shape(learner.networks, jax.random.key(0))
    with folder.checkpoints(2) as checkpoints:
        checkpoints.save("world_model", 8, {"best": _zeros(abstract_best(net))})
        for phase, step in (("bc", 10), ("leq", 10), ("leq", 20)):
            extra = {"totals": {"loss": 1.0}}
            checkpoints.save(phase, step, {"params": _zeros(params)}, extra)
    folder.add_scores(0, {"mean": 0.5})
    record = {"phase": "leq", "step": 5, "loss": 1.0, "time": {"wall": 1.0}}
    (root / RUN / "metrics.jsonl").write_text(3 * (json.dumps(record) + "\n"))


def _zeros(tree):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)


# --- the commands, without what takes long


def _score(agent, environment, reference, *, episodes, seed, **others):
    environment_factory(environment, seed)
    return summarize([1.0] * min(episodes, 9), [1] * min(episodes, 9), reference), None


def evaluate(arguments: list[str]) -> int:
    """eval.py, which loads the policy but does not play."""
    with _nothing_drawn(), mock.patch("dreamer_leq.commands.evaluate.score", _score):
        return cli.eval_main(arguments)


def _phases(run, members) -> None:
    run.folder.add_scores(20, {"mean": 1.0})


def train(arguments: list[str]) -> int:
    """train_offline.py, which opens data and folder but does not train."""
    with (
        _nothing_drawn(),
        mock.patch("dreamer_leq.commands.train._run_phases", _phases),
    ):
        return cli.train_main(arguments)


def _nothing_drawn():
    return mock.patch(
        "vd4rl_loader.simulators.opengl.check_rendering", lambda: "nothing"
    )


def read_book(arguments: list[str]) -> int:
    """The flags over another configs.yaml."""
    return cli._guarded(lambda argv: load(argv[1:], argv[0]) and 0, arguments)


# --- files of a run


def _damaged_text(path: Path, rng: Rng, number: int) -> str:
    """A JSON or YAML file that is damaged in one of all ways."""
    way = number % 4
    if way == 0:
        content, what = damaged_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
        return what
    if way == 1:
        return _replaced(path, number // 4)
    yaml = path.suffix == ".yaml"
    tree = YAML(typ="safe").load(path) if yaml else json.loads(path.read_text())
    tree, what = damaged_tree(tree, rng)
    with path.open("w") as file:
        YAML(typ="safe").dump(tree, file) if yaml else json.dump(tree, file)
    return what


TEXTS = {
    "nothing": b"",
    "no text": bytes(range(256)),
    "zero bytes": bytes(1000),
    "a list": b"[1, 2]",
    "a number": b"1",
    "deeply nested": b"[" * 100_000,
    "a nested mapping": b'{"a":' * 100_000,
    "a long number": b"1" * 100_000,
    "a long line": b"x" * 1_000_000,
    "a wild key": b'{"\\u001b[31m\\n[/b]": 1}',
}


def _replaced(path: Path, number: int) -> str:
    """The file is another one, or none at all."""
    places = {k: v for k, v in PLACES.items() if k not in ("unreadable", "a socket")}
    texts = TEXTS if path.suffix != ".yaml" else {**TEXTS, **YAMLS}
    cases = [*texts, *places]
    what = cases[number % len(cases)]
    path.unlink()
    if what in places:
        with contextlib.chdir(path.parents[1]):
            places[what](path)
    else:
        path.write_bytes(texts[what])
    return what


def _bomb(link: str) -> bytes:
    """Nine aliases of nine aliases of ..., which are 9**12 values."""
    lines = ["a0: &a0 [x]" if link == "list" else "a0: &a0 {x0: 1}"]
    for i in range(1, 13):
        names = ", ".join([f"*a{i - 1}"] * 9)
        inside = f"[{names}]" if link == "list" else f"{{<<: [{names}], x{i}: 1}}"
        lines.append(f"a{i}: &a{i} {inside}")
    return "\n".join([*lines, "task: *a12", "seed: *a12", ""]).encode()


YAMLS = {
    "a bomb of aliases": _bomb("list"),
    "a bomb of merges": _bomb("merge"),
    "a cycle": b"task: &a [*a]\nlatent: &b {latent: *b}\n",
    "a merge with itself": b"latent: &a\n  <<: *a\n",
    "code": b"task: !!python/object/apply:os.mkdir [sprung]\n",
    "another tag of code": b"!!python/object/new:os.mkdir [sprung]\n",
    "an unknown tag": b"seed: !x 3\n",
    "a wrong integer": b"seed: !!int x\n",
    "a wrong float": b"seed: !!float x\n",
    "a wrong date": b"seed: 2001-99-99\n",
    "wrong base 64": b"seed: !!binary '###'\n",
    "a wrong set": b"seed: !!set [1, 2]\n",
    "a wrong mapping": b"seed: !!omap [1, 2]\n",
    "no such alias": b"seed: *nowhere\n",
    "two documents": b"seed: 1\n---\nseed: 2\n",
    "a list for a key": b"? [1, 2]\n: 3\n",
    "a mapping for a key": b"? {a: 1}\n: 3\n",
    "the same key twice": b"seed: 1\nseed: 2\n",
    "tabs": b"latent:\n\tdeter: 1\n",
    "a directive": b"%YAML 9.9\n---\nseed: 1\n",
    "another encoding": "seed: 1\n".encode("utf-16"),
}


def run_config(folder: Path, rng: Rng, number: int) -> Made:
    what = _damaged_text(folder / RUN / "config.yaml", rng, number)
    return what, [EVAL, TRAIN][number // 2 % 2]


def run_info(folder: Path, rng: Rng, number: int) -> Made:
    what = _damaged_text(folder / RUN / "info.json", rng, number)
    return what, [EVAL, TRAIN][number // 2 % 2]


def run_scores(folder: Path, rng: Rng, number: int) -> Made:
    return _damaged_text(folder / RUN / "scores.json", rng, number), TRAIN


def run_metrics(folder: Path, rng: Rng, number: int) -> Made:
    path = folder / RUN / "metrics.jsonl"
    if number % 2:
        return _damaged_text(path, rng, number // 2 * 4 + number // 2 % 2), TRAIN
    lines = path.read_text().splitlines()
    tree, what = damaged_tree(json.loads(lines[1]), rng)
    path.write_text("\n".join([lines[0], json.dumps(tree), lines[2], ""]))
    return what, TRAIN


# --- checkpoints


def checkpoint_files(folder: Path, rng: Rng, number: int) -> Made:
    """A file or folder of the checkpoints is damaged, gone, or something else."""
    root = folder / RUN / "checkpoints"
    entries = sorted(root.rglob("*"))
    files = [path for path in entries if path.is_file()]
    path = files[int(rng.integers(len(files)))]
    if number % 3 == 0:
        path = entries[int(rng.integers(len(entries)))]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return f"{path.relative_to(root)} is gone", EVAL
    if number % 3 == 1 and path.suffix != ".txt":
        content, what = damaged_bytes(path.read_bytes() or b"x", rng)
        path.write_bytes(content)
        return f"{path.relative_to(root)}: {what}", EVAL
    what = _replaced(path, number // 3)
    return f"{path.relative_to(root)} is {what}", EVAL


def _moved(source: str, target: str) -> Callable[[Path], object]:
    def move(root: Path) -> None:
        (root / target).parent.mkdir(exist_ok=True)
        shutil.rmtree(root / target, ignore_errors=True)
        shutil.move(root / source, root / target)

    return move


def _saved(phase: str, step: int, state: dict, extra: dict | None = None):
    def save(root: Path) -> None:
        with Checkpoints(root) as checkpoints:
            checkpoints.save(phase, step, state, extra)

    return save


def _of_others(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """LEQ's parameters, each of them changed."""

    def save(root: Path) -> None:
        with Checkpoints(root) as checkpoints:
            params, extra = checkpoints.restore("leq", subtree="params")
            checkpoints.save("leq", 99, {"params": jax.tree.map(change, params)}, extra)

    return save


FOLDERS: dict[str, Callable[[Path], object]] = {
    "LEQ's is the world model's": _moved("world_model/8", "leq/20"),
    "the world model's is LEQ's": _moved("leq/20", "world_model/8"),
    "LEQ's is that of cloning": _moved("bc/10", "leq/20"),
    "of a step beyond the last": _moved("leq/20", "leq/999999999"),
    "of a negative step": _moved("leq/20", "leq/-20"),
    "of a step with zeros": _moved("leq/20", "leq/0020"),
    "of a superscript step": _moved("leq/20", "leq/²"),
    "of an endless step": _moved("leq/20", "leq/" + "9" * 200),
    "a file for a step": lambda root: (root / "leq/30").write_text("x"),
    "a FIFO for a step": lambda root: os.mkfifo(root / "leq/30"),
    "an empty step": lambda root: (root / "leq/30").mkdir(),
    "a file for a phase": lambda root: (
        shutil.rmtree(root / "leq"),
        (root / "leq").write_text("x"),
    ),
    "a file for all": lambda root: (shutil.rmtree(root), root.write_text("x")),
    "nothing": shutil.rmtree,
    "an empty state": _saved("leq", 99, {"params": {}}),
    "another tree": _saved("leq", 99, {"params": {"x": np.zeros(3)}}),
    "another field": _saved("leq", 99, {"x": np.zeros(3)}),
    "other shapes": _of_others(lambda x: np.zeros((*x.shape, 2), x.dtype)),
    "other types": _of_others(lambda x: x.astype(np.float16)),
    "integers": _of_others(lambda x: x.astype(np.int32)),
    "larger arrays": _of_others(lambda x: np.zeros((2, *x.shape), x.dtype)),
    "not finite": _of_others(lambda x: np.full_like(x, np.nan)),
}


def checkpoint_folders(folder: Path, rng: Rng, number: int) -> Made:
    """Whole checkpoints in the place of others, and those of other models."""
    what = list(FOLDERS)[number % len(FOLDERS)]
    FOLDERS[what](folder / RUN / "checkpoints")
    return what, EVAL


# --- configurations and flags


def book(folder: Path, rng: Rng, number: int) -> Made:
    """configs.yaml itself."""
    path = folder / "configs.yaml"
    shutil.copy(configs.CONFIGS, path)
    if number % 4 == 1:
        what = list(YAMLS)[number // 4 % len(YAMLS)]
        body = textwrap.indent(YAMLS[what].decode("latin1"), "  ")
        path.write_bytes(b"defaults:\n" + body.encode("latin1"))
    else:
        what = _damaged_text(path, rng, number)
    return what, [str(path), "--configs", "debug"]


WORDS = (
    *("", " ", "0", "-1", "-0.5", "1e400", "nan", "-inf", "inf", "true", "None"),
    *("x", "1.5", "9" * 30, "9" * 5000, "[1]", "{}", "a\nb", "\x1b[31m", "[/b]"),
    *("--", "-", "=", "--leq.tau", "/dev/zero", "../..", "é", "\udcff", "x" * 5000),
    *("1000000000", "2147483648", "18446744073709551616", "a\x00b"),
)


def train_flags(folder: Path, rng: Rng, number: int) -> Made:
    """Some flag of train_offline.py with some word."""
    keys = [*known_keys(), "configs", "data", "unknown", "leq", "leq.", "", "leq.tua"]
    key = keys[number % len(keys)] if number % 3 else str(rng.choice(keys))
    given = rng.choice(WORDS, size=int(rng.integers(0, 3))).tolist()
    if key == "logdir":
        given = [f"run/{word}" for word in given]
    flags = [f"--{key}={given[0]}"] if given and number % 2 else [f"--{key}", *given]
    return f"{flags!r:.70}", [*TRAIN, "--logdir", "run/new", *flags]


def eval_flags(folder: Path, rng: Rng, number: int) -> Made:
    """Some flag of eval.py with some word."""
    names = "episodes seed workers video imagine open-loop data logdir random x"
    name = names.split()[number % 10]
    given = rng.choice(WORDS, size=int(rng.integers(0, 2))).tolist()
    flags = [f"--{name}={given[0]}"] if given and number % 2 else [f"--{name}", *given]
    return f"{flags!r:.70}", [*EVAL, *flags]


def processes(folder: Path, rng: Rng, number: int) -> Made:
    """Commands as a user runs them; the first argument is the script."""
    (folder / "bad").mkdir()
    if number % 4 == 0:
        ARCHIVES["a pickle"](folder / "bad" / "0.npz")
        return "info of a pickle", ["-m", "vd4rl_loader", "info", "bad"]
    if number % 4 == 1:
        (folder / RUN / "config.yaml").write_bytes(_bomb("merge"))
        return "evaluation of a bomb", ["eval.py", *EVAL]
    if number % 4 == 2:
        os.mkfifo(folder / "bad" / "maze.hdf5")
        return "training on a FIFO", ["train_offline.py", *TRAIN, "--data", "bad"]
    return "an unknown flag", ["train_offline.py", "--leq.tua", "0.1"]


def run_process(arguments: list[str]) -> int:
    """The exit code of a Python script, its words on this process's streams."""
    script, *rest = arguments
    script = script if script == "-m" else str(configs.CONFIGS.parent / script)
    environment = os.environ | {"PYTHONPATH": str(configs.CONFIGS.parent)}
    done = subprocess.run(
        [sys.executable, script, *rest],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


KINDS: dict[str, Kind] = {
    "whole processes": processes,
    "a run's config.yaml": run_config,
    "a run's info.json": run_info,
    "a run's scores.json": run_scores,
    "a run's metrics.jsonl": run_metrics,
    "checkpoints' files": checkpoint_files,
    "checkpoints": checkpoint_folders,
    "configs.yaml": book,
    "flags of training": train_flags,
    "flags of evaluation": eval_flags,
}


def main_of(kind: str, arguments: list[str]) -> Callable[[list[str]], int]:
    """The command that a kind's arguments are for."""
    if kind == "configs.yaml":
        return read_book
    if kind == "whole processes":
        return run_process
    return train if arguments[: len(TRAIN)] == TRAIN else evaluate
