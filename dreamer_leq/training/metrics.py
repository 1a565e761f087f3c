"""Metrics of a run: JSON lines, TensorBoard and, where wanted, Weights & Biases.

`metrics.jsonl` is the truth: one JSON object a line with "phase", "step", the
metrics, and what the clock says under "time". Without "time" two runs can be
compared bit for bit. TensorBoard's events are a view of it and can be remade.
"""

import contextlib
import json
import os
import resource
import shutil
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_bytes, read_text, replacing

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
RESERVED = ("phase", "step", "time")
USAGE = ("process_seconds", "peak_memory", "peak_device_memory")
CLOCKS = ("wall", *USAGE)  # for the report: no curves of training

_START = clock.monotonic()

Record = dict[str, Any]


class MetricsLogger:
    """Writes the metrics of the run in `logdir`, going on where it stopped.

    Args:
        logdir: the run folder.
        wandb: what to pass to `wandb.init` (`project`, `config`, …), or None to
            leave Weights & Biases out.

    Raises:
        UserError: `wandb` is asked for and not installed.
    """

    def __init__(
        self, logdir: str | Path, wandb: Mapping[str, Any] | None = None
    ) -> None:
        logdir = Path(logdir)
        logdir.mkdir(parents=True, exist_ok=True)
        self._path = logdir / METRICS_FILE
        self._file = _open_after_last_line(self._path)
        self._tensorboard = _TensorBoard(logdir / TENSORBOARD_FOLDER)
        self._wandb = _WandB(logdir, wandb) if wandb is not None else None

    def write(
        self,
        phase: str,
        step: int,
        metrics: Mapping[str, Any],
        time: Mapping[str, float] | None = None,
    ) -> None:
        """Appends one record; it has left the process when this returns.

        Write the metrics of a step before the step's checkpoint: then a resumed
        run finds in the file all that came before it.

        Args:
            phase: what the step is counted in, such as "world_model".
            step: the update after which the metrics were taken.
            metrics: scalars by name, as Python, NumPy or JAX numbers, of other names
                than a record's own (ValueError).
            time: what differs from run to run, such as updates per second.
        """
        if taken := set(RESERVED) & set(metrics):
            raise ValueError(f"metrics may not be named {sorted(taken)}")
        record = {"phase": phase, "step": int(step)}
        record |= {name: _number(value) for name, value in metrics.items()}
        times = {name: _number(value) for name, value in (time or {}).items()}
        record["time"] = {"wall": clock.time(), **usage(), **times}
        _write_whole(self._file, _line(record))
        self._tensorboard.write(record)
        if self._wandb:
            self._wandb.write(record)

    def has(self, phase: str, step: int, name: str) -> bool:
        """Whether there is a record of that phase and step with that metric."""
        return any(
            (record["phase"], record["step"]) == (phase, step) and name in record
            for record in read_metrics(self._path)
        )

    def truncate(self, phase_order: Sequence[str], phase: str, step: int) -> None:
        """Drops what was written after `step` of `phase`, atomically.

        A run resumed from the checkpoint of that step then ends with the file of
        an uninterrupted one. Records of phases that `phase_order` doesn't name
        are kept. To drop all, as without any checkpoint, give the first phase and
        step -1. TensorBoard's events are written anew from what is left.

        Raises:
            ValueError: `phase` is not in `phase_order`.
        """
        order = {name: i for i, name in enumerate(phase_order)}
        if phase not in order:
            raise ValueError(f"phase {phase!r} is not among {list(phase_order)}")

        def stays(record: Record) -> bool:
            reached = (order.get(record["phase"], -1), record["step"])
            return reached <= (order[phase], step)

        records = list(read_metrics(self._path))
        kept = list(filter(stays, records))
        if len(kept) < len(records):
            self._file.close()
            with replacing(self._path) as temporary:
                temporary.write_bytes(b"".join(map(_line, kept)))
            self._file = _open_after_last_line(self._path)
        # even if nothing went: events that a killed run had not flushed are missing
        self._tensorboard.rewrite(kept)

    def close(self) -> None:
        """Closes the files; W&B's upload, where there is one, is waited for."""
        self._file.close()
        self._tensorboard.close()
        if self._wandb:
            self._wandb.close()

    def __enter__(self) -> "MetricsLogger":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # what went wrong first is what the user has to know
        with contextlib.suppress(OSError if kind else ()):
            self.close()


