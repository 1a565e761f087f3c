"""Turns .npz episodes into .hdf5 shards and back, and brings other projects' data."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vd4rl_loader.errors import DataError
from vd4rl_loader.files import formats
from vd4rl_loader.files.episode import Episode
from vd4rl_loader.files.episode_files import episode_name, new_folder, write_episode
from vd4rl_loader.files.layout import ALIGNMENT_HELP, Source, find_source
from vd4rl_loader.files.validation import BadFileError, Findings
from vd4rl_loader.foreign import (
    FORMATS,
    TITLES,
    lerobot_writing,
    minari,
    own,
    recognised,
)
from vd4rl_loader.foreign.bringing import Counted, Options, bring
from vd4rl_loader.foreign.reading import REWARDS
from vd4rl_loader.foreign.scaling import BOUNDS
from vd4rl_loader.paths import path_argument
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.render import MAX_SIZE, RenderStyle
from vd4rl_loader.simulators.suite import known, usual_camera
from vd4rl_loader.states import is_state_data
from vd4rl_loader.writing import write_played

_WRITERS = {"lerobot": lerobot_writing.write, "minari": minari.write}
_OTHER = {".npz": ".hdf5", ".hdf5": ".npz"}


def convert(
    src: str | Path,
    dst: str | Path,
    size: int | None = None,
    skip_bad: bool = False,
    log: Callable[[str], None] = print,
    alignment: str = "auto",
) -> int:
    """Writes the dataset in `src` in the other format; `dst` appears whole or not.

    Args:
      src: a folder of .npz or .hdf5 files, the level's folder above it, or one file.
      dst: a new or empty folder, for one file per episode.
      size: size of the written images, in pixels; by default that of the read ones.
      skip_bad: leave out unusable files and episodes, and say how many.
      log: receives lines for the user.
      alignment: order of what is read, as `open_dataset` takes it; arrival is written.

    Returns:
      The number of episodes written.

    Raises:
      DataError: `src` is unusable or `dst` is not empty.
    """
    _refuse_size(size)
    source, dst = (
        find_source(src, None, None, size or 64, alignment),
        Path(dst).expanduser(),
    )
    if source.ogbench:
        raise DataError(f"{src}: its rewards are a task's: give the command --task")
    findings = Findings()
    with new_folder(dst) as temporary:
        written = _write_all(source, temporary, size, findings)
        formats.refuse_bad(source, findings, skip_bad)
        if not written:
            formats.refuse_empty(source, findings)
    for note in findings.notes:
        log(note)
    return written


def _refuse_size(size: int | None) -> None:
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise DataError(f"size is {size}: give 1 to {MAX_SIZE}")


def _write_all(
    source: Source, folder: Path, size: int | None, findings: Findings
) -> int:
    written = source_size = 0
    if formats.vector_size(source):
        raise DataError(
            f"{source.folder}: has vectors beside its images, which .hdf5 has no place "
            "for: leave it as .npz"
        )
    for episode in formats.read_episodes(source, 1, findings):
        source_size = episode.image.shape[1]
        name = episode_name(f"{source.task}/{source.level}", written)
        fields = _fields(episode, size or source_size)
        write_episode(folder, name, _OTHER[source.suffix], fields)
        written += 1
    record = _record(source, source_size, size or source_size)
    if written and record:
        text = json.dumps(record, indent=2) + "\n"
        (folder / "dataset.json").write_text(text)
    return written


def _fields(episode: Episode, size: int) -> dict[str, Any]:
    return {
        "image": resize_images(episode.image, size),
        "action": episode.action,
        "reward": episode.reward,
        "discount": episode.discount,
        **episode.flags(),
    }


def _record(source: Source, source_size: int, size: int) -> dict[str, Any]:
    """The record for the written files: resized images keep their render style, where
    they can be dm_control's.
    """
    arrival = {"alignment": "arrival"}
    own = source.task is not None and not known(source.task)
    if source.record or own or size == source_size:
        return source.record and {**source.record, **arrival}
    render = RenderStyle("vd4rl", source_size, usual_camera(source.task))
    return {**arrival, "render": render.to_json()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `convert`."""
    parser.add_argument(
        "src",
        type=path_argument,
        help="folder of .npz or .hdf5 files, one file, or another project's data",
    )
    parser.add_argument(
        "dst",
        type=path_argument,
        help="new folder for files of the other format, or for images of another "
        "project; a new file that ends in .hdf5 for its state vectors; or "
        "minari:DATASET_ID",
    )
    parser.add_argument("--size", type=int, help="resize images to SIZE pixels")
    parser.add_argument(
        "--skip-bad", action="store_true", help="go on without what is unusable"
    )
    parser.add_argument("--alignment", default="auto", help=ALIGNMENT_HELP)
    others = parser.add_argument_group("data of other projects")
    others.add_argument(
        "--from",
        dest="format",
        choices=FORMATS,
        help="their format (default: what they look like)",
    )
    others.add_argument(
        "--to",
        choices=_WRITERS,
        help="write their format: lerobot to the folder DST (minari: that is clear)",
    )
    others.add_argument(
        "--task", help="of OGBench: whose rewards (default: the data's default task's)"
    )
    others.add_argument("--image-key", help="which images, where there are several")
    others.add_argument(
        "--vector-keys",
        nargs="*",
        metavar="KEY",
        help="of which numbers vectors are made, alone or beside images; without any "
        "KEY: none (default: of all that were observed, in the order of their names)",
    )
    others.add_argument(
        "--crop",
        action="store_true",
        help="take the middle of images, to make a square",
    )
    for name in ("low", "high"):
        others.add_argument(
            f"--action-{name}",
            nargs="+",
            type=float,
            metavar="NUMBER",
            help=f"what becomes {'-1' if name == 'low' else '1'} of an action: one "
            "number, or one for each (default: the action space's, or what occurs)",
        )
    others.add_argument(
        "--reward",
        choices=REWARDS,
        help="in place of their rewards: 1 for the last action of an episode, 1 where "
        "they say success, or 0",
    )
    others.add_argument(
        "--end-is-terminal",
        action="store_true",
        help="the task ended where an episode does (default: where they say so)",
    )


