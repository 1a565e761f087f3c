"""The configuration of a run: a typed tree, filled from configs.yaml and the flags.

Every value comes from `configs.yaml`: its `defaults`, then the presets of `--configs`
in order, then flags such as `--leq.tau 0.3`. The comments there are the texts of
`--help`.
"""

from dreamer_leq.config.checks import difference
from dreamer_leq.config.command import command
from dreamer_leq.config.files import CONFIGS, from_presets, read, save
from dreamer_leq.config.flags import load
from dreamer_leq.config.learners import (
    BC,
    DEFAULT,
    FQE,
    LEQ,
    Optimizer,
    Section,
    register,
    sections,
)
from dreamer_leq.config.tree import (
    Actor,
    Analysis,
    Checkpoint,
    Collect,
    Config,
    Critic,
    Data,
    Ensemble,
    Eval,
    Expansion,
    Latent,
    Log,
    Video,
)

__all__ = [
    "BC",
    "CONFIGS",
    "DEFAULT",
    "FQE",
    "LEQ",
    "Actor",
    "Analysis",
    "Checkpoint",
    "Collect",
    "Config",
    "Critic",
    "Data",
    "Ensemble",
    "Eval",
    "Expansion",
    "Latent",
    "Log",
    "Optimizer",
    "Section",
    "Video",
    "command",
    "difference",
    "from_presets",
    "load",
    "read",
    "register",
    "save",
    "sections",
]
