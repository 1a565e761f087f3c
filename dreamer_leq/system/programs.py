"""How the user of this process starts the commands."""

import sys
from pathlib import Path
from typing import Literal

_SCRIPTS = {"train": "train_offline.py", "eval": "eval.py"}


def program(name: Literal["train", "eval"]) -> list[str]:
    """The first words of a command line: the script beside the one that runs, the
    package's own, or the command that an installation brings.
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return ["python", "-m", "dreamer_leq", name]
    if started.name in _SCRIPTS.values():
        return ["python", str(started.with_name(_SCRIPTS[name]))]
    return [f"dreamer-leq-{name}"]
