"""Shows what is in a dataset: a table, a histogram of returns, a contact sheet."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vd4rl_loader.dataset import Dataset, DatasetSpec, open_dataset
from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.episode_files import atomic
from vd4rl_loader.files.layout import ALIGNMENT_HELP
from vd4rl_loader.foreign import TITLES, recognised
from vd4rl_loader.foreign.offer import offer, rows
from vd4rl_loader.paths import path_argument
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.suite import EPISODE_STEPS, known
from vd4rl_loader.states import StateDataset, is_state_data, open_states

_BARS = " ▁▂▃▄▅▆▇█"
_SHEET_ROWS, _SHEET_COLUMNS = 8, 10
_LABEL_WIDTH, _GAP = 72, 2
_LONGEST = 300  # characters of what a file says of itself
_FORMATS = {
    "d4rl": "D4RL",
    "neorl": "NeoRL",
    "ogbench": "OGBench",
    "minari": "Minari",
}


def histogram(values: np.ndarray, bins: int = 20) -> str:
    """One character per bin from the least to the greatest of `values` [E].

    An empty bin is a space; any other one has a bar, the fullest the tallest.
    """
    low, span = values.min(), np.ptp(values)
    # Between neighbouring large numbers NumPy finds no room for bins.
    counts, _ = np.histogram((values - low) / (span or 1), bins)
    heights = np.ceil(counts / counts.max() * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[height] for height in heights)


def contact_sheet(dataset: Dataset) -> np.ndarray:
    """Frames of episodes from the worst to the best, labelled with their returns.

    Returns:
      uint8 [h, w, 3]: up to 8 episodes below each other, 10 frames of each, from the
      first to the last.
    """
    returns = dataset.returns()
    picked = np.linspace(0, len(returns) - 1, min(_SHEET_ROWS, len(returns)))
    episodes = np.argsort(returns, kind="stable")[picked.round().astype(int)]
    strips = []
    for episode in episodes:
        first, stop = dataset.offsets[episode : episode + 2]
        rows = np.linspace(first, stop - 1, _SHEET_COLUMNS).round().astype(int)
        label = _label(f"{returns[episode]:.1f}", dataset.image.shape[1])
        strips.append(np.hstack([label, *map(_framed, dataset.image[rows])]))
    return np.vstack(strips)


def _framed(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((0, _GAP), (_GAP, 0), (0, 0)))


def _label(text: str, height: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_LABEL_WIDTH, height + _GAP))
    draw = ImageDraw.Draw(image)
    draw.text((_LABEL_WIDTH - 4, height // 2), text, fill="white", anchor="rm")
    return np.asarray(image)


def summarize(dataset: Dataset | StateDataset) -> dict[str, Any]:
    """The dataset's spec and statistics, JSON-able."""
    return {**dataclasses.asdict(dataset.spec), **dataset.statistics()}


def table(dataset: Dataset | StateDataset, name: str | None = None) -> Table:
    """The summary for a person, under the title `name`."""
    shown = Table(title=name and escape(name), show_header=False)
    kind_rows = _state_rows if isinstance(dataset, StateDataset) else _pixel_rows
    for key, text in {**_rows(dataset), **kind_rows(dataset)}.items():
        shown.add_row(key, escape(text))
    return shown


def _rows(dataset: Dataset | StateDataset) -> dict[str, str]:
    numbers = dataset.statistics()
    low, high = numbers["length_min"], numbers["length_max"]
    return {
        "episodes": f"{numbers['episodes']:,}",
        "entries per episode": f"{low}" if low == high else f"{low} to {high}",
        "steps": f"{numbers['steps']:,}",
        "return": " / ".join(
            f"{numbers[f'return_{key}']:.1f}" for key in ("min", "mean", "max")
        )
        + " (min / mean / max)",
        "returns": f"[{histogram(dataset.returns())}]",
        "actions": f"{dataset.spec.action_size} numbers, "
        f"{numbers['action_min']:.3f} to {numbers['action_max']:.3f}",
        "terminals": f"{numbers['terminals']:,}",
        "size on disk": _megabytes(numbers["source_bytes"]),
        "size as arrays": _megabytes(numbers["bytes"]),
    }