def run(args: argparse.Namespace) -> None:
    """Runs the command `convert`."""
    _refuse_size(args.size)
    format = args.format or recognised(args.src)
    to = args.to or ("minari" if minari.is_id(args.dst) else None)
    if to == "minari":
        minari.new_folder(args.dst)  # before anything long
    written = _bring(args, format, to) if format else _from_own(args, to)
    print(f"wrote {written} episodes to {args.dst}")


def _from_own(args: argparse.Namespace, to: str | None) -> int:
    """From this project's formats into each other, or into another project's."""
    plain = {"size", "skip_bad"}
    for name in (f.name for f in dataclasses.fields(Options) if f.name not in plain):
        if getattr(args, name) in (None, False):
            continue
        option = f"--{name.replace('_', '-')}"
        if minari.is_id(args.src):
            raise DataError(
                f"{option}: {args.src} is read as it is: to convert it all the same, "
                "add --from minari"
            )
        raise DataError(
            f"{option}: is for data of other projects, but {args.src} does not look "
            f"like {', '.join(TITLES.values())}"
        )
    states = is_state_data(args.src)
    ogbench = not states and own.is_ogbench(args.src, args.task)
    if args.task and not (states or ogbench):
        raise DataError(f"--task: {args.src} isn't OGBench's, leave it out")
    if not (to or states or ogbench):
        return convert(
            args.src, args.dst, args.size, args.skip_bad, alignment=args.alignment
        )
    if states and (args.size or args.alignment != "auto"):
        raise DataError(
            f"{args.src}: holds state vectors, leave out --size and --alignment"
        )
    if states:
        played = own.state_episodes(args.src, args.task, args.skip_bad, print)
    elif ogbench:
        played = own.ogbench_episodes(
            args.src, args.task, args.size, args.skip_bad, print
        )
    else:
        played = own.image_episodes(
            args.src, args.size, args.skip_bad, args.alignment, print
        )
    written, facts = Counted(played), own.facts(args.src, args.task)
    if to:
        try:
            _WRITERS[to](args.dst, iter(written), facts)
        except BadFileError as error:
            raise DataError(f"{args.src}: {error}") from error
        if facts.keys() >= set(BOUNDS):
            print("actions scaled back to action_low and action_high of the data")
    else:
        write_played(Path(args.dst), iter(written), {"source": facts})
    return written.count


def _bring(args: argparse.Namespace, format: str, to: str | None) -> int:
    if args.alignment != "auto":
        raise DataError(f"--alignment: {TITLES[format]} has one order, leave it out")
    if args.task:
        raise DataError(f"--task: {TITLES[format]} says its own, leave it out")
    named = {field.name for field in dataclasses.fields(Options)}
    options = Options(**{name: getattr(args, name) for name in named})
    return bring(args.src, args.dst, format, options, _WRITERS.get(to))
