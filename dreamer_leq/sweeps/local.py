"""The engine of this machine: some processes at a time, spread over its GPUs."""

import os
import shutil
import subprocess
from dataclasses import replace

from dreamer_leq.sweeps.process import JobProcess, Outcome, Work

MEMORY = 0.9  # share of a GPU's memory that the jobs on it take together


class Local:
    """At most `jobs` processes; on a machine with GPUs `per_gpu` on each of them, and
    0 jobs means as many as that makes, or one.
    """

    def __init__(self, jobs: int = 0, per_gpu: int = 1) -> None:
        devices = [device for device in gpus() for _ in range(per_gpu)]
        self._memory = MEMORY / per_gpu if devices else None
        slots: list[str | None] = list(devices) or [None] * (jobs or 1)
        self._free = slots[:jobs] if devices and jobs else slots
        self._running: dict[str, tuple[JobProcess, str | None]] = {}

    def submit(self, work: Work) -> None:
        device = self._free.pop(0)
        if device is not None:
            share = gpu_share(self._memory) | {"CUDA_VISIBLE_DEVICES": device}
            work = replace(work, environment={**work.environment, **share})
        self._running[work.name] = JobProcess(work), device

    def room(self) -> int:
        return len(self._free)

    def outcomes(self) -> list[Outcome]:
        found = []
        for name, (process, device) in list(self._running.items()):
            if outcome := process.poll():
                del self._running[name]
                self._free.append(device)
                found.append(outcome)
        return found

    def stop(self) -> None:
        for process, _ in self._running.values():
            process.stop()

    def close(self) -> None:
        for process, _ in self._running.values():
            process.kill()


def gpu_share(memory: float) -> dict[str, str]:
    """JAX's variable for a share of a GPU's memory."""
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{memory:.3f}"}


def gpus() -> list[str]:
    """The GPUs that jobs may use, as CUDA numbers them; without asking JAX, which would
    take their memory.
    """
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip()]
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    lines = done.stdout.splitlines() if not done.returncode else []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in lines))]
