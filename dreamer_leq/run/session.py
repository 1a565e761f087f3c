"""What the phases of a run share: configuration, dataset, folder and session."""

import contextlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.config.checks import flatten, relevant
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.data.sampling import Source, named_key
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.devices import Devices
from dreamer_leq.system.processes import first
from dreamer_leq.training.loop import PhaseRun, Session
from dreamer_leq.training.metrics import MetricsLogger, NoMetrics


@dataclass
class Run:
    """One run while it trains."""

    config: Config
    dataset: AnyDataset
    facts: DataFacts
    folder: RunFolder
    session: Session
    log: Callable[[str], None]
    films: bool = True  # whether its episodes can be filmed here

    @property
    def devices(self) -> Devices:
        return self.session.devices

    @cached_property
    def reward(self) -> np.ndarray:
        """Of the dataset's entries, as `DataFacts.rewards` has them."""
        return self.facts.rewards(self.dataset)

    def key(self, name: str) -> jax.Array:
        return named_key(self.config.seed, name)

    def breaking_off(self, where: str) -> contextlib.AbstractContextManager[None]:
        """That a signal breaks off the body. Not where other processes wait for it."""
        if jax.process_count() > 1:
            return contextlib.nullcontext()
        return self.session.interrupts.breaking_off(where)

    def phase(
        self, name: str, phase: Any, source: Callable[[], Source], updates: int
    ) -> PhaseRun:
        """A phase under the random key of its name."""
        key = self.key(f"{name} updates")
        training = PhaseRun(self.session, name, phase, source, updates, key)
        is_model, section = name == "world_model", self.config.world_model_section
        training.section = section if is_model else name
        training.advice = _slower(self.config, training.section)
        return training


def _slower(config: Config, section: str) -> str:
    """How to lower the learning rate of a phase in another run, which takes over what
    this one has trained before it.
    """
    flat, prefix = flatten(config), f"{section}."
    names = [k for k in flat if k.startswith(prefix) and k.endswith("learning_rate")]
    words = [word for name in names for word in (f"--{name}", f"{flat[name] / 10:g}")]
    if section != config.world_model_section:
        words = ["--pretrained", str(config.folder), *words]
    words = ["--logdir", f"{config.folder}-slower", *words]
    return f"lower the learning rate: the same command with {shlex.join(words)}"


def open_logger(folder: RunFolder, config: Config) -> MetricsLogger | NoMetrics:
    """The metrics of a run. Weights & Biases gets its settings, too."""
    if not first():
        return NoMetrics()
    wandb = None
    if config.log.wandb:
        given = config.varying.items()
        varying = (f"{k}{','.join(map('{:g}'.format, v))}" for k, v in given)
        name = " ".join([config.task, config.algorithm, *varying, f"seed{config.seed}"])
        about = {"config": relevant(config), "group": config.task}
        wandb = {"project": "dreamer-leq", "name": name, **about}
    return MetricsLogger(folder.path, wandb)
