"""The benchmark's command at debug size, in this process."""

import io
import json
import sys
from dataclasses import replace

import cases
import jax
import jax.numpy as jnp
import job
import peak
import pytest
import run
import sweep
import tables
from case import Case, Setup
from cases_pixel import PLACEMENTS
from flax import struct
from rich.console import Console

from dreamer_leq.data.sampling import Windows

DEBUG = ("--configs", "debug", "--entries", "100", "--seconds", "0.001")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Cases are measured here, and small products make the peak."""
    monkeypatch.setattr(run, "in_process", lambda name, **args: job.JOBS[name](**args))
    monkeypatch.setitem(peak.SIDES, "cpu", (64,))
    monkeypatch.setitem(peak.WORK, "cpu", 1e6)


def printed(table):
    console = Console(width=250, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_every_case_can_be_built():
    for case in cases.CASES.values():
        for variant in case.variants:
            setup = case.setup(case.config(variant, small=True), 100)
            assert setup.size and setup.dtype in ("float32", "bfloat16")
        jax.eval_shape(setup.make)  # data with all that a learner reads


def test_a_case_is_measured(tmp_path, capsys):
    assert run.main(["--only", "state_bc", *DEBUG, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["command"].startswith("python benchmarks/run.py --only state_bc")
    assert {"packages", "git", "devices", "cores"} <= found["machine"].keys()
    [row] = found["rows"]
    assert len(row["seconds"]) == 5 and min(row["seconds"]) > 0
    assert row["matmul_peak"] > 0 and row["compile_cpu_seconds"] > 0
    assert row["peak_memory"]["bytes"] > row["planned_memory"]["temporaries"] > 0
    # 16 samples; the actor is 17-16-12 (mean and deviation), the critic 23-16-1:
    # forward, the gradients of all weights, and those of the hidden layers; that of the
    # critic's last ones is a sum over rows
    actor, critic = 2 * (17 * 16 + 16 * 12) + 16 * 12, 2 * 23 * 16 + 16 + 16
    assert row["flop"] == 2 * 16 * (actor + critic)
    assert "state_bc" in capsys.readouterr().out


@struct.dataclass
class Regression:
    """A phase that is nothing but two products per update, in a module's scope."""

    def update(self, state, batch, key):
        def loss(w):
            with jax.named_scope("Layer"):
                return jnp.square(batch["x"] @ w).mean()

        value, gradient = jax.value_and_grad(loss)(state)
        return state - 0.1 * gradient, {"loss": value}


def regression(config, entries):
    def make():
        arrays = {"x": jnp.ones((entries, 50))}
        return Regression(), jnp.ones((50, 40)), arrays

    sampler = Windows(entries, batch=config.leq.batch, length=2)
    return Setup(make, sampler, f"{entries} entries", "float32")


@pytest.fixture
def toy(monkeypatch):
    case = Case("toy", regression, ("--configs", "debug"), entries=1000)
    monkeypatch.setitem(cases.CASES, "toy", case)
    return case


