"""Fetches V-D4RL from the Hugging Face hub, D4RL, NeoRL, OGBench from their servers."""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.layout import SUFFIXES
from vd4rl_loader.paths import path_argument
from vd4rl_loader.states import published

REPOSITORY = "conglu/vd4rl"


def download(
    task: str, level: str, out: str | Path, size: int = 64, suite: str = "main"
) -> Path:
    """Downloads one dataset; files that are there already are not fetched again.

    Args:
      task: such as "walker_walk".
      level: such as "medium_expert", or "expert/easy" in `distracting`.
      out: root, below which the hub's own folders are made.
      size: 64 for .npz files, 84 for .hdf5 ones, in pixels.
      suite: "main", "distracting" or "multitask".

    Returns:
      The folder of the files.

    Raises:
      DataError: huggingface_hub is missing, the hub cannot be reached, or it has no
        such dataset.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HTTPError  # of the client library it uses
    except ImportError as error:
        raise DataError(
            "downloading needs huggingface_hub: pip install 'dreamer-leq[download]'"
        ) from error
    try:
        files = huggingface_hub.HfApi().list_repo_files(REPOSITORY, repo_type="dataset")
        folder = _folder(files, suite, task, level, size)
        huggingface_hub.snapshot_download(
            REPOSITORY,
            repo_type="dataset",
            allow_patterns=[f"{folder}/*"],
            local_dir=out,
        )
    except (OSError, HTTPError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"downloading {REPOSITORY} failed ({reason}): try again, what has arrived "
            f"is kept"
        ) from error
    return Path(out, folder)


def _folder(files: list[str], suite: str, task: str, level: str, size: int) -> str:
    """The repository's folder with a dataset's files."""
    offered = set()
    for file in map(PurePosixPath, files):
        if file.suffix not in SUFFIXES or suite not in file.parts:
            continue
        below = file.parent.parts[file.parts.index(suite) + 1 :]
        dataset = [part for part in below if part != f"{size}px"]
        if len(dataset) == len(below) - 1:
            if dataset == [task, *level.split("/")]:
                return str(file.parent)
            offered.add("/".join(dataset))
    choices = ", ".join(sorted(offered)) or "nothing"
    raise DataError(
        f"{REPOSITORY} has no {suite}/{task}/{level} of {size} pixels, only {choices}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `download`."""
    parser.add_argument(
        "--task",
        required=True,
        help="such as walker_walk, hopper-medium-replay (d4rl), Hopper-low (neorl), "
        "cube-single-play-singletask-v0 (ogbench)",
    )
    parser.add_argument("--level", help="V-D4RL's, such as medium_expert")
    parser.add_argument(
        "--size", type=int, default=64, help="V-D4RL's, 64 (npz) or 84 (hdf5)"
    )
    parser.add_argument(
        "--suite",
        default="main",
        help="V-D4RL's main, distracting, multitask; or d4rl, neorl, ogbench for state "
        "vectors",
    )
    about = "root of datasets to write to"
    parser.add_argument("--out", required=True, type=path_argument, help=about)


def run(args: argparse.Namespace) -> None:
    """Runs the command `download`."""
    if args.suite in published.URLS:
        print(published.download_states(args.task, args.out, args.suite))
        return
    if args.level is None:
        raise DataError("--level is missing: give V-D4RL's, such as medium_expert")
    folder = download(args.task, args.level, args.out, args.size, args.suite)
    print(folder)
