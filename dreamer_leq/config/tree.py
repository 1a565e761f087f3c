"""The tree of a run's configuration: names, types and what a value has to be.

No values here: they come from `configs.yaml`, whose comments explain every key.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


# Tests are written so that NaN fails them.
Count = Annotated[int, Rule("at least 1", lambda n: n >= 1)]
Natural = Annotated[int, Rule("0 or more", lambda n: n >= 0)]
Steps = Annotated[int, Rule("at least 2", lambda n: n >= 2)]
Bins = Annotated[int, Rule("odd and at least 3", lambda n: n >= 3 and n % 2 == 1)]
Counts = Annotated[
    tuple[int, ...],
    Rule("one or more numbers, each at least 1", lambda t: t and min(t) >= 1),
]
Positive = Annotated[float, Rule("above 0 and finite", lambda x: 0 < x < math.inf)]
Weight = Annotated[float, Rule("0 or more and finite", lambda x: 0 <= x < math.inf)]
Share = Annotated[float, Rule("from 0 to 1", lambda x: 0 <= x <= 1)]
Decay = Annotated[float, Rule("at least 0 and below 1", lambda x: 0 <= x < 1)]
Expectile = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Discount = Annotated[float, Rule("above 0 and at most 1", lambda x: 0 < x <= 1)]
TaskName = Annotated[
    str,
    Rule(
        "a domain_task-level such as walker_walk-medium_expert",
        re.compile(r"[a-z0-9]+(_[a-z0-9]+)+-[a-z0-9_]+").fullmatch,
    ),
]


@dataclass(frozen=True)
class Data:
    """The dataset, and where it is kept."""

    path: str
    skip_bad: bool
    image_size: Count
    placement: Literal["auto", "device", "host"]


@dataclass(frozen=True)
class Collect:
    """The dataset that is made when `data.path` is empty."""

    episodes: Count
    seed: Natural
    render: Literal["vd4rl", "fast"]
    noise: Weight


@dataclass(frozen=True)
class Optimizer:
    """LaProp with adaptive gradient clipping."""

    learning_rate: Positive
    warmup: Natural
    schedule: Literal["cosine", "constant"]
    agc: Positive
    beta1: Decay
    beta2: Decay
    eps: Positive


@dataclass(frozen=True)
class Latent:
    """The RSSM world model and its training."""

    deter: Count
    stoch: Count
    classes: Steps
    hidden: Count
    blocks: Count
    dynamics_layers: Count
    posterior_layers: Count
    prior_layers: Count
    members: Count
    unimix: Decay
    units: Count
    image: Literal["conv", "patch"]
    depth: Count
    mults: Counts
    kernel: Count
    vector_layers: Count
    reward_layers: Count
    cont_layers: Count
    bins: Bins
    free_nats: Weight
    image_scale: Weight
    vector_scale: Weight
    reward_scale: Weight
    cont_scale: Weight
    dyn_scale: Weight
    rep_scale: Weight
    remat: bool
    updates: Natural
    batch: Count
    length: Steps
    optimizer: Optimizer


@dataclass(frozen=True)
class Actor:
    """The policy."""

    layers: Count
    units: Count
    update: Literal["dpg", "reinforce"]
    entropy: Weight
    bc_weight: Weight
    min_std: Positive
    max_std: Positive


@dataclass(frozen=True)
class Critic:
    """The action value."""

    layers: Count
    units: Count
    bins: Bins
    ema_decay: Share
    ema_weight: Weight


@dataclass(frozen=True)
class BC:
    """Behaviour cloning before LEQ."""

    updates: Natural
    batch: Count
    critic: Literal["none", "monte_carlo"]
    optimizer: Optimizer


@dataclass(frozen=True)
class LEQ:
    """Lower expectile Q-learning in imagination."""

    updates: Natural
    batch: Count
    horizon: Count
    tau: Expectile
    gamma: Discount
    lam: Share
    beta: Share
    data_tau: Expectile
    return_norm: bool
    return_norm_decay: Decay
    optimizer: Optimizer


@dataclass(frozen=True)
class Eval:
    """Episodes in the real environment."""

    episodes: Count
    every: Natural
    workers: Natural
    seed: Natural


@dataclass(frozen=True)
class Video:
    """Imagined videos."""

    sequences: Count
    length: Steps
    context: Count


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoints of the training state."""

    every: Count
    keep: Count


@dataclass(frozen=True)
class Log:
    """Metrics."""

    every: Count
    wandb: bool


@dataclass(frozen=True)
class Config:
    """A whole run. `configs.yaml` explains every key."""

    task: TaskName
    logdir: str
    seed: Natural
    world_model: Literal["latent"]
    precision: Literal["auto", "float32", "bfloat16"]
    data: Data
    collect: Collect
    latent: Latent
    actor: Actor
    critic: Critic
    bc: BC
    leq: LEQ
    eval: Eval
    video: Video
    checkpoint: Checkpoint
    log: Log

    @property
    def environment(self) -> str:
        """The dm_control task of the dataset, such as "walker_walk"."""
        return self.task.partition("-")[0]

    @property
    def level(self) -> str:
        """The level of the dataset, such as "medium_expert"."""
        return self.task.partition("-")[2]

    @property
    def folder(self) -> Path:
        """The run's folder: `logdir`, or runs/<task>/seed<seed> where that is empty."""
        return Path(self.logdir or f"runs/{self.task}/seed{self.seed}")
