"""A run as others get it: its networks without what training needs, and no path of the
machine that it was trained on.

README.md          the hub's model card
config.yaml        as in any run's folder, and so are info.json, metrics.jsonl,
                   scores.json and eval.json
checkpoints/       a .safetensors file for the world model, and one for the policy
replay.mp4         the policy in its environment, or what the world model imagines
report.html        all of it on one page
"""

import os
from pathlib import Path

from dreamer_leq.system.errors import UserError

WEIGHTS = "checkpoints/*.safetensors"
LARGEST = {"config.yaml": 1 << 20, "info.json": 1 << 24}  # bytes


def is_shared(path: Path) -> bool:
    """Whether what others have trained lies in a run's folder."""
    return any(path.glob(WEIGHTS))


def has_policy(path: Path) -> bool:
    """Whether a policy that others have trained does."""
    return any(file.stem != "world_model" for file in path.glob(WEIGHTS))


def vet(path: Path) -> None:
    """Refuses a shared run whose files lead out of its folder, and texts that nobody
    could have meant. What weights declare is compared when they are read.

    Raises UserError.
    """
    # the hub's client keeps files beside its folders, and links to them
    homes = path.resolve(), path.absolute().parent.parent.resolve() / "blobs"
    for file in (*(path / name for name in LARGEST), *path.glob(WEIGHTS)):
        where = Path(os.path.realpath(file))  # which no circle of links stops
        if not any(where.is_relative_to(home) for home in homes):
            raise UserError(
                f"{file}: leads out of the folder; a shared run has no links"
            )
        if not file.exists():
            continue
        size, most = file.stat().st_size, LARGEST.get(file.name)
        if most and size > most:
            raise UserError(f"{file}: has {size:,} bytes, more than {most:,}")
