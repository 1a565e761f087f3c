"""A DreamerV3-style offline RL agent whose policy LEQ trains in imagination.

Importing the package is cheap: it brings in neither JAX nor dm_control, so that
environment workers start fast. Import what you need from its sub-packages.
"""

from dreamer_leq.errors import UserError

__version__ = "0.1.0"

__all__ = ["UserError", "__version__"]
