"""A run for others: on the Hugging Face hub, or in a folder that can be copied."""

import html
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dreamer_leq.config.values import HUB
from dreamer_leq.pages import card
from dreamer_leq.pages.report.page import FILE, page
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.run import hub
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.sharing import write_files
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing_folder
from vd4rl_loader.errors import disk_trouble
from vd4rl_loader.paths import expanded, is_path

_SHOWN = ("analysis", "videos")  # what else the report reads of a run's folder


def share(run: RunFolder, target: str, log: Callable[[str], None]) -> None:
    """Puts a run on the hub as USER/NAME, or into a new folder, whose path begins with
    "./", "../", "/" or "~"; says where it is and how it is loaded.

    Raises UserError, before anything is written where that can be told.
    """
    name = _repository(target)
    if name is None:
        folder = _new_folder(target)
        try:
            with replacing_folder(folder) as temporary:
                _write(run, temporary, folder.name, card.PLACE)
        except OSError as error:
            raise UserError(f"{folder}: {disk_trouble(error) or error}") from error
        return log(f'wrote {folder}: dl.load_run("{folder}") loads it')
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, name.replace("/", "--"))
        folder.mkdir()
        _write(run, folder, name, f"{hub.SCHEME}{name}")
        where = hub.upload(folder, name)
    log(f'shared as {where}: dl.load_run("{hub.SCHEME}{name}") loads it')


def _repository(target: str) -> str | None:
    """USER/NAME, or None for a folder."""
    if re.match(r"\.{0,2}/|~|\.{1,2}$", target):
        return None
    address = target if target.startswith(hub.SCHEME) else f"{hub.SCHEME}{target}"
    found = HUB.fullmatch(address)
    if not found or found[2]:
        raise UserError(
            f"--share {target[:200]}: give USER/NAME of the hub, or a new folder that "
            "begins with ./, such as ./shared-run"
        )
    if address != target and Path(target).exists():
        raise UserError(
            f"--share {target}: there is such a folder here: give ./NAME for a new "
            f"folder, or {address} for the hub"
        )
    return found[1]


def _new_folder(target: str) -> Path:
    folder = Path(os.path.abspath(expanded(target)))
    if not is_path(target) or (folder.exists() and not _is_empty(folder)):
        raise UserError(
            f"--share {target[:200]}: there is something; give a new folder"
        )
    return folder


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _write(run: RunFolder, folder: Path, name: str, address: str) -> None:
    """The whole content of a shared folder; `name` is what its report calls it."""
    write_files(run, folder)
    text = card.card(RunFiles(folder), address)
    (folder / card.FILE).write_text(text, encoding="utf-8")
    (folder / FILE).write_text(_report(run, folder, name), encoding="utf-8")


def _report(run: RunFolder, folder: Path, name: str) -> str:
    """The page of what is shared, with the run's analysis and films, without a path."""
    with tempfile.TemporaryDirectory() as place:
        without = shutil.ignore_patterns("checkpoints")
        shutil.copytree(folder, place, ignore=without, dirs_exist_ok=True)
        for part in filter(lambda part: (run.path / part).is_dir(), _SHOWN):
            shutil.copytree(run.path / part, Path(place, part))
        text = page(RunFiles(Path(place)))
    for path in {place, html.escape(place)}:
        text = text.replace(path, html.escape(name))
    return text
