"""Checkpoints of training phases, written by orbax: complete, or not there.

A checkpoint holds a state (a pytree of arrays) and a JSON dict beside it, in
`folder/<phase>/<step>/`. Nothing in it is pickled. Orbax writes to a temporary
folder and renames it, so whatever kills the process leaves complete checkpoints.

Of a phase that others have trained there may be its networks alone, in
`folder/<phase>.safetensors` (training/weights.py).
"""

import contextlib
import errno
import gc
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import (
    FORMAT,
    link_or_copy,
    read_json,
    refuse_newer,
    replacing,
    replacing_folder,
)
from dreamer_leq.system.processes import by_first, shared
from dreamer_leq.training.trees import is_key, kinds, mismatch, placed, refuse_other
from dreamer_leq.training.weights import Weights, write_weights
from vd4rl_loader.errors import disk_trouble

STATE, EXTRA = "state", "extra"
_STEP = re.compile("0|[1-9][0-9]{0,17}")  # as orbax names a folder

# What orbax raises for damaged files.
_DAMAGE = (
    *(OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError),
    *(AssertionError, ArithmeticError, MemoryError),
)


class Checkpoints:
    """The checkpoints of a run: for each phase the last `keep`, and those of the steps
    that `also` names.

    Reading needs no `close`, and changes nothing in the folder, so that a run can
    be evaluated while it is training.
    """

    def __init__(
        self,
        folder: str | Path,
        keep: int = 3,
        also: Callable[[str], Collection[int]] = lambda phase: (),
    ) -> None:
        # orbax wants absolute paths
        self._folder = Path(folder).absolute()
        self._keep, self._also = keep, also
        self._writers: dict[str, Any] = {}

    def save(
        self, phase: str, step: int, state: Any, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Writes a checkpoint, then deletes those that are no longer kept.

        Saving a step that is already there does nothing: a step is saved twice
        when a run is interrupted right after it.

        Args:
            phase: name of the phase, and of the folder.
            step: updates done in the phase.
            state: pytree of arrays, typed PRNG keys among them.
            extra: what is not an array, able to be JSON.

        Raises:
            ValueError: there is a later checkpoint already.
            UserError: it can't be written; the last complete one stays.
        """
        ocp = _orbax()
        latest = self.latest(phase)
        if latest is not None and step <= latest:
            if step < latest:
                raise ValueError(f"{phase} has a checkpoint of {latest}, after {step}")
            return
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            extra=ocp.args.JsonSave({"format": FORMAT, **(extra or {})}),
        )
        if trouble := self._try_to_write(phase, step, items):
            # what orbax left behind: in memory, where it makes noise at the
            # interpreter's end, and on the disk, where it takes space
            gc.collect()
            for half in (self._folder / phase).glob(f"{step}.*"):
                shutil.rmtree(half, ignore_errors=True)
            there = "none is" if latest is None else f"that of update {latest} is"
            raise UserError(
                f"checkpoint {self._folder / phase / str(step)} can't be written: "
                f"{trouble}; {there} complete, and the same command goes on from there"
            )

    def latest(self, phase: str) -> int | None:
        """Step of the phase's last complete checkpoint, None without any."""
        return max(self.steps(phase), default=None)

    def steps(self, phase: str) -> list[int]:
        """Steps of the phase's complete checkpoints, ascending."""
        if weights := self._weights(phase):
            return [weights.step]
        folder = self._folder / phase
        entries = folder.iterdir() if folder.is_dir() else ()
        # folders still being written have longer names
        return sorted(
            int(entry.name)
            for entry in entries
            if _STEP.fullmatch(entry.name) and entry.is_dir()
        )

    def restore(
        self,
        phase: str,
        abstract_state: Any = None,
        step: int | None = None,
        subtree: str | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
            phase: name of the phase.
            abstract_state: a pytree of what is expected, of arrays or of
                `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives it. The result has
                its structure, with arrays on the current device, or placed as the
                shardings in it say. With None the result is of nested dicts and
                lists of NumPy arrays, and of the keys' uint32 data.
            step: which checkpoint; the latest without.
            subtree: read only this field of the state, such as "params";
                `abstract_state` then describes that field.

        Returns:
            The state, and the `extra` dict that was saved with it.

        Raises:
            UserError: there is no such checkpoint, it can't be read, it is of a
                later version of dreamer-leq, or it is not of `abstract_state`; names
                the first leaf that differs.
        """
        step = self._existing(phase, step)
        if weights := self._weights(phase):
            return weights.restore(abstract_state, subtree)
        return _read(self._folder / phase / str(step), subtree, abstract_state)

    def has_weights(self, phase: str) -> bool:
        """Whether there are only its networks, which others have trained."""
        return self._weights(phase) is not None

    def write_weights(
        self, phase: str, file: Path, subtree: str | None, step: int | None = None
    ) -> None:
        """Writes what loading reads of a checkpoint, `subtree` of its state, as weights
        for others.
        """
        step = self._existing(phase, step)
        state, extra = self.restore(phase, None, step, subtree)
        about = {"step": step, "subtree": subtree, "over": bool(extra.get("over"))}
        write_weights(file, state, about)

    def copy(self, phase: str, folder: Path) -> None:
        """Gives another run the phase's checkpoints, which share their files where the
        file system can do that: they are never written again.
        """
        if weights := self._weights(phase):
            with replacing(folder / weights.file.name) as temporary:
                link_or_copy(str(weights.file.resolve()), str(temporary))
        elif (old := self._folder / phase).exists():
            with replacing_folder(folder / phase) as temporary:
                copy = partial(shutil.copytree, old, temporary, dirs_exist_ok=True)
                copy(copy_function=link_or_copy)

    def extra(self, phase: str) -> dict[str, Any]:
        """What the phase's last checkpoint has beside its state; {} without any.

        Raises UserError where it can't be read.
        """
        if weights := self._weights(phase):
            return weights.about
        if (step := self.latest(phase)) is None:
            return {}
        found = read_json(self._folder / phase / str(step) / EXTRA / "metadata")
        return found if isinstance(found, dict) else {}

    def forget(self, phase: str) -> None:
        """Deletes the phase's checkpoints."""
        if phase in self._writers:
            self._writers.pop(phase).close()
        shutil.rmtree(self._folder / phase, ignore_errors=True)

    def wait(self) -> None:
        """Blocks until the last checkpoints are on the disk.

        `save` hands them to the operating system, and a killed process can't take
        them back. After this they survive a machine that loses power as well.
        """
        for phase in self._writers:
            _sync(self._folder / phase / str(self.latest(phase)))
            _sync_one(self._folder / phase)

    def close(self) -> None:
        """Ends writing; the checkpoints are on the disk."""
        self.wait()
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # what went wrong first is what the user has to know
        with contextlib.suppress(OSError if kind else ()):
            self.close()

    def _weights(self, phase: str) -> Weights | None:
        file = self._folder / f"{phase}.safetensors"
        return Weights(file) if os.path.lexists(file) else None

    def _existing(self, phase: str, step: int | None) -> int:
        steps = self.steps(phase)
        if not steps:
            raise UserError(
                f"no checkpoint of phase {phase!r} in {self._folder}; "
                "is it the folder of a run that got that far?"
            )
        if step is not None and step not in steps:
            raise UserError(
                f"no checkpoint of step {step} in {self._folder / phase}; "
                f"there are {', '.join(map(str, steps))}"
            )
        return steps[-1] if step is None else step

    def _try_to_write(self, phase: str, step: int, items: Any) -> str | None:
        """Writes a checkpoint; why not, where the disk is to blame."""
        try:
            self._writer(phase).save(step, args=items)
        except Exception as error:
            if trouble := _disk_trouble(error):
                return trouble
            raise
        return None

    def _writer(self, phase: str) -> Any:
        """Orbax's manager, made at the first save, when the folder becomes ours."""
        if phase not in self._writers:
            ocp = _orbax()
            policies = ocp.checkpoint_managers
            (self._folder / phase).mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                create=False,
                multiprocessing_options=_alone(),
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(self._keep), _Named(partial(self._also, phase))]
                ),
                # what a killed run left half-written
                cleanup_tmp_directories=True,
                # The next update donates the state's buffers, which on the CPU a
                # writer in the background may still be reading.
                enable_async_checkpointing=False,
            )
            manager = ocp.CheckpointManager(self._folder / phase, options=options)
            self._writers[phase] = manager
        return self._writers[phase]


@dataclass
class _Named:
    """An orbax policy: that checkpoints of these steps are preserved."""

    steps: Callable[[], Collection[int]]

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        named = self.steps()
        return [checkpoint.step in named for checkpoint in checkpoints]


def _disk_trouble(error: BaseException | None) -> str | None:
    """What the disk's error was, which tensorstore has as text only; else None."""
    while error is not None:
        if trouble := disk_trouble(error):
            return trouble
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            if (text := os.strerror(number)) in str(error):
                return text
        error = error.__cause__ or error.__context__
    return None


def _orbax() -> Any:
    """Orbax, imported late because it is slow, and told to keep silent: what goes
    wrong comes as an exception.
    """
    import absl.logging
    import orbax.checkpoint

    absl.logging.set_verbosity(absl.logging.FATAL)
    return orbax.checkpoint


def _alone() -> Any:
    """That orbax is to wait for no other process of a run: it is called by one."""
    me = jax.process_index()
    return _orbax().options.MultiprocessingOptions(
        primary_host=me, active_processes={me}
    )


def _read(
    folder: Path, subtree: str | None, expected: Any
) -> tuple[Any, dict[str, Any]]:
    """The stored state, or one field of it, and the extra dict: arrays placed like
    those of `expected`, which are compared before anything is read, or of NumPy.
    """
    where = f"checkpoint {folder}"
    _refuse_odd_files(folder)
    ocp, alone = _orbax(), _alone()
    handler = ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
        extra=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
    )
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            item = reader.metadata(folder).item_metadata[STATE].tree
            if subtree is not None and subtree not in item:
                raise mismatch(where, f"lacks {subtree}", 1)
            if expected is not None:
                stored = item if subtree is None else item[subtree]
                refuse_other(kinds(expected), kinds(stored), where)
                item = expected if subtree is None else {subtree: expected}
            elif subtree is not None:
                item = {subtree: item[subtree]}
            state = ocp.args.PyTreeRestore(
                item=item,
                restore_args=jax.tree.map(_how_to_read, item),
                partial_restore=True,
            )
            items = ocp.args.Composite(state=state, extra=ocp.args.JsonRestore())
            restored = reader.restore(folder, args=items)
        state, extra = restored[STATE], restored[EXTRA]
        if not isinstance(extra, dict):
            raise TypeError(f"{EXTRA} is no JSON object")
    except UserError:
        raise
    except _DAMAGE as error:
        reason = str(error).split("[tensorstore_spec", 1)[0]
        raise UserError(
            f"{where} can't be read, delete it to go on from an earlier one: "
            f"{' '.join(reason.split())[:300]}"
        ) from error
    refuse_newer(extra.pop("format", 0), where)
    state = state if subtree is None else state[subtree]
    if expected is not None:
        state = jax.tree.map(placed, state, expected)
    return state, extra


def _refuse_odd_files(folder: Path) -> None:
    """What reads a checkpoint would wait for a FIFO without end."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_file():
                raise UserError(f"checkpoint {folder}: {path} is not a file; remove it")


def _how_to_read(leaf: Any) -> Any:
    """As NumPy arrays, but keys, whose generator orbax knows."""
    ocp = _orbax()
    if is_key(leaf):
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return ocp.ArrayRestoreArgs(sharding=leaf.sharding or device)
    return ocp.RestoreArgs(restore_type=np.ndarray)


def _sync(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync_one(Path(parent, name))
        _sync_one(Path(parent))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SharedCheckpoints:
    """Checkpoints of a run on a mesh, which fit any number of devices: the first
    process writes and reads them, and all processes get them.

    As `Checkpoints`; every method has to be called in all processes.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._own = checkpoints

    def save(
        self, phase: str, step: int, state: Any, extra: Mapping[str, Any] | None = None
    ) -> None:
        state = jax.device_get(state)
        by_first(lambda: self._own.save(phase, step, state, extra))

    def latest(self, phase: str) -> int | None:
        return by_first(lambda: self._own.latest(phase))

    def has_weights(self, phase: str) -> bool:
        return by_first(lambda: self._own.has_weights(phase))

    def restore(
        self, phase: str, state: Any, subtree: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The last checkpoint, as arrays like those of `state`."""
        found = [jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)]

        def read() -> dict[str, Any]:
            found[0], extra = self._own.restore(phase, found[0], subtree=subtree)
            return extra

        extra = by_first(read)
        return shared(found[0]), extra

    def wait(self) -> None:
        by_first(self._own.wait)
