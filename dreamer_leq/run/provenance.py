"""Where a run comes from: what one needs to know to repeat it."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamer_leq.system.files import FORMAT

PACKAGES = (
    "dreamer-leq",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "mujoco",
    "dm-control",
)


def run_info(seed: int, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, source, machine, seed and data of a run, ready for JSON.

    It names neither user nor host, and no path but those in `dataset`.

    Args:
        seed: the run's seed.
        dataset: what to say of the dataset, such as its statistics.
    """
    import jax

    devices = jax.devices()
    return {
        "format": FORMAT,
        "seed": seed,
        "dataset": dict(dataset),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git_state(Path(__file__).parent),
        "devices": [device.device_kind for device in devices],
        "backend": jax.default_backend(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside git.

    A folder that merely lies inside somebody else's repository, as an installed
    package may, is outside.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
