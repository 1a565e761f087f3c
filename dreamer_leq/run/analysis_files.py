"""Files of a run's analysis, and of which state of the run each of them is."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json, write_json

MODEL, VALUE, OFFLINE = (
    f"analysis/{name}.json" for name in ("model", "value", "offline")
)


def last_checkpoints(run: RunFolder) -> dict[str, int]:
    """The updates behind the last checkpoint of each phase that has one: what tells the
    state of a run from an earlier one.
    """
    latest = run.checkpoints(run.config.checkpoint.keep).latest
    found = (run.path / "checkpoints").glob("*")
    steps = {stem: latest(stem) for stem in {path.stem for path in found}}
    return {phase: step for phase, step in steps.items() if step is not None}


def is_outdated(run: RunFolder, name: str) -> bool:
    """Whether the file is missing, damaged, or of other checkpoints."""
    file = run.path / name
    if not file.exists():
        return True
    try:
        found = read_json(file)
    except UserError:
        return True
    stamp = found.get("checkpoints") if isinstance(found, dict) else None
    return stamp != last_checkpoints(run)


def write(run: RunFolder, name: str, found: Mapping[str, Any]) -> None:
    """Numbers, lists and arrays, with the checkpoints that they are of."""
    found = {**found, "checkpoints": last_checkpoints(run)}
    as_lists = lambda x: x.tolist() if isinstance(x, np.ndarray) else x  # noqa: E731
    write_json(run.path / name, jax.tree.map(as_lists, found))
