"""The tree of a run's configuration: names, types and what a value has to be.

No values here: they come from `configs.yaml`, whose comments explain every key.
"""

import dataclasses
import functools
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from dreamer_leq.config import learners, mesh, tasks
from dreamer_leq.config.learners import Optimizer
from dreamer_leq.config.values import (
    Bins,
    Count,
    Counts,
    Decay,
    Episodes,
    Layers,
    Natural,
    OpenShare,
    PathText,
    Pixels,
    Played,
    Positive,
    Rule,
    RunText,
    Seeds,
    Share,
    Steps,
    Weight,
)

TaskName = Annotated[str, Rule(tasks.OWN_WORDS, tasks.is_name)]
EnvName = Annotated[str, Rule(tasks.ENV_WORDS, tasks.is_env)]
Mesh = Annotated[str, Rule(mesh.WORDS, mesh.is_mesh)]


@dataclass(frozen=True)
class Data:
    """The dataset, and where it is kept."""

    path: PathText
    skip_bad: bool
    observations: Literal["auto", "image", "vector"]
    alignment: Literal["auto", "arrival", "departure"]
    rewards: Literal["auto", "raw"]
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
class Chunks:
    """The model of chunks of actions on state vectors and its training."""

    steps: Count
    layers: Layers
    units: Count
    updates: Natural
    batch: Count
    learning_rate: Positive


@dataclass(frozen=True)
class Vectors:
    """State vectors without a world model."""

    standardize: bool


@dataclass(frozen=True)
class Frames:
    """Stacked frames and their encoder, without a world model."""

    stack: Count
    shift: Natural
    image: Literal["drq", "patch"]
    depth: Count
    mults: Counts
    features: Natural
    projection: Natural


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
    bc_weighting: Literal["even", "disagreement"]
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
class Encoding:
    """The RSSM's latents that policies learn from and act on."""

    samples: Count
    act_on: Literal["sample", "mode"]


@dataclass(frozen=True)
class Expansion:
    """The dataset's states and those of noisy rollouts, from which LEQ imagines."""

    interval: Natural
    starts: Count
    length: Count
    noise: Weight
    retain: Count


@dataclass(frozen=True)
class Eval:
    """Episodes in the real environment."""

    episodes: Episodes
    every: Natural
    workers: Natural
    seed: Natural
    time_limit: Natural


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
    keep_best: bool


@dataclass(frozen=True)
class Log:
    """Metrics."""

    every: Count
    wandb: bool


_ALGORITHM = Rule("an algorithm", learners.is_algorithm, learners.sections)
AlgorithmName = Annotated[str, _ALGORITHM]


@dataclass(frozen=True)
class WorldModelKind:
    """What the package has to know of a kind of world model, without JAX.

    Attributes:
      section: that says how it is built and trained.
      title: its name in sentences.
      pixels: whether it sees images.
      vectors: whether it sees state vectors.
      imagines: whether there is a model to imagine in.
      own_rewards: whether it learns rewards as the run's algorithm sees them, and not
        as the data have them.
      chunks: whether a step of its imagination is several of the agent's.
    """

    section: str
    title: str
    pixels: bool = False
    vectors: bool = True
    imagines: bool = True
    own_rewards: bool = False
    chunks: bool = False


WORLD_MODELS = {
    "latent": WorldModelKind("latent", "RSSM", pixels=True, own_rewards=True),
    "mlp_ensemble": WorldModelKind("ensemble", "ensemble of MLPs"),
    "chunks": WorldModelKind(
        "chunks", "model of action chunks", own_rewards=True, chunks=True
    ),
    "vectors": WorldModelKind("vectors", "state vectors", imagines=False),
    "frames": WorldModelKind(
        "frames", "stacked frames", pixels=True, vectors=False, imagines=False
    ),
}


