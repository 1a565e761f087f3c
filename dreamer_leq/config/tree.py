"""The tree of a run's configuration: names, types and what a value has to be.

No values here: they come from `configs.yaml`, whose comments explain every key.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from dreamer_leq.config import mesh, tasks
from vd4rl_loader.simulators.render import MAX_SIZE


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


LARGEST = 2**31 - 1  # JAX counts in 32 bits
MAX_EPISODES = 10_000  # of an evaluation: each has an environment of its own
_MAX_LAYERS = 100  # each is compiled
_MAX_NAME = 255  # bytes of a file's name


def is_path(text: str) -> bool:
    """Whether a file system takes such a path, and a terminal shows it."""
    names = text.split("/")
    return text.isprintable() and all(len(n.encode()) <= _MAX_NAME for n in names)


# Tests are written so that NaN fails them.
Count = Annotated[int, Rule("at least 1, below 2^31", lambda n: 1 <= n <= LARGEST)]
Natural = Annotated[int, Rule("0 or more, below 2^31", lambda n: 0 <= n <= LARGEST)]
Steps = Annotated[int, Rule("at least 2, below 2^31", lambda n: 2 <= n <= LARGEST)]
Layers = Annotated[
    int, Rule(f"from 1 to {_MAX_LAYERS}", lambda n: 1 <= n <= _MAX_LAYERS)
]
Bins = Annotated[
    int,
    Rule("odd, at least 3, below 2^31", lambda n: 3 <= n <= LARGEST and n % 2 == 1),
]
Counts = Annotated[
    tuple[int, ...],
    Rule(
        "one or more numbers, each at least 1",
        lambda t: 1 <= len(t) <= _MAX_LAYERS and 1 <= min(t) <= max(t) <= LARGEST,
    ),
]
Played = Annotated[  # an interval takes two
    int,
    Rule(f"0, or 2 to {MAX_EPISODES}", lambda n: n == 0 or 2 <= n <= MAX_EPISODES),
]
Episodes = Annotated[
    int, Rule(f"from 1 to {MAX_EPISODES}", lambda n: 1 <= n <= MAX_EPISODES)
]
Seeds = Annotated[int, Rule("from 1 to 1000", lambda n: 1 <= n <= 1000)]
Pixels = Annotated[int, Rule(f"from 1 to {MAX_SIZE}", lambda n: 1 <= n <= MAX_SIZE)]
PathText = Annotated[str, Rule("a path of printable characters", is_path)]
Positive = Annotated[float, Rule("above 0 and finite", lambda x: 0 < x < math.inf)]
Weight = Annotated[float, Rule("0 or more and finite", lambda x: 0 <= x < math.inf)]
Share = Annotated[float, Rule("from 0 to 1", lambda x: 0 <= x <= 1)]
Decay = Annotated[float, Rule("at least 0 and below 1", lambda x: 0 <= x < 1)]
OpenShare = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Expectile = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Expectiles = Annotated[
    tuple[float, ...],
    Rule(
        "one or more different numbers, each above 0 and below 1",
        lambda t: t and all(0 < x < 1 for x in t) and len(set(t)) == len(t),
    ),
]
Discount = Annotated[float, Rule("above 0 and at most 1", lambda x: 0 < x <= 1)]
Lambda = Annotated[
    float, Rule("from 0 to 1, or inf", lambda x: 0 <= x <= 1 or x == math.inf)
]
TaskName = Annotated[str, Rule(tasks.WORDS, tasks.is_task)]
Mesh = Annotated[str, Rule(mesh.WORDS, mesh.is_mesh)]


@dataclass(frozen=True)
class Data:
    """The dataset, and where it is kept."""

    path: PathText
    skip_bad: bool
    cache_dir: PathText
    image_size: Pixels
    placement: Literal["auto", "device", "host"]


@dataclass(frozen=True)
class Collect:
    """The dataset that is made when `data.path` is empty."""

    episodes: Count
    seed: Natural
    render: Literal["vd4rl", "fast"]
    noise: Weight
    steps: Count


@dataclass(frozen=True)
class Optimizer:
    """A phase's optimiser."""

    kind: Literal["laprop", "adam"]
    learning_rate: Positive
    warmup: Natural
    schedule: Literal["cosine", "constant"]
    agc: Weight
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
    dynamics_layers: Layers
    posterior_layers: Layers
    prior_layers: Layers
    members: Count
    unimix: Decay
    units: Count
    image: Literal["conv", "patch"]
    depth: Count
    mults: Counts
    kernel: Count
    vector_layers: Layers
    reward_layers: Layers
    cont_layers: Layers
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
class Ensemble:
    """The MLP ensemble on state vectors and its training."""

    members: Count
    elites: Count
    frequencies: Natural
    layers: Layers
    units: Count
    batch: Count
    learning_rate: Positive
    logvar_weight: Weight
    holdout: Count
    holdout_share: OpenShare
    improvement: Decay
    patience: Count
    epochs: Count
    termination: Literal["analytic", "learned"]
    region: Literal["leq", "cbop"]
    reward: Literal["region", "model"]


