"""Fetches D4RL's and NeoRL's published files."""

from __future__ import annotations

import http.client
import shutil
import urllib.request
from pathlib import Path
from typing import BinaryIO

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import atomic
from vd4rl_loader.states import published

_TIMEOUT = 60  # seconds without an answer


def download_states(task: str, out: str | Path, suite: str | None = None) -> Path:
    """Downloads one dataset's file; one that is there already is not fetched again.

    Args:
      task: such as "hopper-medium-replay", "antmaze-large-diverse" or "Hopper-low".
      out: folder to write to, under the published name.
      suite: "d4rl" or "neorl"; by default the one with such a task.

    Returns:
      The file.

    Raises:
      DataError: there is no such dataset, the server cannot be reached, or the file
        cannot be written.
    """
    url = published.url(task, suite)
    path = Path(out).expanduser() / url.rpartition("/")[2]
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary, temporary.open("wb") as file:
            _copy(url, file, path.name)
    except (OSError, http.client.HTTPException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: downloading {url} failed ({reason}): try again"
        ) from error
    return path


def _copy(url: str, file: BinaryIO, title: str) -> None:
    from rich.console import Console
    from rich.progress import wrap_file

    # Made anew each time: it reads the environment's proxies only once.
    opener = urllib.request.build_opener()
    with opener.open(url, timeout=_TIMEOUT) as answer:
        length = int(answer.headers.get("Content-Length") or 0)
        with wrap_file(
            answer, length, description=title, console=Console(stderr=True)
        ) as shown:
            shutil.copyfileobj(shown, file, 1 << 20)
        if length and file.tell() != length:
            raise OSError(f"{file.tell():,} of {length:,} bytes arrived")
