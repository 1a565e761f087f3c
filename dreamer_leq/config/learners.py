"""The algorithms' sections of the configuration, and the register of algorithms.

An algorithm is a learner (`dreamer_leq.algorithms`) and a section of configs.yaml under
its name. The section's class says what the rest of the package has to know of it, so
that nothing else names an algorithm. No JAX here: commands start fast.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from dreamer_leq.config.values import (
    Count,
    Decay,
    Discount,
    Expectile,
    Lambda,
    Layers,
    Natural,
    Number,
    OpenShare,
    Positive,
    Share,
    SomeShare,
    Steps,
    Weight,
    several,
)

DEFAULT = "leq"


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
class Section:
    """What every algorithm's section has.

    Class attributes:
      learner: where its `algorithms.learner.Learner` is, as "module:class".
      title: its name in sentences.
      after: the algorithms whose phases come before its own, and give it networks.
      varies: keys that a grid may give several values; a learner reads them from its
        state's `hyper`, as numbers.
      sizes: keys that say how much memory an update takes.
      shows: metrics that the progress bar shows, the most telling one first.
      imagines: whether it learns in a world model's imagination.
      rewarded: whether its policy learns from rewards.
      models: the kinds of world models that it can imagine with; empty: all.
      networks: the policy's that it can go on with from those before it; empty: all.
      outputs: the critic's that it can train; empty: all.
    """

    learner: ClassVar[str]
    title: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    varies: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[tuple[str, ...]] = ("batch",)
    shows: ClassVar[tuple[str, ...]] = ()
    imagines: ClassVar[bool] = False
    rewarded: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = ()
    networks: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ()

    updates: Natural
    batch: Count

    @property
    def rewards(self) -> tuple[float, float] | None:
        """Scale and bias of the rewards that it sees; None: the task's."""
        return None


@dataclass(frozen=True)
class OwnRewards(Section):
    """An algorithm whose paper has rewards as it says itself, not as LEQ's."""

    reward_scale: Positive
    reward_bias: Number

    @property
    def rewards(self) -> tuple[float, float]:
        return self.reward_scale, self.reward_bias


@dataclass(frozen=True)
class BC(Section):
    """Behaviour cloning of the policy."""

    learner = "dreamer_leq.algorithms.bc:BC"
    title = "BC"
    shows = ("bc_loss", "critic_loss")
    rewarded = False

    gamma: Discount
    critic: Literal["none", "monte_carlo"]
    best: SomeShare
    optimizer: Optimizer


@dataclass(frozen=True)
class FQE(Section):
    """Fitted Q evaluation of the cloned policy."""

    learner = "dreamer_leq.algorithms.fqe:FQE"
    title = "FQE"
    after = ("bc",)
    shows = ("critic_loss", "q")

    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class LEQ(Section):
    """Lower expectile Q-learning in imagination."""

    learner = "dreamer_leq.algorithms.leq.learner:LEQ"
    title = "LEQ"
    after = ("bc", "fqe")
    varies = ("tau",)
    sizes = ("batch", "horizon")
    shows = ("lambda_return", "q", "imagined_reward")
    imagines = True

    horizon: Count
    tau: several(Expectile)
    gamma: Discount
    lam: Lambda
    beta: Share
    data_tau: Expectile
    return_norm: bool
    return_norm_decay: Decay
    plain: bool
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class TD3BC(OwnRewards):
    """A deterministic policy that maximises Q and stays near the data."""

    learner = "dreamer_leq.algorithms.td3_bc:TD3BC"
    title = "TD3+BC"
    varies = ("alpha",)
    shows = ("q_policy", "q_data", "bc_mse")

    alpha: several(Weight)
    gamma: Discount
    n_step: Count
    noise: Weight
    noise_clip: Weight
    delay: Count
    optimizer: Optimizer


@dataclass(frozen=True)
class DrQBC(OwnRewards):
    """TD3+BC from pixels: DrQ-v2's noise and its lesser Q."""

    learner = "dreamer_leq.algorithms.drq_bc:DrQBC"
    title = "DrQ+BC"
    varies = ("alpha",)
    shows = ("q_policy", "q_data", "bc_mse")

    alpha: several(Weight)
    gamma: Discount
    n_step: Count
    noise: Weight
    last_noise: Weight
    noise_share: OpenShare
    noise_clip: Weight
    optimizer: Optimizer


