"""A collected dataset's recipe: all that its bytes depend on, and where they lie."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vd4rl_loader.collection import levels
from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import atomic, episode_name
from vd4rl_loader.files.untrusted import read_json
from vd4rl_loader.simulators.render import RenderStyle

HDF5_SIZE = 84  # V-D4RL's hdf5 shards have this image size
RECORD = "dataset.json"


@dataclass(frozen=True)
class Recipe:
    """One dataset, apart from its number of episodes.

    Attributes:
      task, level, seed, noise, policies: see `collect.collect`.
      render: how the .npz images are rendered; the hdf5 ones differ in size only.
      hdf5: whether the 84px format is written too.
      out: root of the dataset.
      action_repeat: control steps per action.

    Raises:
      DataError: the two formats would lie in one folder.
    """

    task: str
    level: str
    seed: int
    render: RenderStyle
    hdf5: bool
    noise: float | None
    policies: str | None
    out: str
    action_repeat: int = 2

    def __post_init__(self) -> None:
        if self.hdf5 and self.render.size == HDF5_SIZE:
            raise DataError(
                f"--hdf5 writes {HDF5_SIZE}px images: give the .npz another --size"
            )

    @property
    def behaviours(self) -> tuple[levels.Behaviour, ...]:
        """The level's behaviours: number i modulo their count plays episode i."""
        return levels.behaviours(self.task, self.level, self.policies, self.noise)

    @property
    def styles(self) -> dict[str, RenderStyle]:
        """The images' render style, for every suffix that is written."""
        styles = {".npz": self.render}
        if self.hdf5:
            styles[".hdf5"] = dataclasses.replace(self.render, size=HDF5_SIZE)
        return styles

    def folder(self, suffix: str) -> Path:
        """The folder of a suffix's files."""
        level = Path(self.out, "main", self.task, self.level)
        return level / f"{self.styles[suffix].size}px"

    def name(self, index: int) -> str:
        """An episode's file name, without length and suffix."""
        return episode_name(f"{self.task}/{self.level}/{self.seed}", index)

    def open_folders(self) -> None:
        """Makes the folders and puts the record into each.

        Raises:
          DataError: a folder holds a dataset of another recipe, or cannot be written.
        """
        for suffix, style in self.styles.items():
            path = self.folder(suffix) / RECORD
            try:
                _write_or_compare(path, self._record(style))
            except OSError as error:
                raise DataError(f"{path}: cannot write: {error}") from error

    def _record(self, style: RenderStyle) -> dict[str, Any]:
        return {
            "task": self.task,
            "level": self.level,
            "seed": self.seed,
            "action_repeat": self.action_repeat,
            # Entry t holds observation t, the action that led to it and its reward.
            "alignment": "arrival",
            "render": style.to_json(),
            "policies": self.policies or "bundled",
            "behaviours": [dataclasses.asdict(each) for each in self.behaviours],
        }


def _write_or_compare(path: Path, record: dict[str, Any]) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
        return
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object")
    differing = [key for key in record if found.get(key) != record[key]]
    if differing:
        raise DataError(
            f"{path.parent} already holds a dataset with another "
            f"{', '.join(differing)}: give another --out, or the same settings"
        )