@dataclass(frozen=True)
class Config:
    """A whole run. `configs.yaml` explains every key.

    What every run has. `config_class` adds the section of each algorithm, under its
    name: `config.leq`.
    """

    task: TaskName
    env: EnvName
    algorithm: AlgorithmName
    logdir: PathText
    seed: Natural
    seeds: Seeds
    pretrained: RunText
    world_model: Literal["latent", "mlp_ensemble", "chunks", "vectors", "frames"]
    precision: Literal["auto", "float32", "bfloat16"]
    mesh: Mesh
    data: Data
    collect: Collect
    latent: Latent
    ensemble: Ensemble
    chunks: Chunks
    vectors: Vectors
    frames: Frames
    actor: Actor
    critic: Critic
    encoding: Encoding
    expansion: Expansion
    eval: Eval
    analysis: Analysis
    video: Video
    checkpoint: Checkpoint
    log: Log

    @property
    def about(self) -> tasks.Task:
        """What the task's name says, or what is known of one of the user's own."""
        if tasks.is_task(self.task) and not self.env:
            return tasks.parse(self.task)
        images = self.data.observations == "image" or (
            self.data.observations == "auto" and WORLD_MODELS[self.world_model].pixels
        )
        return tasks.own(self.env, self.eval.time_limit, images)

    @property
    def mesh_axes(self) -> dict[str, int]:
        """The devices along each axis of the mesh; {} without one."""
        return mesh.axes(self.mesh)

    @property
    def folder(self) -> Path:
        """The run's folder: `logdir`, or runs/<task>/seed<seed> where that is empty; of
        another algorithm than LEQ runs/<task>/<algorithm>/seed<seed>.
        """
        if self.logdir:
            return Path(self.logdir)
        own = [] if self.algorithm == learners.DEFAULT else [self.algorithm]
        return Path("runs", self.task, *own, f"seed{self.seed}")

    @property
    def own(self) -> Any:
        """The section of the run's algorithm."""
        return getattr(self, self.algorithm)

    @property
    def gamma(self) -> float:
        """Discount per agent step, that of the run's algorithm."""
        return self.own.gamma

    @property
    def world_model_section(self) -> str:
        """The section of the run's world model."""
        return WORLD_MODELS[self.world_model].section

    @property
    def imagines(self) -> bool:
        """Whether the run has a model to imagine in."""
        return WORLD_MODELS[self.world_model].imagines

    @property
    def imagines_steps(self) -> bool:
        """Whether it has one that imagines the agent's steps one by one."""
        return self.imagines and not WORLD_MODELS[self.world_model].chunks

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of the run in their order: the world model, what the algorithm
        needs before it, and the algorithm.
        """
        return ("world_model", *self.own.after, self.algorithm)

    @property
    def learns_policy(self) -> bool:
        """Whether there is more to train than the world model."""
        return any(getattr(self, name).updates for name in self.phases[1:])

    @property
    def varying(self) -> dict[str, tuple[Any, ...]]:
        """The values of the keys of the algorithm that a grid varies, by their names in
        its section; one value each in a run that is no grid.
        """
        values = {name: getattr(self.own, name) for name in self.own.varies}
        return {k: v if isinstance(v, tuple) else (v,) for k, v in values.items()}

    @property
    def coefficients(self) -> dict[str, Any]:
        """A single run's values of the keys in `varying`."""
        return {name: value for name, (value,) in self.varying.items()}

    @property
    def members(self) -> dict[str, "Config"]:
        """The runs of a grid of the algorithm's keys and seeds by the names of their
        folders, as if each were trained alone; empty where the configuration is that of
        one run.
        """
        names, values = self.varying.keys(), itertools.product(*self.varying.values())
        seeds = range(self.seed, self.seed + self.seeds)
        pairs = list(itertools.product(values, seeds))
        return (
            {}
            if len(pairs) == 1
            else dict(
                self._member(dict(zip(names, given, strict=True)), seed)
                for given, seed in pairs
            )
        )

    def _member(self, given: dict[str, Any], seed: int) -> tuple[str, "Config"]:
        name = "-".join([*(f"{k}{v:g}" for k, v in given.items()), f"seed{seed}"])
        own = {self.algorithm: replace(self.own, **given)}
        folders = dict(logdir=str(self.folder / name), pretrained=str(self.folder))
        return name, replace(self, seed=seed, seeds=1, **folders, **own)


def config_class() -> type[Config]:
    """`Config` with the section of every algorithm that is known by now."""
    return _with_sections(tuple(learners.sections().items()))


@functools.cache
def _with_sections(sections: tuple[tuple[str, type], ...]) -> type[Config]:
    return dataclasses.make_dataclass("Config", sections, bases=(Config,), frozen=True)
