"""Data of other projects, which `convert` brings into this one's formats.

A file per format: `recognise(path)` tells its files or folders, `holdings(path)` what
is in them, `actions(path)` gives the actions of all rows, `episodes(path, wanted,
notes)` what is wanted of every episode. Episodes are in the order of departure, with
one observation more than actions. `write(path, played, record)` writes two of them.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.layout import data_files
from vd4rl_loader.foreign import dreamerv3, lerobot, minari, robomimic

FORMATS: dict[str, ModuleType] = {
    "robomimic": robomimic,
    "dreamerv3": dreamerv3,
    "lerobot": lerobot,
    "minari": minari,
}
TITLES = {
    "robomimic": "robomimic's HDF5",
    "dreamerv3": "DreamerV3's replay",
    "lerobot": "LeRobot's dataset",
    "minari": "Minari's dataset",
}


def recognised(path: str | Path) -> str | None:
    """The format of a file or folder, a name of `FORMATS`; None if it is of no such.

    Raises:
      DataError: a folder holds several.
    """
    path = Path(path).expanduser()
    try:
        found = [name for name, format in FORMATS.items() if format.recognise(path)]
        files = data_files(path) if found and path.is_dir() else []
    except (DataError, OSError):
        return None  # whoever reads it will say what is wrong
    others = [file.name for file in files if not dreamerv3.is_chunk(file)]
    held = [*(TITLES[name] for name in found), *others]
    if len(held) > 1 and path.is_dir():
        raise DataError(
            f"{path}: holds {shown(' and '.join(held), 300)}: give the file or folder "
            "of one of them"
        )
    return next(iter(found), None)
