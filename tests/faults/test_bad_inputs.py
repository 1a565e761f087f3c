"""A few bad inputs of every kind; `bad_inputs.py` tries thousands.

Also what must hold of the source, and that the judge of outcomes can find fault.
"""

import os
import re
import time
from pathlib import Path

import bad_data
import bad_inputs
import bad_runs
import numpy as np
import pytest
import sandbox

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
# Of kinds that list their cases the first ones are few of many; the script has all.
NUMBERS = range(3)
# imports; programs that draw; interpreters that start
SLOW = ("Minari", "the loader's commands", "whole processes")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    bad_runs.make_run(folder)
    return folder


# tensorstore's other reads end after the first has failed and nobody waits for them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", [k for k in bad_inputs.KINDS if k not in SLOW])
def test_a_bad_input_is_taken_or_refused_in_one_line(tmp_path, run, kind, number):
    what, outcome = bad_inputs.tried(kind, number, SEED, tmp_path, run)
    assert not outcome.fault, f"{what}: {outcome.fault}\n{outcome.said}"


def test_a_seed_gives_the_same_damage(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(SEED)
        what, _ = bad_data.neorl(tmp_path / name, rng, 0)
        found.append((what, (tmp_path / name / "data/bad.npz").read_bytes()))
    assert found[0][0] == found[1][0]
    assert len(found[0][1]) == len(found[1][1])


# --- the judge


def _raises(arguments):
    raise ValueError("x")


def _says(text, code):
    def main(arguments):
        import sys

        print(text, end="", file=sys.stderr)
        return code

    return main


def _writes(arguments):
    Path("stray").touch()
    return 0


def _changes(arguments):
    Path("kept").write_text("other")
    return 0


def _allocates(arguments):
    np.empty(2 * sandbox.MAPPED, np.uint8)
    return 0


@pytest.mark.parametrize(
    ("main", "fault"),
    [
        (_raises, "ValueError: x"),
        (_says("", 1), "exit code 1"),
        (_says("", 2), "0 lines with an error"),
        (_says("error: a\nerror: b\n", 2), "2 lines with an error"),
        (_says("error: a\nand so on\n", 2), "an unexpected line"),
        (_says("error: " + "x" * 2000, 2), "a line of 2007 characters"),
        (_says("error: \x1b[31m", 2), "can't be printed"),
        (_says("error: a", 0), "1 lines with an error"),
        (_says("UserWarning: b", 0), "an unexpected line"),
        (_writes, "touched stray"),
        (_changes, "touched kept"),
        (_allocates, "MemoryError"),
        (lambda arguments: time.sleep(9), "still running"),
    ],
)
def test_the_judge_finds_fault(tmp_path, monkeypatch, main, fault):
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    (tmp_path / "kept").write_text("this")
    assert fault in sandbox.attempt(main, [], tmp_path).fault


def test_caches_and_logs_may_be_written(tmp_path):
    def main(arguments):
        for place in ("data/.cache", "cache", "run"):
            os.makedirs(place)
            Path(place, "x").touch()
        return 0

    (tmp_path / "data").mkdir()
    assert not sandbox.attempt(main, [], tmp_path).fault


# --- the source


def _sources():
    for folder in ("dreamer_leq", "vd4rl_loader", "benchmarks"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "train_offline.py", ROOT / "eval.py")


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        # of arrays: unpickling executes what the file says
        (r"allow_pickle", ()),
        # between a process and its own workers
        (
            r"\bpickle\.loads?\b|\bdill\b|\bjoblib\b",
            ("vd4rl_loader/simulators/workers.py", "benchmarks/faults/sandbox.py"),
        ),
        (r"\b(marshal|shelve)\b", ()),
        (r"typ=['\"]unsafe|\byaml\.load\(|(?<![\w.])(eval|exec)\(", ()),
    ],
)
def test_no_source_executes_data(pattern, allowed):
    found = {
        str(path.relative_to(ROOT))
        for path in _sources()
        if re.search(pattern, path.read_text())
    }
    assert found <= set(allowed)
