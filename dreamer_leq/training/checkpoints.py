"""Checkpoints of training phases, written by orbax: complete, or not there.

A checkpoint holds a state (a pytree of arrays) and a JSON dict beside it, in
`folder/<phase>/<step>/`. Nothing in it is pickled. Orbax writes to a temporary
folder and renames it, so whatever kills the process leaves complete checkpoints.
"""

import contextlib
import errno
import gc
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.format_version import FORMAT, refuse_newer
from vd4rl_loader.errors import disk_trouble

STATE, EXTRA = "state", "extra"

# The way to a leaf: names of fields and keys, positions in tuples and lists.
_STEP = re.compile("0|[1-9][0-9]{0,17}")  # as orbax names a folder

LeafPath = tuple[str, ...]


# What orbax raises for damaged files.
_DAMAGE = (
    *(OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError),
    *(AssertionError, ArithmeticError, MemoryError),
)


class Checkpoints:
    """The checkpoints of a run: for each phase the last `keep`.

    Reading needs no `close`, and changes nothing in the folder, so that a run can
    be evaluated while it is training.
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        # orbax wants absolute paths
        self._folder = Path(folder).absolute()
        self._keep = keep
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
            state=ocp.args.PyTreeSave(jax.tree.map(_without_key_type, state)),
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
        folder = self._folder / phase / str(step)
        stored, extra = _read(folder, subtree, abstract_state)
        refuse_newer(extra.pop("format", 0), f"checkpoint {folder}")
        if abstract_state is None:
            return stored, extra
        return _fill(abstract_state, stored, f"checkpoint {folder}"), extra

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
            (self._folder / phase).mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                create=False,
                multiprocessing_options=_alone(),
                preservation_policy=ocp.checkpoint_managers.LatestN(self._keep),
                # what a killed run left half-written
                cleanup_tmp_directories=True,
                # The next update donates the state's buffers, which on the CPU a
                # writer in the background may still be reading.
                enable_async_checkpointing=False,
            )
            manager = ocp.CheckpointManager(self._folder / phase, options=options)
            self._writers[phase] = manager
        return self._writers[phase]


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
    """The stored state, or one field of it, as NumPy arrays, and the extra dict.

    Where `expected` is not None, nothing is read that declares to be another.
    """
    _refuse_odd_files(folder)
    ocp, alone = _orbax(), _alone()
    handler = ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
        extra=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
    )
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            tree = reader.metadata(folder).item_metadata[STATE].tree
            if subtree is not None:
                if subtree not in tree:
                    raise _mismatch(f"checkpoint {folder}", f"lacks {subtree}", 1)
                tree = {subtree: tree[subtree]}
            if expected is not None:
                declared = tree if subtree is None else tree[subtree]
                _compare(expected, dict(_leaves(declared)), f"checkpoint {folder}")
            as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
            state = ocp.args.PyTreeRestore(
                item=tree,
                restore_args=jax.tree.map(lambda _: as_numpy, tree),
                partial_restore=True,
            )
            items = ocp.args.Composite(state=state, extra=ocp.args.JsonRestore())
            restored = reader.restore(folder, args=items)
    except UserError:
        raise
    except _DAMAGE as error:
        reason = str(error).split("[tensorstore_spec", 1)[0]
        raise UserError(
            f"checkpoint {folder} can't be read, delete it to go on from an earlier "
            f"one: {' '.join(reason.split())[:300]}"
        ) from error
    state = restored[STATE] if subtree is None else restored[STATE][subtree]
    if not isinstance(restored[EXTRA], dict):
        raise UserError(
            f"checkpoint {folder} can't be read, delete it to go on from an earlier "
            f"one: {EXTRA} is no JSON object"
        )
    return state, restored[EXTRA]


def _refuse_odd_files(folder: Path) -> None:
    """What reads a checkpoint would wait for a FIFO without end."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_file():
                raise UserError(f"checkpoint {folder}: {path} is not a file; remove it")


def _fill(abstract_state: Any, stored: Any, where: str) -> Any:
    """The stored arrays in the structure of `abstract_state`, leaf by leaf."""
    found = dict(_leaves(stored))
    _compare(abstract_state, found, where)
    wanted, structure = jax.tree.flatten(abstract_state)
    paths = [path for path, _ in _leaves(abstract_state)]
    filled = [
        _place(found[path], leaf) for path, leaf in zip(paths, wanted, strict=True)
    ]
    return jax.tree.unflatten(structure, filled)


def _compare(abstract_state: Any, found: dict[LeafPath, Any], where: str) -> None:
    """Raises UserError where the stored leaves, or what they are declared to be, are
    not those of `abstract_state`.
    """
    wanted = jax.tree.leaves(abstract_state)
    paths = [path for path, _ in _leaves(abstract_state)]
    if missing := [path for path in paths if path not in found]:
        raise _mismatch(where, f"lacks {'.'.join(missing[0])}", len(missing))
    if surplus := sorted(set(found) - set(paths)):
        name = ".".join(surplus[0])
        raise _mismatch(where, f"has {name}, which the model lacks", len(surplus))
    differing = [
        f"has {'.'.join(path)} {_kind(found[path])}, the model {_kind(leaf)}"
        for path, leaf in zip(paths, wanted, strict=True)
        if _kind(found[path]) != _kind(leaf)
    ]
    if differing:
        raise _mismatch(where, differing[0], len(differing))


def _leaves(tree: Any) -> Iterator[tuple[LeafPath, Any]]:
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield tuple(jax.tree_util.keystr((key,), simple=True) for key in path), leaf


def _mismatch(where: str, what: str, count: int) -> UserError:
    more = f" ({count - 1} more like it)" if count > 1 else ""
    return UserError(
        f"{where} is of another model: it {what}{more}; "
        "use the configuration it was trained with"
    )


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _without_key_type(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _kind(leaf: Any) -> str:
    """Shape and dtype as they are stored: 'float32[3, 4]'."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _place(array: np.ndarray, like: Any) -> jax.Array:
    """The array on the device, or the devices, where `like` is to be.

    Where nobody has chosen one, nor is it chosen here: an array that is bound to a
    device, even the only one, is another type to `jax.jit`, and compiled for again.
    """
    chosen = getattr(like, "committed", True)
    placed = jax.device_put(array, getattr(like, "sharding", None) if chosen else None)
    if _is_key(like):
        return jax.random.wrap_key_data(placed, impl=_key_impl(like))
    return placed


def _key_impl(key: Any) -> Any:
    """The generator of a typed key, of which only shape and dtype need be known."""
    found = []
    # jax.random.key_impl takes tracers, but no ShapeDtypeStruct
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
    return found[0]


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
