"""Algorithms: each learns a policy from a dataset, most of them in imagination.

An algorithm is one file here (`Learner`), one class in `config.learners` (its section)
and one section of configs.yaml; it is found by its name (docs/algorithms.md).
"""

import importlib
from typing import TYPE_CHECKING

from dreamer_leq.config import sections

if TYPE_CHECKING:
    from dreamer_leq.algorithms.learner import Learner


def learner_class(name: str) -> "type[Learner]":
    """The learner of an algorithm that `config.sections` knows."""
    module, _, kind = sections()[name].learner.partition(":")
    return getattr(importlib.import_module(module), kind)
