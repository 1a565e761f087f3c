"""The engine of a Ray cluster, or of Ray on this machine: a job is a task, which Ray
gives to another worker when its own, or its machine, is lost.
"""

from dataclasses import replace
from typing import Any

from dreamer_leq.sweeps.local import MEMORY, gpu_share
from dreamer_leq.sweeps.missing import needed
from dreamer_leq.sweeps.process import Outcome, Work, run_to_end
from dreamer_leq.system.errors import UserError

_RETRIES = 100  # of a task whose worker is lost
_MANY = 10_000  # tasks that may wait in Ray


class Ray:
    """At most `jobs` tasks (0: as many as the cluster holds), each with `cpus` cores,
    and where there are GPUs with its part of one.

    address: of a running cluster ("auto" finds one); "": Ray on this machine.

    Raises UserError where Ray is missing or the cluster doesn't answer.
    """

    def __init__(
        self, jobs: int = 0, per_gpu: int = 1, cpus: int = 1, address: str = ""
    ) -> None:
        self._ray = ray = needed("ray", "ray", "sweep")
        about = dict(log_to_driver=False, logging_level="warning")
        if not address:
            about |= dict(include_dashboard=False)
        try:
            ray.init(address=address or "local", **about)
        except Exception as error:  # what it raises depends on the version
            line = " ".join(str(error).split())[:200]
            raise UserError(f"--address {address or 'local'}: Ray: {line}") from None
        share = bool(ray.cluster_resources().get("GPU"))
        self._environment = gpu_share(MEMORY / per_gpu) if share else {}
        options = dict(num_cpus=cpus, num_gpus=1 / per_gpu if share else 0)
        self._run = ray.remote(**options, max_retries=_RETRIES)(run_to_end)
        self._most, self._stopping = jobs or _MANY, False
        self._tasks: dict[Any, str] = {}

    def submit(self, work: Work) -> None:
        environment = {**work.environment, **self._environment}
        task = self._run.remote(replace(work, environment=environment))
        self._tasks[task] = work.name

    def room(self) -> int:
        return self._most - len(self._tasks)

    def outcomes(self) -> list[Outcome]:
        if not self._tasks:
            return []
        tasks = list(self._tasks)
        ended, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return [self._outcome(task, self._tasks.pop(task)) for task in ended]

    def _outcome(self, task: Any, name: str) -> Outcome:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            return Outcome(name, 1, line, stopped=self._stopping)

    def stop(self) -> None:
        self._stopping = True
        for task in self._tasks:
            self._ray.cancel(task)  # as Ctrl-C in the worker, which lets its job save

    def close(self) -> None:
        self._ray.shutdown()