@dataclass(frozen=True)
class Actor:
    """The policy."""

    network: Literal["dreamer", "mlp"]
    layers: Layers
    units: Count
    layer_norm: bool
    update: Literal["dpg", "reinforce", "q", "awr"]
    conservative: bool
    awr_temperature: Weight
    stochastic: bool
    entropy: Weight
    bc_weight: Weight
    min_std: Positive
    max_std: Positive


@dataclass(frozen=True)
class Critic:
    """The action value."""

    network: Literal["dreamer", "mlp"]
    layers: Layers
    units: Count
    layer_norm: bool
    output: Literal["two_hot", "scalar"]
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
class FQE:
    """Fitted Q evaluation of the cloned policy, before LEQ."""

    updates: Natural
    batch: Count
    optimizer: Optimizer


@dataclass(frozen=True)
class Expansion:
    """The dataset's states and those of noisy rollouts, from which LEQ imagines."""

    interval: Natural
    starts: Count
    length: Count
    noise: Weight
    retain: Count


@dataclass(frozen=True)
class LEQ:
    """Lower expectile Q-learning in imagination."""

    updates: Natural
    batch: Count
    horizon: Count
    tau: Expectiles
    gamma: Discount
    lam: Lambda
    beta: Share
    data_tau: Expectile
    return_norm: bool
    return_norm_decay: Decay
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class Eval:
    """Episodes in the real environment."""

    episodes: Episodes
    every: Natural
    workers: Natural
    seed: Natural


@dataclass(frozen=True)
class Analysis:
    """What a run's report measures of its world model and its values."""

    sequences: Natural
    horizon: Count
    episodes: Played
    states: Count
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
    logdir: PathText
    seed: Natural
    seeds: Seeds
    pretrained: PathText
    world_model: Literal["latent", "mlp_ensemble"]
    precision: Literal["auto", "float32", "bfloat16"]
    mesh: Mesh
    data: Data
    collect: Collect
    latent: Latent
    ensemble: Ensemble
    actor: Actor
    critic: Critic
    bc: BC
    fqe: FQE
    expansion: Expansion
    leq: LEQ
    eval: Eval
    analysis: Analysis
    video: Video
    checkpoint: Checkpoint
    log: Log

    @property
    def about(self) -> tasks.Task:
        """What the task's name says."""
        return tasks.parse(self.task)

    @property
    def mesh_axes(self) -> dict[str, int]:
        """The devices along each axis of the mesh; {} without one."""
        return mesh.axes(self.mesh)

    @property
    def folder(self) -> Path:
        """The run's folder: `logdir`, or runs/<task>/seed<seed> where that is empty."""
        return Path(self.logdir or f"runs/{self.task}/seed{self.seed}")

    @property
    def members(self) -> dict[str, "Config"]:
        """The runs of a grid of expectiles and seeds by the names of their folders, as
        if each were trained alone; empty where the configuration is that of one run.
        """
        seeds = range(self.seed, self.seed + self.seeds)
        pairs = [(tau, seed) for tau in self.leq.tau for seed in seeds]
        if len(pairs) == 1:
            return {}
        return {
            (name := f"tau{tau:g}-seed{seed}"): replace(
                self,
                seed=seed,
                seeds=1,
                leq=replace(self.leq, tau=(tau,)),
                logdir=str(self.folder / name),
                pretrained=str(self.folder),
            )
            for tau, seed in pairs
        }
