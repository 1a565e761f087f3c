"""The line for an engine whose packages are not installed."""

import importlib
from types import ModuleType

from dreamer_leq.system.errors import UserError


def needed(module: str, engine: str, extra: str) -> ModuleType:
    """An engine's module. Raises UserError, with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"--engine {engine} needs {module}, which is not installed: "
            f"pip install 'dreamer-leq[{extra}]', or -e '.[{extra}]' in a checkout"
        ) from None
