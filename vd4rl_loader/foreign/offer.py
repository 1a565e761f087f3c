"""What is in another project's data, and the command that converts it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.validation import BadFileError
from vd4rl_loader.foreign import FORMATS, TITLES
from vd4rl_loader.foreign.reading import Holdings

_LARGE = 128  # pixels of a side, more than world models here are trained with


def offer(path: str | Path, format: str) -> dict[str, Any]:
    """What a file or folder holds, JSON-able.

    Args:
      path: the file or folder.
      format: its format, of `FORMATS`.

    Returns:
      format, images (by name, height and width), vectors (by name, numbers), rewards
      (whether there are), missing (files that aren't there), convert (a command for
      images and one for vectors, if there are).

    Raises:
      DataError: it cannot be read.
    """
    path = Path(path).expanduser()
    try:
        holdings = FORMATS[format].holdings(path)
    except BadFileError as error:
        raise DataError(f"{path}: {error}") from error
    stored = holdings.observations
    return {
        "format": TITLES[format],
        "images": {name: list(holdings.size(name)) for name in holdings.images()},
        "vectors": {
            name: int(np.prod(stored[name].shape[1:])) for name in holdings.vectors()
        },
        "rewards": holdings.rewards,
        "missing": list(holdings.missing),
        **holdings.about,
        "convert": _commands(path, holdings),
    }


def rows(held: dict[str, Any]) -> dict[str, str]:
    """The same for a person."""
    images = (f"{name} {h}×{w}" for name, (h, w) in held["images"].items())
    vectors = (f"{name} {size}" for name, size in held["vectors"].items())
    lost = held["missing"]
    texts = {
        "format": held["format"],
        "images": ", ".join(images),
        "vectors": ", ".join(vectors),
        "rewards": "" if held["rewards"] else "none: see convert --reward",
        "missing": f"{len(lost):,} of its files: {', '.join(lost)}" if lost else "",
    }
    return {name: shown(text, 300) for name, text in texts.items() if text}


def _commands(path: Path, holdings: Holdings) -> list[str]:
    name = f"{path.resolve().stem}-converted"
    reward = [] if holdings.rewards else ["--reward", "last"]
    images, commands = holdings.images(), []
    if images:
        height, width = holdings.size(images[0])
        key = ["--image-key", images[0]] if len(images) > 1 else []
        crop = ["--crop"] if height != width else []
        size = ["--size", "64"] if min(height, width) > _LARGE else []
        commands.append([name, *key, *crop, *size, *reward])
    if holdings.vectors():
        commands.append([f"{name}.hdf5", *reward])
    start = ["python", "-m", "vd4rl_loader", "convert", str(path)]
    return [shlex.join([*start, *words]) for words in commands]