@dataclass(frozen=True)
class IQL(Section):
    """Implicit Q-learning: expectiles of Q over the data's own actions."""

    learner = "dreamer_leq.algorithms.iql:IQL"
    title = "IQL"
    varies = ("tau", "beta")
    shows = ("q_data", "advantage", "bc_mse")

    tau: several(Expectile)
    beta: several(Weight)
    gamma: Discount
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class ReBRAC(OwnRewards):
    """TD3+BC with penalties for actions far from the data's, in the target as well."""

    learner = "dreamer_leq.algorithms.rebrac:ReBRAC"
    title = "ReBRAC"
    varies = ("actor_weight", "critic_weight")
    shows = ("q_policy", "q_data", "bc_mse")

    actor_weight: several(Weight)
    critic_weight: several(Weight)
    gamma: Discount
    n_step: Count
    noise: Weight
    noise_clip: Weight
    delay: Count
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class CQL(OwnRewards):
    """SAC with critics that are low where the data have nothing."""

    learner = "dreamer_leq.algorithms.cql:CQL"
    title = "CQL"
    outputs = ("scalar",)
    varies = ("weight",)
    shows = ("q_policy", "q_data", "gap")

    weight: several(Weight)
    threshold: Weight
    cloning: Natural
    samples: Count
    gamma: Discount
    n_step: Count
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer
    temperature_optimizer: Optimizer


@dataclass(frozen=True)
class EDAC(OwnRewards):
    """SAC with many critics whose gradients by the action differ."""

    learner = "dreamer_leq.algorithms.edac:EDAC"
    title = "EDAC"
    outputs = ("scalar",)
    varies = ("eta",)
    shows = ("q_policy", "q_data", "similarity")

    critics: Steps
    eta: several(Weight)
    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class FQL(OwnRewards):
    """A policy of one step that maximises Q near a flow that clones the data."""

    learner = "dreamer_leq.algorithms.fql:FQL"
    title = "FQL"
    varies = ("alpha",)
    shows = ("q_policy", "q_data", "distillation")

    alpha: several(Weight)
    next_q: Literal["mean", "min"]
    flow_steps: Count
    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class Rollouts:
    """Imagined rollouts from the dataset's states, whose rows a ring keeps."""

    interval: Count
    starts: Count
    horizon: Count
    retain: Count


@dataclass(frozen=True)
class MixedRows(Section):
    """The dataset's rows and imagined ones."""

    sizes = ("batch", "rollouts.starts", "rollouts.retain")
    imagines = True

    real_share: SomeShare
    rollouts: Rollouts
    gamma: Discount
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class Mixed(MixedRows):
    """SAC on the dataset's rows and on imagined ones."""

    models = ("mlp_ensemble",)

    temperature_optimizer: Optimizer


@dataclass(frozen=True)
class MOPO(Mixed, OwnRewards):
    """SAC on imagined rows with rewards that fall with the model's own deviation."""

    learner = "dreamer_leq.algorithms.mopo:MOPO"
    title = "MOPO"
    varies = ("penalty",)
    models = ("mlp_ensemble", "latent")
    shows = ("q_policy", "q_data", "imagined_reward")

    penalty: several(Weight)


@dataclass(frozen=True)
class COMBO(Mixed, OwnRewards):
    """CQL on imagined rows as well."""

    learner = "dreamer_leq.algorithms.combo:COMBO"
    title = "COMBO"
    outputs = ("scalar",)
    varies = ("weight",)
    shows = ("q_policy", "q_data", "gap")

    weight: several(Weight)
    samples: Count


@dataclass(frozen=True)
class MOBILE(Mixed, OwnRewards):
    """SAC on imagined rows with targets that fall with the members' disagreement."""

    learner = "dreamer_leq.algorithms.mobile:MOBILE"
    title = "MOBILE"
    varies = ("penalty",)
    shows = ("q_policy", "q_data", "inconsistency")

    penalty: several(Weight)
    samples: Count
    positive: bool
    soft: bool
    alpha: Weight


@dataclass(frozen=True)
class RAMBO(Mixed, OwnRewards):
    """SAC on imagined rows of a model that learns on, against the policy."""

    learner = "dreamer_leq.algorithms.rambo:RAMBO"
    title = "RAMBO"
    after = ("bc",)
    networks = ("mlp",)
    varies = ("adversary",)
    shows = ("q_policy", "q_data", "imagined_reward")

    adversary: several(Weight)
    model_updates: Natural
    model_batch: Count
    model_learning_rate: Positive
    uniform: bool


@dataclass(frozen=True)
class MOBILEStar(Mixed):
    """MOBILE with LEQ's critic."""

    learner = "dreamer_leq.algorithms.mobile_star:MOBILEStar"
    title = "MOBILE*"
    varies = ("penalty",)
    shows = ("q_policy", "q_data", "inconsistency")
    positive: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    alpha: ClassVar[float] = 0.0

    penalty: several(Weight)
    samples: Count
    beta: Share


