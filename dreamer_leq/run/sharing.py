"""Writing a run as others get it, as `shared` describes it, from a run's folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_json, write_json

_COPIED = ("metrics.jsonl", "scores.json", "eval.json")
_FILMS = ("policy", "dream", "open_loop")
_MINARI = "minari:"  # begins what is no path


def write_files(run: RunFolder, target: Path) -> None:
    """Writes what a run's folder holds for others, but README.md and report.html.

    Raises UserError where the run is a grid, has no world model yet, or can't be read.
    """
    if members := run.members:
        raise UserError(
            f"{run.path} is a grid; give one of its runs: "
            + ", ".join(str(member.path) for member in members.values())
        )
    config, _ = run.config, run.facts  # which have to be there
    phase = config.algorithm if run.step is not None else run.policy_phase
    saved = {"world_model": (kind_of(config).saved, None)}
    saved |= {phase: ("params", run.step)} if phase else {}
    for name, (field, step) in saved.items():
        file = target / "checkpoints" / f"{name}.safetensors"
        run.checkpoints(1).write_weights(name, file, field, step)
    configs.save(public(config), target / "config.yaml")
    write_json(target / "info.json", _public_info(read_json(run.path / "info.json")))
    for name in _COPIED:
        if (file := run.path / name).is_file():
            shutil.copy2(file, target / name)
    films = [run.path / "replay.mp4", *map(run.video, _FILMS)]
    if film := next(filter(Path.is_file, films), None):
        shutil.copy2(film, target / "replay.mp4")


def public(config: Config) -> Config:
    """The configuration without the paths of this machine."""
    data = replace(config.data, path=_name(config.data.path), cache_dir="")
    return replace(config, logdir="", pretrained="", data=data)


def _public_info(info: dict[str, Any]) -> dict[str, Any]:
    dataset = info["dataset"]
    return info | {"dataset": dataset | {"path": _name(dataset["path"])}}


def _name(path: str) -> str:
    """The last part of a path."""
    return path if path.startswith(_MINARI) else Path(path).name
