"""The package ogbench, which is optional."""

from __future__ import annotations

import warnings
from types import ModuleType

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.opengl import load_suite


def load_ogbench() -> ModuleType:
    """gymnasium with OGBench's environments registered.

    Raises:
      DataError: the package is not installed.
    """
    load_suite()  # chooses what is rendered with
    # said at each episode's start
    warnings.filterwarnings("ignore", message=".*precision lowered by casting")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a screen that isn't there
            import ogbench  # noqa: F401  registers them
    except ImportError as error:
        raise DataError(
            "OGBench's environments need ogbench: pip install 'dreamer-leq[ogbench]'"
        ) from error
    import gymnasium

    return gymnasium
