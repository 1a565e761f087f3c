"""What runs in a process of its own, so that its peak memory is its own.

`in_process` starts this file, which reads what to do from stdin and writes the result
to stdout, both as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES
from correctness import checks
from measuring import Program, measure
from peak import matmul_peak
from profiling import profile

from dreamer_leq.run.provenance import run_info
from dreamer_leq.system.errors import UserError


def device() -> dict[str, Any]:
    """The machine, what runs on it, and its matmul peaks."""
    info = run_info(0, {})
    del info["seed"], info["dataset"]
    peaks = {}
    for dtype in ("float32", "bfloat16"):
        speed, side = matmul_peak(dtype)
        peaks[dtype] = {"flops": speed, "side": side}
    cores = len(os.sched_getaffinity(0))
    return info | {"processor": _processor(), "cores": cores, "matmul_peak": peaks}


def measured(
    case: str,
    small: bool,
    flags: Sequence[str],
    entries: int,
    repeats: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Rows of figures of a case; entries 0: the case's own."""
    found = CASES[case]
    entries = entries or found.entries_for(small)
    rows = measure(found, small, tuple(flags), entries, repeats, seconds)
    return [{"case": case, "about": found.about} | row for row in rows]


def profiled(
    case: str,
    small: bool,
    flags: Sequence[str],
    entries: int,
    seconds: float,
    folder: str,
) -> list[dict[str, Any]]:
    """Where the time of a case's variants goes; the traces lie in `folder`."""
    found = CASES[case]
    rows = []
    for variant in found.variants:
        config = found.config(variant, small, tuple(flags))
        setup = found.setup(config, entries or found.entries_for(small))
        program = Program(setup, config.data.placement)
        where = Path(folder, "-".join(filter(None, (case, variant))))
        about = {"case": case, "variant": variant, "size": setup.size}
        rows.append(about | profile(program, seconds, where))
        program.close()
    return rows


def correct(preset: str) -> list[dict[str, Any]]:
    """What the device computes, beside what it should; pixels at the preset's size."""
    return checks(preset)


JOBS = {job.__name__: job for job in (device, measured, profiled, correct)}


class JobFailed(Exception):
    """A job's process has ended with an error, which it has shown."""


def in_process(job: str, timeout: float | None = None, **arguments: Any) -> Any:
    """The job's result. Raises JobFailed, also after `timeout` seconds, and UserError
    for flags that can't be.
    """
    # what is compiled has to be compiled here, and not be taken from a cache
    keep = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    try:
        child = subprocess.run(
            [sys.executable, __file__],
            input=json.dumps({"job": job, "arguments": arguments}),
            env={"TF_CPP_MIN_LOG_LEVEL": "3"} | keep,
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise JobFailed(f"not done after {timeout:.0f} s") from None
    if child.returncode:
        raise JobFailed(f"exit code {child.returncode}")
    result = json.loads(child.stdout)
    if "error" in result:
        raise UserError(result["error"])
    return result["result"]


def _processor() -> str:
    """The model's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return next(names, "").strip()


def main() -> None:
    result = sys.stdout
    sys.stdout = sys.stderr  # whatever else is printed
    asked = json.load(sys.stdin)
    try:
        answer = {"result": JOBS[asked["job"]](**asked["arguments"])}
    except UserError as error:
        answer = {"error": str(error)}
    json.dump(answer, result)


if __name__ == "__main__":
    main()