@dataclass(frozen=True)
class CBOP(OwnRewards):
    """EDAC whose targets are a posterior over imagined returns."""

    learner = "dreamer_leq.algorithms.cbop:CBOP"
    title = "CBOP"
    outputs = ("scalar",)
    after = ("bc",)
    networks = ("mlp",)
    varies = ("psi", "eta")
    sizes = ("batch", "critics", "horizon")
    shows = ("q_policy", "q_data", "value_std")
    imagines = True
    models = ("mlp_ensemble",)

    critics: Steps
    horizon: Natural
    psi: several(Weight)
    eta: several(Weight)
    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class MAC(OwnRewards):
    """The best of the data's chunks of actions, by values that a model expands."""

    learner = "dreamer_leq.algorithms.mac:MAC"
    title = "MAC"
    sizes = ("batch", "horizon", "samples")
    shows = ("imagined_return", "q_policy", "imagined_reward")
    imagines = True
    models = ("chunks",)

    horizon: Count
    samples: Count
    acting_samples: Count
    flow_steps: Count
    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class Dreamer(Section):
    """Offline DreamerV2: the gradient of imagined returns, less a penalty."""

    learner = "dreamer_leq.algorithms.dreamer:Dreamer"
    title = "Dreamer"
    varies = ("penalty",)
    sizes = ("batch", "horizon")
    shows = ("imagined_return", "imagined_reward", "spread")
    imagines = True
    models = ("latent",)

    horizon: Count
    penalty: several(Weight)
    gamma: Discount
    lam: Share
    entropy: Weight
    copy_every: Count
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class ROSMO(Section):
    """Own actions by their advantage one imagined step ahead, and the data's better."""

    learner = "dreamer_leq.algorithms.rosmo:ROSMO"
    title = "ROSMO"
    varies = ("behaviour",)
    sizes = ("batch", "samples")
    shows = ("value", "advantage", "bc_mse")
    imagines = True
    models = ("latent",)

    behaviour: several(Weight)
    samples: Count
    gamma: Discount
    n_step: Count
    actor_optimizer: Optimizer
    critic_optimizer: Optimizer


@dataclass(frozen=True)
class LOMPO(MixedRows):
    """A deterministic policy on the dataset's latents and on imagined ones."""

    learner = "dreamer_leq.algorithms.lompo:LOMPO"
    title = "LOMPO"
    varies = ("penalty",)
    shows = ("q_policy", "q_data", "imagined_reward")
    models = ("latent",)

    penalty: several(Weight)
    noise: Weight


@dataclass(frozen=True)
class ACROEncoder(Section):
    """The encoder of ACRO: which action leads to what is seen later."""

    learner = "dreamer_leq.algorithms.acro:ActionPrediction"
    title = "ACRO's encoder"
    shows = ("cosine", "predictor_loss")
    rewarded = False
    models = ("frames",)

    reach: Count
    layers: Layers
    units: Count
    gamma: Discount
    optimizer: Optimizer


@dataclass(frozen=True)
class ACRO(DrQBC):
    """DrQ+BC on an encoder that has learned to predict actions."""

    learner = "dreamer_leq.algorithms.acro:ACRO"
    title = "ACRO"
    after = ("acro_encoder",)
    models = ("frames",)


_SECTIONS: dict[str, type[Section]] = {
    "bc": BC,
    "fqe": FQE,
    "leq": LEQ,
    "td3_bc": TD3BC,
    "drq_bc": DrQBC,
    "iql": IQL,
    "rebrac": ReBRAC,
    "cql": CQL,
    "edac": EDAC,
    "fql": FQL,
    "mopo": MOPO,
    "mobile": MOBILE,
    "mobile_star": MOBILEStar,
    "combo": COMBO,
    "rambo": RAMBO,
    "cbop": CBOP,
    "mac": MAC,
    "dreamer": Dreamer,
    "rosmo": ROSMO,
    "lompo": LOMPO,
    "acro_encoder": ACROEncoder,
    "acro": ACRO,
}


def sections() -> dict[str, type[Section]]:
    """The section's class of every algorithm, by name."""
    return dict(_SECTIONS)


def register(name: str, section: type[Section]) -> None:
    """Make an algorithm of another package known. Its keys have no defaults in
    configs.yaml: the section's fields have them.
    """
    _SECTIONS[name] = section


def unrewarded() -> tuple[str, ...]:
    """The algorithms for data without rewards, the plainest one first."""
    return tuple(name for name, section in _SECTIONS.items() if not section.rewarded)


def is_algorithm(name: str) -> bool:
    return name in _SECTIONS
