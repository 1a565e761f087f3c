"""Opens a dataset of state vectors, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.layout import checked, data_files
from vd4rl_loader.files.untrusted import Hdf5File, NpzFile
from vd4rl_loader.files.validation import BadFileError
from vd4rl_loader.states import d4rl, minari_data, neorl
from vd4rl_loader.states.dataset import StateDataset
from vd4rl_loader.states.published import is_version_of, published_task, tasks
from vd4rl_loader.states.transitions import Transitions, to_dataset

_MINARI = "minari:"
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK"  # first bytes of the files
_VALIDATION = "-val-"  # in the names of NeoRL's files that are not for training


def open_states(
    path: str | Path, task: str | None = None, log: Callable[[str], None] = print
) -> StateDataset:
    """Opens a dataset of state vectors; its content decides on the format.

    Args:
      path: a .hdf5 file of D4RL's layout, a .npz file of NeoRL's, a folder with such
        files, or "minari:DATASET_ID" of a dataset on this machine.
      task: which file of a folder with several, by its published name: such as
        "hopper-medium-replay", "antmaze-large-diverse-v2" or "Hopper-low".
      log: receives a line for the user about what was left out.

    Raises:
      DataError: there is no such dataset, or it is unusable.
    """
    if str(path).startswith(_MINARI):
        return _open_minari(str(path), log)
    file = _find_file(checked(path), task)
    try:
        format, rows = _read(file)
        dataset = to_dataset(rows, format, file.stat().st_size)
    except BadFileError as error:
        raise DataError(f"{file}: {error}") from error
    _report(file.name, dataset, rows.notes, log)
    return dataset


def is_state_data(path: str | Path) -> bool:
    """Whether `open_states` is the one to open this, by content or published name."""
    if str(path).startswith(_MINARI):
        return True
    path = checked(path)
    files = data_files(path) if path.is_dir() else [path]
    return any(published_task(file.name) or _has_states(file) for file in files[:1])


def _open_minari(name: str, log: Callable[[str], None]) -> StateDataset:
    try:
        rows, source_bytes = minari_data.read(name.removeprefix(_MINARI))
        dataset = to_dataset(rows, "minari", source_bytes)
    except BadFileError as error:
        raise DataError(f"{name}: {error}") from error
    _report(name, dataset, rows.notes, log)
    return dataset


def _find_file(path: Path, task: str | None) -> Path:
    if path.is_file():
        return _refuse_other_task(path, task)
    files = data_files(path)
    if not files:
        raise DataError(f"{path}: no .npz or .hdf5 files in it")
    if task:
        published = {published_task(file.name): file for file in files}
        # In the order of the table, so that of two versions the usual one is taken.
        for name in tasks():
            if name in published and is_version_of(name, task):
                return published[name]
    train = [file for file in files if _VALIDATION not in file.name]
    if len(train) == 1:
        return _refuse_other_task(train[0], task)
    names = shown(", ".join(file.name for file in files), 300)
    wanted = f"none of its files is published as {task!r}" if task else "several files"
    raise DataError(f"{path}: {wanted}; give one of them: {names}")


def _refuse_other_task(file: Path, task: str | None) -> Path:
    held = published_task(file.name)
    if task and held and not is_version_of(held, task):
        raise DataError(
            f"{file}: is published as {held!r}, not {task!r}; give that task, or "
            f"another file"
        )
    return file


def _read(file: Path) -> tuple[str, Transitions]:
    signature = _signature(file)
    if signature == _HDF5:
        return "d4rl", d4rl.read(file)
    if signature.startswith(_ZIP):
        return "neorl", neorl.read(file)
    raise BadFileError("neither a HDF5 file (D4RL) nor a .npz file (NeoRL)")


def _signature(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_HDF5))
    except OSError as error:
        raise BadFileError(f"cannot be read ({error.strerror})") from error


def _has_states(file: Path) -> bool:
    try:
        signature = _signature(file)
        if signature == _HDF5:
            with Hdf5File.opened(file) as opened:
                return opened.has("observations")
        if signature.startswith(_ZIP):
            with NpzFile.opened(file) as opened:
                return "obs" in opened.names()
    except BadFileError:
        pass
    return False


def _report(
    name: str, dataset: StateDataset, notes: Sequence[str], log: Callable[[str], None]
) -> None:
    steps = len(dataset.reward) - len(dataset.offsets) + 1
    counts = f"{steps:,} transitions in {len(dataset.offsets) - 1:,} episodes"
    log(f"{name}: {'; '.join([counts, *notes])}")
