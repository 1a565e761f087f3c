"""A DreamerV3-style offline RL agent whose policy LEQ trains in imagination.

The names below are the library (docs/api.md); what lies in sub-packages may change.
Importing the package is cheap: it brings in neither JAX nor dm_control, so that
environment workers start fast. A name brings in what it needs when it is used first.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from dreamer_leq.system.errors import UserError

if TYPE_CHECKING:
    from dreamer_leq.api.datasets import open_dataset
    from dreamer_leq.api.environment import Environment, make_env
    from dreamer_leq.api.latents import Imagined, Latents
    from dreamer_leq.api.loaded_run import LoadedRun, load_run
    from dreamer_leq.commands.from_python import train_offline
    from dreamer_leq.envs.own import register_env
    from vd4rl_loader.errors import DataError
    from vd4rl_loader.simulators.workers import WorkerError
    from vd4rl_loader.writing import write_dataset

# Read when JAX is imported. Compiled programs that are loaded again make XLA complain,
# in pages, that this CPU lacks `prefer-no-gather`: a preference of its own, no feature
# of any CPU. What goes wrong for real comes as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "Environment",
    "Imagined",
    "Latents",
    "LoadedRun",
    "UserError",
    "WorkerError",
    "__version__",
    "load_run",
    "make_env",
    "open_dataset",
    "register_env",
    "train_offline",
    "write_dataset",
]

_HOMES = {
    "DataError": "vd4rl_loader.errors",
    "Environment": "dreamer_leq.api.environment",
    "Imagined": "dreamer_leq.api.latents",
    "Latents": "dreamer_leq.api.latents",
    "LoadedRun": "dreamer_leq.api.loaded_run",
    "WorkerError": "vd4rl_loader.simulators.workers",
    "load_run": "dreamer_leq.api.loaded_run",
    "make_env": "dreamer_leq.api.environment",
    "open_dataset": "dreamer_leq.api.datasets",
    "register_env": "dreamer_leq.envs.own",
    "train_offline": "dreamer_leq.commands.from_python",
    "write_dataset": "vd4rl_loader.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
