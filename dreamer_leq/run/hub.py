"""Runs on the Hugging Face hub: hf://USER/NAME, or hf://USER/NAME@REVISION.

Nobody vouches for what is there. Only the files that loading a run reads are fetched,
into the cache of the hub's own client, after their names and sizes have been looked at.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_leq.config.values import HUB, RUN_WORDS
from dreamer_leq.run.shared import LARGEST, WEIGHTS
from dreamer_leq.system.errors import UserError
from vd4rl_loader.files.untrusted import Stored, refuse_size
from vd4rl_loader.files.validation import BadFileError

SCHEME = "hf://"
_WANTED = re.compile(r"config\.yaml|info\.json|checkpoints/[a-z0-9_]+\.safetensors")
_SAFE = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[^/\\\0-\x1f][^\\\0-\x1f]*")
_MOST_FILES = 64  # that are fetched: a run has one for each phase


def fetched(address: str) -> Path:
    """The run's folder in the cache of the hub's client, where what loading reads now
    lies. Without a network it is what was fetched before.

    Raises UserError: there is no such run, or it can't be fetched; says why.
    """
    found = HUB.fullmatch(address)
    if not found:
        raise UserError(f"{address[:200]!r} is not {RUN_WORDS}")
    name, revision = found.groups()
    api, troubles = _client()
    try:
        about = api.repo_info(name, revision=revision, files_metadata=True)
    except troubles as error:
        return _fetched_before(api, name, revision, address, error)
    sizes = {file.rfilename: file.size or 0 for file in about.siblings or ()}
    wanted = _vetted(sizes, address)
    try:
        # of _WANTED, and so without wildcards
        found = api.snapshot_download(name, revision=revision, allow_patterns=wanted)
    except troubles as error:
        raise UserError(f"{address}: can't be fetched ({_reason(error)})") from error
    return Path(found)


def upload(folder: Path, name: str) -> str:
    """Puts a folder on the hub as the repository `name`, USER/NAME, which is made where
    there is none; returns its address for a browser.

    Raises UserError: the hub refuses, or can't be reached.
    """
    api, troubles = _client()
    try:
        api.create_repo(name, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message="Share a run of dreamer-leq",
            delete_patterns=WEIGHTS,  # of another run that was there before
        )
    except troubles as error:
        raise UserError(
            f"sharing {SCHEME}{name} failed ({_reason(error)}): it takes a network "
            "and `hf auth login`, which says who you are; the same command tries again"
        ) from error
    return f"{api.endpoint}/{name}"


def _client() -> tuple[Any, tuple[type[Exception], ...]]:
    """The hub's client, and what it raises."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import HTTPError  # of the client library it uses
    except ImportError:
        raise UserError(
            "the hub needs huggingface_hub: pip install 'dreamer-leq[share]'"
        ) from None
    return huggingface_hub.HfApi(), (OSError, HTTPError, ValueError)


def _vetted(sizes: Mapping[str, int], address: str) -> list[str]:
    """The names of the files to fetch, of those that a repository says it has, with
    their bytes.
    """
    for name in sizes:
        if not _SAFE.fullmatch(name):
            raise UserError(f"{address}: {name[:100]!r} is no name of a shared file")
    wanted = sorted(filter(_WANTED.fullmatch, sizes))
    if missing := [name for name in LARGEST if name not in wanted]:
        raise UserError(f"{address} is no shared run: it has no {missing[0]}")
    if len(wanted) > _MOST_FILES:
        raise UserError(f"{address} has {len(wanted)} files of weights")
    for name, most in LARGEST.items():
        if sizes[name] > most:
            raise UserError(
                f"{address}: {name} has {sizes[name]:,} bytes, more than {most:,}"
            )
    try:
        refuse_size(Stored(np.dtype("u1"), (sizes[name],)) for name in wanted)
    except BadFileError as error:
        raise UserError(f"{address}: {error}") from None
    return wanted


def _fetched_before(
    api: Any, name: str, revision: str | None, address: str, why: Exception
) -> Path:
    where = dict(revision=revision, local_files_only=True)
    where["allow_patterns"] = [*LARGEST, WEIGHTS]
    try:
        return Path(api.snapshot_download(name, **where))
    except (OSError, ValueError):
        raise UserError(f"{address}: can't be fetched ({_reason(why)})") from why


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