def _pixel_rows(dataset: Dataset) -> dict[str, str]:
    spec = dataset.spec
    size, read_as = spec.source_image_size, spec.image_size
    images = f"{size}×{size} RGB" + ("" if size == read_as else f", read as {read_as}")
    found = {"images": images}
    if spec.vector_size:
        found["vectors"] = f"{spec.vector_size} numbers"
    if spec.source.get("format") == "ogbench":
        return {**found, "rendered": "by OGBench's environment"}
    if spec.source:
        found["from"] = _origin(spec.source)
    if spec.render:
        found["rendered"] = _describe(spec.render) + _guess(spec, "render")
    if spec.action_repeat:
        repeat = f"{spec.action_repeat} control steps per action"
        found["action repeat"] = repeat + _guess(spec, "action_repeat")
    if known(spec.task):
        found["time limit"] = f"{EPISODE_STEPS:,} control steps"
    return found


def _origin(source: Mapping[str, Any]) -> str:
    """What data were converted from."""
    told = dict(source)
    format, fps = told.pop("format", None), told.pop("fps", None)
    parts = [TITLES.get(format, format)] if format else []
    parts += [f"{name} {value}" for name, value in told.items()]
    parts += [f"{fps:g} frames per second"] if fps else []
    return shown(", ".join(parts), _LONGEST)


def _guess(spec: DatasetSpec, field: str) -> str:
    return " (guessed)" if field in spec.guessed else ""


def _state_rows(dataset: StateDataset) -> dict[str, str]:
    return {
        "states": f"{dataset.spec.vector_size} numbers",
        "format": _FORMATS[dataset.spec.format],
    }


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _describe(render: RenderStyle) -> str:
    effects = {
        f"shadows {render.shadows}": render.shadows,
        "reflections": render.reflections,
        f"anti-aliasing {render.antialias}": render.antialias,
    }
    on = ", ".join(text for text, there in effects.items() if there) or "no effects"
    return f"{render.name}: {render.size} px, camera {render.camera}, {on}"


def _save_sheet(path: Path, dataset: Dataset) -> None:
    from PIL import Image

    try:
        with atomic(path) as temporary:
            Image.fromarray(contact_sheet(dataset)).save(temporary, format="PNG")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command `info`."""
    parser.add_argument(
        "path",
        type=path_argument,
        help="root, level's folder, one file, or minari:DATASET_ID",
    )
    parser.add_argument(
        "--task", help="which task of a root, such as walker_walk or hopper-medium"
    )
    parser.add_argument("--level", help="which level of a root, such as medium_expert")
    parser.add_argument("--contact-sheet", type=Path, help="PNG of frames to write")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument(
        "--skip-bad", action="store_true", help="go on without what is unusable"
    )
    parser.add_argument("--alignment", default="auto", help=ALIGNMENT_HELP)


def run(args: argparse.Namespace) -> None:
    """Runs the command `info`."""
    if format := recognised(args.path):
        _show_offer(args, format)
        return
    if is_state_data(args.path):
        path = Path(args.path)
        dataset, name = _open_states(args), path.name if path.exists() else args.path
    else:
        dataset = _open_pixels(args)
        name = "/".join(filter(None, (dataset.spec.task, dataset.spec.level)))
    if args.contact_sheet:
        _save_sheet(args.contact_sheet, dataset)
    if args.json:
        print(json.dumps(summarize(dataset), indent=2))
    else:
        Console().print(table(dataset, name or None))


def _show_offer(args: argparse.Namespace, format: str) -> None:
    """Another project's data: what it is, and the commands that convert it."""
    held = offer(args.path, format)
    if args.json:
        print(json.dumps(held, indent=2))
        return
    shown = Table(title=escape(Path(args.path).name), show_header=False)
    for key, text in rows(held).items():
        shown.add_row(key, escape(text))
    Console().print(shown)
    print("converted by:", *held["convert"], sep="\n  ")


def _open_states(args: argparse.Namespace) -> StateDataset:
    for option in ("contact_sheet", "level", "alignment"):
        if getattr(args, option) not in (None, "auto"):
            raise DataError(
                f"{args.path}: holds state vectors, leave out "
                f"--{option.replace('_', '-')}, which is for datasets of images"
            )
    return open_states(args.path, args.task, args.skip_bad, log=_to_stderr)


def _open_pixels(args: argparse.Namespace) -> Dataset:
    return open_dataset(
        args.path,
        args.task,
        args.level,
        min_length=2,
        skip_bad=args.skip_bad,
        log=_to_stderr,
        alignment=args.alignment,
    )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
