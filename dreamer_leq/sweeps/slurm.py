"""The engine of a Slurm cluster, through submitit: what is ready becomes an array of
Slurm's jobs, which are queued again when their time is over or they are preempted.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from dreamer_leq.sweeps.missing import needed
from dreamer_leq.sweeps.process import JobProcess, Outcome, Work
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json, write_json

SIGNAL_SECONDS = 120  # before the end of a job's time, to save in
_MANY = 1000  # tasks of an array
_TIMEOUTS = 100  # after which a job is not queued again
# States of a job that will still end by itself; what Slurm has forgotten is none.
_ALIVE = {"PENDING", "REQUEUED", "RUNNING", "SUSPENDED", "COMPLETING", "PREEMPTED"}


class Task:
    """A job as submitit runs it: called, and asked to save when its time is over."""

    def __init__(self) -> None:
        self._process: JobProcess | None = None

    def __call__(self, work: Work) -> Outcome:
        self._process = process = JobProcess(work)
        try:
            return process.wait()
        finally:
            process.save()

    def checkpoint(self, work: Work) -> Any:
        """What submitit queues again: the same job, whose folder is its state."""
        import submitit

        self._process.save()
        return submitit.helpers.DelayedSubmission(Task(), work)


class Slurm:
    """At most `jobs` of Slurm's jobs at the same time (0: as many as it starts). Those
    that an earlier command has sent and that still wait or run are taken over.

    cluster: "slurm", or "local" for submitit's stand-in on this machine.
    minutes: of each job, after which it is queued again.

    Raises UserError where submitit or Slurm is missing.
    """

    def __init__(
        self,
        folder: Path,
        jobs: int = 0,
        cpus: int = 1,
        gpus: int = 1,
        minutes: int = 60,
        partition: str = "",
        cluster: str = "slurm",
    ) -> None:
        submitit = needed("submitit", "slurm", "slurm")
        if cluster == "slurm" and not shutil.which("srun"):
            raise UserError(
                "--engine slurm: there is no srun here: run this where Slurm's "
                "commands are, such as a login node"
            )
        again = {f"{cluster}_max_num_timeout": _TIMEOUTS}
        self._executor = submitit.AutoExecutor(
            folder=folder / "slurm", cluster=cluster, **again
        )
        own = {"slurm_signal_delay_s": SIGNAL_SECONDS}
        own |= {"slurm_partition": partition} if partition else {}
        self._executor.update_parameters(
            name="sweep",
            timeout_min=minutes,
            cpus_per_task=cpus,
            gpus_per_node=gpus,
            slurm_array_parallelism=jobs or _MANY,
            **own,
        )
        kind = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        self._known = partial(kind, folder / "slurm")
        self._sent = folder / "slurm" / "sent"
        self._most, self._stopping = jobs or _MANY, False
        self._waiting: list[Work] = []
        self._jobs: dict[str, Any] = {}

    def submit(self, work: Work) -> None:
        self._waiting.append(work)

    def room(self) -> int:
        return self._most - len(self._jobs) - len(self._waiting)

    def outcomes(self) -> list[Outcome]:
        self._submit()
        ended = [name for name, job in self._jobs.items() if job.done()]
        return [self._outcome(name, self._jobs.pop(name)) for name in ended]

    def _submit(self) -> None:
        """All that waits and isn't Slurm's already, as one array."""
        if not self._waiting or self._stopping:
            return
        works, self._waiting = self._waiting, []
        self._jobs |= (found := self._taken_over(works))
        if new := [work for work in works if work.name not in found]:
            with self._executor.batch():
                jobs = [self._executor.submit(Task(), work) for work in new]
            for work, job in zip(new, jobs, strict=True):
                sent = {"job": job.job_id, "command": work.command}
                write_json(self._sent_file(work), sent)
                self._jobs[work.name] = job

    def _taken_over(self, works: list[Work]) -> dict[str, Any]:
        """The jobs of Slurm that do these works by the same command, by name."""
        jobs = {}
        for work in works:
            try:
                sent = read_json(self._sent_file(work))
                if sent["command"] == work.command:
                    jobs[work.name] = self._known(job_id=sent["job"])
            except (UserError, KeyError, TypeError):
                continue  # none was sent
        if jobs:  # one question for all of them
            next(iter(jobs.values())).get_info(mode="force")
        return {name: job for name, job in jobs.items() if job.state in _ALIVE}

    def _sent_file(self, work: Work) -> Path:
        """What was sent to Slurm of a job: its number there, and the command."""
        return self._sent / f"{work.name.replace('/', '.')}.json"

    def _outcome(self, name: str, job: Any) -> Outcome:
        try:
            return job.result()
        except Exception as error:  # what ended it, told by submitit
            told = str(error).partition("You can check full logs")[0]
            lines = [line for line in told.splitlines() if line.strip(" -")]
            reason = lines[-1].strip() if lines else type(error).__name__
            reason = f"{reason} (its log: {job.paths.stderr})"
            return Outcome(name, 1, reason, stopped=self._stopping)

    def stop(self) -> None:
        self._stopping = True
        self._waiting.clear()
        for job in self._jobs.values():
            job.cancel()

    def close(self) -> None:
        """Nothing: Slurm's jobs outlive who has sent them."""
