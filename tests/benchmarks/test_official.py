"""The comparison with the official code, without the official code."""

import io
import json
import sys
from types import SimpleNamespace

import official
import pytest
import tables
import turns
from rich.console import Console

FACTS = {
    "size": "a size",
    "library": "JAX 0.4.28",
    "flop": 92.4e9,
    "matmul_peak": 120e9,
}
OURS = {"size": "of 1M", "library": "JAX 0.10.1", "flop": 10e9, "matmul_peak": 240e9}
ROW = {
    "case": "state_leq",
    "official": FACTS | {"seconds": [1.0, 1.2, 1.6], "compile_cpu_seconds": 154.04},
    "ours": OURS | {"seconds": [0.1, 0.1, 0.2], "compile_cpu_seconds": 8.0},
}
MACHINE = {"processor": "any"}


class Recorded:
    """A side whose n updates take n times its seconds; `calls` has all of them."""

    calls: list[tuple[str, int]]

    def __init__(self, python, folder, module, case, sequences):
        assert sequences == 3
        self.name = module
        self.facts = FACTS | {"compile_cpu_seconds": 1.0}

    def seconds(self, updates):
        self.calls.append((self.name, updates))
        return updates * {"official_state": 2.0, "ours": 0.5}[self.name]

    def close(self):
        self.calls.append((self.name, 0))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(Recorded, "calls", [], raising=False)
    monkeypatch.setattr(official, "Side", Recorded)
    monkeypatch.setattr(official, "pin", lambda cores: None)
    monkeypatch.setattr(official, "in_process", lambda job: MACHINE)
    file = tmp_path / "LEQ" / "algos" / "leq" / "learner.py"
    file.parent.mkdir(parents=True)
    file.touch()
    return tmp_path / "LEQ"


def test_both_sides_are_timed_in_turns(checkout, tmp_path, capsys):
    flags = ["--checkout", str(checkout), "--python", sys.executable]
    flags += ["--turns", "2", "--sequences", "3", "--out", str(tmp_path)]
    assert official.main(flags) == 0
    theirs, ours = ("official_state", 1), ("ours", 4)  # 2 seconds each
    first, second = Recorded.calls[:2], Recorded.calls[2:6]
    assert first == [theirs, ("ours", 1)] and second == [theirs, ours] * 2
    assert Recorded.calls[6:] == [("official_state", 0), ("ours", 0)]
    found = json.loads((tmp_path / "official.json").read_text())
    [row] = found["rows"]
    assert row["case"] == "state_leq"
    assert (
        row["official"]["seconds"] == [2.0] * 2 and row["ours"]["seconds"] == [0.5] * 2
    )
    assert "4.00 - 4.00" in capsys.readouterr().out


def test_table_of_recorded_timings():
    console = Console(width=250, file=io.StringIO())
    console.print(tables.against_official([ROW], MACHINE))
    text = console.file.getvalue()
    [line] = [line for line in text.splitlines() if "state_leq" in line]
    assert [cell.strip() for cell in line.split("│")[2:-1]] == [
        "of 1M",
        "1200",
        "100",
        "10.00",  # the median of 10, 12 and 8
        "8.00 - 12.00",
        "92.4, 10",
        "64%, 42%",
        "154.0, 8.0",
    ]
    assert "JAX 0.4.28, and JAX 0.10.1" in text and "medians of 3 turns" in text


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--checkout", "/nowhere"], "--checkout: /nowhere: none of this code"),
        (["--python", "no-such-python"], "--python: no-such-python: no such command"),
        (["--sequences", "0"], "--sequences: has to be at least 1, got 0"),
        (["--turns", "0"], "--turns: has to be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_one_line(checkout, flags, complaint, capsys):
    flags = ["--checkout", str(checkout), "--python", sys.executable, *flags]
    assert official.main(flags) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and complaint in error


def test_a_side_that_fails_is_one_line(checkout, monkeypatch, capsys):
    def fail(*arguments):
        raise turns.SideFailed("No module named 'flax'")

    monkeypatch.setattr(official, "Side", fail)
    flags = ["--checkout", str(checkout), "--python", sys.executable]
    assert official.main(flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: --python: {sys.executable}: No module named 'flax'"


def served(monkeypatch, asked, **module):
    """What `serve` says when it's asked for these numbers of updates."""
    answers = io.StringIO()
    monkeypatch.setitem(sys.modules, "fake", SimpleNamespace(**module))
    monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
    monkeypatch.setattr(sys, "stdout", answers)
    turns.serve("fake" if module else "no_such_module", "a case", "2")
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_side_answers_in_json(monkeypatch, capsys):
    def build(case, sequences):
        print("what a library prints is no answer")
        return {"size": case}, lambda updates: updates / sequences

    answers = served(monkeypatch, "1\n3\n", build=build)
    assert answers == [{"answer": {"size": "a case"}}, {"answer": 0.5}, {"answer": 1.5}]


def test_a_side_says_what_it_lacks(monkeypatch):
    [answer] = served(monkeypatch, "")
    assert answer == {"missing": "No module named 'no_such_module'"}