def test_variants_take_turns_and_are_compared(toy, monkeypatch, tmp_path):
    case = replace(toy, variants=PLACEMENTS)
    monkeypatch.setitem(cases.CASES, "toy", case)
    flags = ["--starts", "3", "--seconds", "0", "--repeats", "6"]
    assert run.main(["--only", "toy", *flags, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [row["variant"] for row in found["rows"]] == ["resident", "streamed"]
    for row in found["rows"]:
        assert row["flop"] == 2 * (2 * 3 * 2 * 50 * 40)  # forward, weights' gradient
        assert len(row["seconds"]) == 6 and row["size"] == "1000 entries"
    dataset, chunk = (row["planned_memory"]["arguments"] for row in found["rows"])
    assert dataset > 1000 * 50 * 4 > chunk  # only a part of it is on the device
    text = printed(tables.figures(found["rows"], found["machine"]))
    assert "toy: streamed takes" in text and "times resident" in text


def test_a_plan_needs_no_memory(toy, monkeypatch):
    case = replace(toy, entries=10**9, timed=False)
    monkeypatch.setitem(cases.CASES, "toy", case)
    [row] = job.measured("toy", True, [], 0, repeats=5, seconds=1)
    assert row["planned_memory"]["arguments"] > 1e9 * 50 * 4  # never made
    assert row["flop"] > 0 and "seconds" not in row and "peak_memory" not in row
    assert "1000000000 entries" in printed(tables.figures([row], MACHINE))


def test_a_profile_names_parts(toy, tmp_path, capsys):
    args = ["--profile", "--only", "toy", "--seconds", "0", "--out", str(tmp_path)]
    assert run.main(args) == 0
    [row] = json.loads((tmp_path / "profile.json").read_text())["rows"]
    parts = {(part["part"], part["way"]) for part in row["parts"]}
    assert {("Layer", "backward"), ("Layer", "forward")} <= parts
    products = [op for op in row["operations"] if op["kind"] == "matrix product"]
    each = {op["flop"] * op["calls"] / row["updates"] for op in products}
    assert each == {2 * 16 * 2 * 50 * 40}
    assert sum(row["kinds"].values()) == pytest.approx(row["busy_seconds"])
    assert 0 < row["busy_seconds"] < row["wall_seconds"]
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert "Layer" in capsys.readouterr().out


MACHINE = {
    "processor": "any",
    "backend": "cpu",
    "cores": 2,
    "devices": ["cpu"],
    "matmul_peak": {"float32": {"flops": 2e9, "side": 64}},
}
ROW = {
    "case": "state_leq",
    "variant": "",
    "size": "a size",
    "dtype": "float32",
    "seconds": [1.0, 2.0, 3.0],
    "flop": 10**9,
    "matmul_peak": 2e9,
    "compile_seconds": 4.0,
    "compile_cpu_seconds": 6.0,
    "peak_memory": {"bytes": 2**21, "of": "process"},
    "planned_memory": {"arguments": 2**20, "temporaries": 2**20},
    "rare": {"name": "expanding", "every": 10, "seconds": 5.0},
}


def test_figures_of_a_row():
    text = printed(tables.figures([ROW], MACHINE))
    figures = ("2000", "1000 - 3000", "0.5", "1", "25%", "4.0 s (6.0)", "2 MiB")
    [row] = [line for line in text.splitlines() if "state_leq │" in line]
    assert set(figures) <= {cell.strip() for cell in row.split("│")}
    assert "20.0% of the time" in text  # 5 of 10 · 2 + 5 seconds


def test_comparison():
    new = ROW | {"seconds": [0.5, 1.0, 1.5], "compile_seconds": 8.0}
    other = ROW | {"case": "leq_1m", "size": "another"}
    text = printed(tables.comparison([new, ROW | {"case": "leq_1m"}], [ROW, other]))
    [same] = [line for line in text.splitlines() if "state_leq" in line]
    assert [cell.strip() for cell in same.split("│")[3:-1]] == [
        "2.00",
        "0.67 - 6.00",
        "1.00",
        "0.50",
        "1.00",
        "1.00",
    ]
    assert "a size, float32; was another, float32" in text
    assert "no case is in both" in printed(tables.comparison([ROW], [other]))


def test_two_files_are_compared_without_measuring(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"rows": [ROW]}))
    new.write_text(json.dumps({"rows": [ROW | {"seconds": [0.1] * 3}]}))
    assert run.main(["--compare", str(old), str(new)]) == 0
    assert "20.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--only", "leq_13m"], "no case leq_13m; did you mean leq_1"),
        (["--repeats", "0"], "--repeats: has to be at least 1"),
        (["--cores", "1000"], "--cores: there are"),
        (["--compare", "nowhere.json"], "nowhere.json"),
        (["--only", "leq_1m", "--leq.tao", "0.1"], "unknown flag --leq.tao"),
    ],
)
def test_what_cannot_be_is_one_line(flags, complaint, capsys):
    assert run.main(flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and complaint in error


def test_a_job_answers_in_json(monkeypatch):
    case = dict(case="leq_1m", small=True, flags=["--leq.horizon", "0"], entries=0)
    asked = {"job": "measured", "arguments": case | {"repeats": 1, "seconds": 0}}
    answer = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    monkeypatch.setattr(sys, "stdout", answer)
    job.main()
    assert json.loads(answer.getvalue())["error"].startswith("leq.horizon: has to be")


def test_sweep(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    asked = []

    def measured(name, **args):
        if name == "device":
            return MACHINE
        asked.append((args["case"], tuple(args["flags"]), args["entries"]))
        return [ROW]

    monkeypatch.setattr(run, "in_process", measured)
    only = ["--only", "leq_1m", "leq", "state_leq"]
    assert run.main(["--sweep", *only, "--out", str(tmp_path)]) == 0
    assert ("leq_1m", ("--leq.horizon", "15"), 0) in asked
    assert ("leq_50m", (), 0) in asked and ("state_leq", (), 1_000_000) in asked
    found = json.loads((tmp_path / "sweep.json").read_text())["curves"]
    assert {curve["axis"] for curve in found} == {c.axis for c in sweep.curves(True)}
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
