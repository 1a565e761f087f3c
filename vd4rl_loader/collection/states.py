"""Which function collects a suite's datasets of state vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vd4rl_loader.collection.gymnasium import collect_gymnasium
from vd4rl_loader.collection.pointmaze import collect_pointmaze


def collect_states(suite: str, options: Mapping[str, Any]) -> Path:
    """Collects one file of state vectors.

    Args:
      suite: "gymnasium" or "pointmaze".
      options: as from `suites.complete`; a maze is called its task.

    Returns:
      The file.

    Raises:
      DataError, WorkerError: as the collecting functions.
    """
    if suite == "gymnasium":
        return collect_gymnasium(**options)
    options = dict(options)
    return collect_pointmaze(maze=options.pop("task"), **options)
