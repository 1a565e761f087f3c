"""Data of other projects, which `convert` brings into this one's formats.

A file per format: `recognise(path)` tells its files or folders, `holdings(path)` what
is in them, `actions(path)` gives the actions of all rows, `episodes(path, wanted,
notes)` what is wanted of every episode. Episodes are in the order of departure, with
one observation more than actions. `write(path, played, record)` writes two of them.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from vd4rl_loader.errors import DataError
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
    """The format of a file or folder, a name of `FORMATS`; None if it is of no such."""
    path = Path(path).expanduser()
    try:
        return next((name for name, f in FORMATS.items() if f.recognise(path)), None)
    except (DataError, OSError):
        return None  # whoever reads it will say what is wrong
