"""What benchmarks/gpu.py makes of its findings; nothing is measured."""

import gpu
import pytest
from cases import CASES
from job import JobFailed


def row(case, milliseconds, variant=""):
    return {
        "case": case,
        "variant": variant,
        "size": "small",
        "seconds": [milliseconds / 1e3] * 3,
        "flop": 1e9,
        "matmul_peak": 1e12,
        "compile_seconds": 9.0,
        "planned_memory": {"arguments": 2**20, "temporaries": 2**20},
    }


@pytest.fixture
def found():
    return {
        "small": False,
        "machine": {"devices": ["H200"], "python": "3.12", "packages": {"jax": "1"}},
        "correctness": [
            {"name": "canary", "error": 1e-7, "limit": 1e-4, "holds": True},
            {"name": "latent", "error": 0.5, "limit": 1e-2, "holds": False},
        ],
        "cases": [
            row("world_model_12m", 16.0),
            row("leq_12m", 5.0),
            row("grid_12m", 6.0, "1 τ"),
            row("grid_12m", 9.0, "4 τ"),
            {**row("memory_12m", 1.0), "seconds": None},
        ],
        "profiles": [],
        "run": None,
        "problems": ["a run: no time"],
    }


def test_the_page_says_what_holds_and_what_is_reached(found):
    page = "\n".join(gpu.markdown(found))
    assert "# H200" in page and "| latent | 0.5 | 0.01 | **WRONG** |" in page
    assert "| world_model_12m | small | 62.5 | 16 | 6.2% |" in page
    assert "| leq_12m | ≥ 250 updates/s | 200 |" in page
    assert "| grid_12m: four τ | < 1.6 times one | 1.50 |" in page
    assert "| memory_12m | small |  |  |  | 9 | 2 |" in page
    assert "| a run: no time |" in page


def test_the_two_slowest_are_profiled_but_no_variants(found):
    assert gpu.slowest(found["cases"]) == ["world_model_12m", "leq_12m"]


def test_all_that_is_asked_for_are_cases():
    assert {*gpu.ORDER, *gpu.SMALL} <= CASES.keys()
    assert {case for case, _, _ in gpu.AIMS} <= {*gpu.ORDER}


def test_a_runs_length_is_what_there_is_time_for():
    flags = gpu.run_flags({"world_model_12m": 50.0, "leq_12m": 200.0}, 100.0, False)
    updates = dict(zip(flags[2::2], flags[3::2], strict=False))
    assert updates["--latent.updates"] == "2500" and updates["--leq.updates"] == "5000"


def test_a_step_that_fails_ends_nothing_else(tmp_path):
    session = gpu.Session(tmp_path, 60.0, small=True)

    def fail():
        raise JobFailed("exit code 1")

    assert session.step("a case", fail) is None
    assert session.found["problems"] == ["a case: exit code 1"]
    assert "a case: exit code 1" in (tmp_path / "gpu.md").read_text()