class NoMetrics:
    """The logger of a process that leaves the metrics to another one."""

    def write(self, *record: Any) -> None:
        pass

    def truncate(self, *reached: Any) -> None:
        pass

    def __enter__(self) -> "NoMetrics":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def read_metrics(path: str | Path) -> Iterator[Record]:
    """The records of a metrics file, first to last.

    A last line without its end, as a killed process leaves it, is left out.

    Raises:
        UserError: another line is not a JSON object with phase and step.
    """
    path = Path(path)
    # bytes: a torn line may end inside a character
    lines = read_bytes(path).split(b"\n")[:-1] if os.path.lexists(path) else []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not _is_record(record):
                raise ValueError("not a record")
        except (ValueError, RecursionError):
            raise UserError(
                f"{path}, line {number}: not a record of metrics; "
                "delete the line to go on"
            ) from None
        yield record


def usage() -> dict[str, float]:
    """Seconds since this process began, and the most memory it has held, in bytes.

    `peak_device_memory` is that of one accelerator; a CPU has none of its own.
    """
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = (clock.monotonic() - _START, 1024.0 * kibibytes)
    device = jax.local_devices()[0].memory_stats()
    peak = (float(device["peak_bytes_in_use"]),) if device else ()
    return dict(zip(USAGE, used + peak, strict=False))


def _is_record(record: Any) -> bool:
    """Whether it is what `write` writes: phase, step, and numbers."""
    if not isinstance(record, dict):
        return False
    phase, step, time = (record.get(name) for name in RESERVED)
    values = [v for name, v in record.items() if name not in RESERVED]
    return (
        isinstance(phase, str)
        and type(step) is int
        and isinstance(time, dict)
        and all(type(value) in (int, float) for value in (*values, *time.values()))
    )


def _line(record: Record) -> bytes:
    return (json.dumps(record) + "\n").encode()


def _number(value: Any) -> int | float:
    """A Python number of exactly the same value."""
    value = getattr(value, "item", lambda: value)()
    return value if isinstance(value, int) else float(value)


def _write_whole(file: Any, line: bytes) -> None:
    """Writes a line to an unbuffered file, or none of it.

    A disk that fills up takes a part without an error, and what is written later, when
    there is space again, would follow in the same line.
    """
    start = file.tell()
    try:
        written = file.write(line)
        while written < len(line):
            written += file.write(line[written:])
    except OSError as error:
        file.truncate(start)
        raise OSError(error.errno, error.strerror, file.name) from error


def _open_after_last_line(path: Path) -> Any:
    """Opens for appending, unbuffered, and cuts off a line that has no end."""
    if os.path.lexists(path):
        end = read_bytes(path).rfind(b"\n") + 1
        os.truncate(path, end)
    return path.open("ab", buffering=0)


class _TensorBoard:
    """An event file with a scalar `phase/name` for every number of a record.

    tensorboardX's SummaryWriter would write in a thread, and end it with a traceback
    where the disk is full.
    """

    FLUSH_SECONDS = 10

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()

    def _open(self) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(self._folder / "events"))
        self._flushed = clock.monotonic()

    def write(self, record: Record) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in _scalars(record).items()
        ]
        wall, step = record["time"].get("wall"), record["step"]
        self._writer.write_event(
            Event(wall_time=wall, step=step, summary=Summary(value=values))
        )
        if clock.monotonic() - self._flushed > self.FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = clock.monotonic()

    def rewrite(self, records: Sequence[Record]) -> None:
        """Starts again, with these records."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open()
        for record in records:
            self.write(record)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    """A Weights & Biases run that a resumed run goes on with.

    Each phase has its own step axis. Records that `truncate` drops stay in W&B,
    and are drawn over by those of the resumed run.
    """

    ID_FILE = "wandb_id.txt"

    def __init__(self, logdir: Path, arguments: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError(
                "Weights & Biases is asked for but not installed: "
                "pip install -e '.[wandb]', or leave it off"
            ) from None
        arguments = {"dir": str(logdir), "resume": "allow", **arguments}
        arguments.setdefault("id", self._run_id(logdir))
        try:
            self._run = wandb.init(**arguments)
        except wandb.errors.Error as error:  # no account, no network, no server
            print(f"W&B can't be reached ({error}): logging offline; wandb sync later")
            self._run = wandb.init(**{**arguments, "mode": "offline"})
        self._phases: set[str] = set()

    def _run_id(self, logdir: Path) -> str:
        path = logdir / self.ID_FILE
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(os.urandom(4).hex())
        return read_text(path).strip()

    def write(self, record: Record) -> None:
        phase = record["phase"]
        axis = f"{phase}/step"
        if phase not in self._phases:
            self._run.define_metric(f"{phase}/*", step_metric=axis)
            self._phases.add(phase)
        self._run.log({axis: record["step"], **_scalars(record)})

    def close(self) -> None:
        self._run.finish()


def _scalars(record: Record) -> dict[str, float]:
    """The numbers of a record by the names that plots show."""
    times = {f"time/{k}": v for k, v in record["time"].items() if k not in CLOCKS}
    metrics = {k: v for k, v in record.items() if k not in RESERVED}
    return {f"{record['phase']}/{k}": v for k, v in (metrics | times).items()}
