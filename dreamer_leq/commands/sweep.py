"""The sweep of a file: its plan, or all of its jobs and what they have shown."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dreamer_leq.commands import compare
from dreamer_leq.pages import results_file
from dreamer_leq.pages.comparison.runs import SWEEP
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.sweeps.engine import Engine, State, drive
from dreamer_leq.sweeps.file import SweepFile, read
from dreamer_leq.sweeps.local import Local
from dreamer_leq.sweeps.plan import Job, plan
from dreamer_leq.sweeps.process import Work
from dreamer_leq.sweeps.progress import Cost, costs, measured
from dreamer_leq.sweeps.ray import Ray
from dreamer_leq.sweeps.results import (
    complete,
    names,
    results,
    tuned,
    tuning_note,
    tunings,
)
from dreamer_leq.sweeps.slurm import Slurm
from dreamer_leq.sweeps.table import Watch, clock
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import write_json
from dreamer_leq.system.interrupts import Interrupts
from vd4rl_loader.errors import disk_trouble

RESULTS = "results.csv"
Log = Callable[[str], None]


def sweep(args: Namespace, log: Log) -> int:
    """What `sweep` does with its flags; returns the exit code: 1 where jobs failed, or
    their results can't be written.

    Raises UserError before anything starts.
    """
    told = read(args.file)
    jobs = plan(told)
    if args.dry_run:
        for line in _described(told, jobs):
            log(line)
        return 0
    engine = _engine(args, told)
    _begin(told, jobs)
    log(f"{len(jobs)} jobs in {told.folder}")
    with Interrupts() as interrupts, Watch(log) as watch:
        state = drive(jobs, engine, interrupts, watch=watch)
    shown = interrupts.pending is not None or _shown(told, jobs, log)
    return _ended(state, interrupts, log) or int(not shown)


def _engine(args: Namespace, told: SweepFile) -> Engine:
    """What the flags ask for. Raises UserError for flags of another engine."""
    of_slurm = args.engine == "slurm"
    if args.address and args.engine != "ray":
        raise UserError("--address: is of --engine ray")
    if args.partition and not of_slurm:
        raise UserError("--partition: is of --engine slurm")
    if args.engine == "ray":
        return Ray(args.jobs, args.per_gpu, args.cpus, args.address)
    if not of_slurm:
        return Local(args.jobs, args.per_gpu)
    if args.per_gpu > 1:
        raise UserError("--per-gpu: Slurm gives whole GPUs; use --engine local or ray")
    size = (args.jobs, args.cpus, args.gpus, args.time)
    return Slurm(told.folder.absolute(), *size, args.partition)


def _begin(told: SweepFile, jobs: Sequence[Job]) -> None:
    """The sweep's folder with the list of its runs, for --compare.

    Raises UserError where it can't be written.
    """
    runs = [
        {"folder": str(Path(folder).relative_to(told.folder)), "method": name}
        for folder, (_, name, _) in names(jobs).items()
    ]
    try:
        write_json(told.folder / SWEEP, {"name": told.name, "runs": runs})
    except OSError as error:
        raise UserError(
            f"{told.folder}: can't be written to: {error.strerror}; name another "
            f"`folder` in {told.path}"
        ) from None


def _shown(told: SweepFile, jobs: Sequence[Job], log: Log) -> bool:
    """Whether the results could be written; a full disk is said, after which it must
    still be said which jobs failed.
    """
    try:
        _show(told, jobs, log)
    except OSError as error:
        if (trouble := disk_trouble(error)) is None:
            raise
        log(f"no results in {told.folder}: {trouble}; the same command writes them")
        return False
    return True


def _show(told: SweepFile, jobs: Sequence[Job], log: Log) -> None:
    """Results as data, and as tables and pages."""
    found = results(jobs, log)
    if not found:
        log("no run has a final score: no table")
        return
    results_file.write(told.folder / RESULTS, [one.row for one in found])
    log(f"wrote {told.folder / RESULTS}")
    tuning = tunings(found)
    note = tuning_note(tuning, told.choose)
    notes = [note] if note else []
    summary = summarize(complete(tuned(tuning, told.choose), log))
    compare.show(summary, notes, log)
    compare.write_comparison(told.folder / "comparison.html", summary, notes, log)
    if note:
        every = [replace(one.run, given=one.name) for one in found]
        page = told.folder / "settings.html"
        compare.write_comparison(page, summarize(complete(every, log)), (), log)


def _ended(state: State, interrupts: Interrupts, log: Log) -> int:
    """What failed, and the exit code."""
    for name, outcome in state.failed.items():
        log(f"failed: {name}: {outcome.reason}")
        if outcome.ran:
            log(f"  its log: {Work.of(state.jobs[name]).log}")
    if interrupts.pending is not None:
        log("stopped; the same command goes on")
        return 128 + interrupts.pending
    return int(bool(state.failed))


def _described(told: SweepFile, jobs: Sequence[Job]) -> Iterator[str]:
    """The plan: each job with its command, what it waits for, and what it will take."""
    expected = costs(jobs)
    done = {job.name for job in jobs if measured(job)}
    for job in jobs:
        runs = f", {len(job.runs)} runs" if len(job.runs) > 1 else ""
        state = "done" if job.name in done else "to do"
        yield f"{job.name} ({state}{runs}; {_cost(expected[job.name])})"
        yield f"  {job.command}"
        if job.after:
            yield f"  waits for {', '.join(job.after)}"
    runs = sum(len(job.runs) for job in jobs if job.kind == "train")
    yield f"{len(jobs)} jobs, {runs} runs, {len(done)} jobs done; in {told.folder}"
    left = [expected[job.name].seconds for job in jobs if job.name not in done]
    known = [seconds for seconds in left if seconds is not None]
    if left:
        unknown = f", and {len(left) - len(known)} jobs that nothing is known of"
        yield (
            f"left: about {clock(sum(known))} of jobs one after the other"
            f"{unknown if len(known) < len(left) else ''}"
        )


def _cost(cost: Cost) -> str:
    if cost.seconds is None:
        return "time not known: no such job is done"
    memory = f", {cost.memory / 2**30:.1f} GiB" if cost.memory else ""
    return f"about {clock(cost.seconds)}{memory}"
