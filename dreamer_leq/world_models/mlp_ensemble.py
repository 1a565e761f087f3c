"""The paper's world model for state vectors: an ensemble of probabilistic MLPs.

Every member predicts a diagonal Gaussian over [s' - s, r] from (s, a). `EnsembleNet`
holds its functions; `MLPEnsemble` is the trained elite behind the interface that
algorithms see. All members are one leading axis E of the parameters.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.distributions import symlog
from dreamer_leq.nn.layers import PlainMLP
from dreamer_leq.world_models.dealing import Deal
from dreamer_leq.world_models.termination import Termination
from dreamer_leq.world_models.vectors import VectorStates

Params = Any

LAYER_DECAYS = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # MOPO's, first to last layer
_WAVES = (jnp.sin, jnp.cos)
LOGVAR_RANGE = (-10.0, 0.5)  # where the learned bounds of the log-variance start
_NEVER = -1e3  # a logit whose sigmoid is 0 in float32, and so is its gradient


@dataclass(frozen=True)
class EnsembleNet:
    """Functions of the members. `config` is the `ensemble` group of configs.yaml."""

    config: Any
    vector_size: int
    action_size: int
    learns_ends: bool = False  # by a network of (s, a): the task has no rule

    @property
    def outputs(self) -> int:
        """Size of [s' - s, r]."""
        return self.vector_size + 1

    def init(self, key: Array) -> Params:
        """Parameters of all members, [E, ...]; the log-variance bounds are shared."""
        c = self.config
        inputs = (self.vector_size + self.action_size) * (1 + 2 * c.frequencies)
        sizes = [inputs, *[c.units] * c.layers]
        sizes.append(2 * self.outputs)
        keys = jax.random.split(key, len(sizes) - 1)
        layers = [
            {
                "kernel": jax.random.normal(key, (c.members, i, o)) / (2 * i**0.5),
                "bias": jnp.zeros((c.members, 1, o)),
            }
            for key, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        low, high = LOGVAR_RANGE
        params = {
            "layers": layers,
            "min_logvar": jnp.full(self.outputs, low, jnp.float32),
            "max_logvar": jnp.full(self.outputs, high, jnp.float32),
        }
        if self.ends_by != "rule":
            actions = self.action_size if self.ends_by == "departure" else 0
            x = jnp.zeros((1, self.vector_size + actions))
            params["termination"] = self.terminal_net.init(key, x)["params"]
        return params

    @property
    def ends_by(self) -> Literal["rule", "successor", "departure"]:
        """What tells that a step ends an episode: the task's rule, or a network of what
        the step leads to or of what it begins with.
        """
        if self.config.termination == "learned":
            return "successor"
        return "departure" if self.learns_ends else "rule"

    @property
    def terminal_net(self) -> PlainMLP:
        """Standardised successor (paper App. D, Table 22) or (s, a) -> logit of
        termination.
        """
        return PlainMLP(layers=3, units=256, outputs=1)

    def terminal_logit(self, params: Params, x: Array) -> Array:
        """[..., D] or, of a departure, [..., D + A] -> [...]."""
        return self.terminal_net.apply({"params": params["termination"]}, x)[..., 0]

    def without_ends(self, params: Params) -> Params:
        """The same with a network that never tells an end, which no gradient of steps
        that go on changes: where the data have no end.
        """
        out = params["termination"]["out"]
        never = {
            "kernel": jnp.zeros_like(out["kernel"]),
            "bias": jnp.full_like(out["bias"], _NEVER),
        }
        return params | {"termination": params["termination"] | {"out": never}}

    def predict(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Normalised inputs [E, B, D + A] -> mean and log-variance [E, B, D + 1].

        The log-variance is kept softly between two learned bounds. `frequencies` adds
        octaves of sines and cosines to the inputs: for what changes abruptly, such as
        at walls.
        """
        c = self.config
        *hidden, last = params["layers"]
        waves = [wave(2.0**k * x) for k in range(c.frequencies) for wave in _WAVES]
        x = jnp.concatenate([x, *waves], -1)
        for layer in hidden:
            x = jax.nn.silu(x @ layer["kernel"] + layer["bias"])
        mean, logvar = jnp.split(x @ last["kernel"] + last["bias"], 2, -1)
        low, high = params["min_logvar"], params["max_logvar"]
        logvar = high - jax.nn.softplus(high - logvar)
        return mean, low + jax.nn.softplus(logvar - low)

    def loss(self, params: Params, x: Array, target: Array) -> tuple[Array, dict]:
        """Negative log-likelihood (up to constants) with weight decay, and its terms.

        x: [E, B, D + A]; target: [E, B, D + 1]. Means over batch and dimensions, sums
        over members, as MOPO and MOBILE have it.
        """
        mean, logvar = self.predict(params, x)
        error = jnp.square(mean - target)
        nll = (error * jnp.exp(-logvar) + logvar).mean((1, 2)).sum()
        decay = sum(
            weight * 0.5 * jnp.square(layer["kernel"]).sum()
            for weight, layer in zip(self.decays, params["layers"], strict=True)
        )
        span = params["max_logvar"].sum() - params["min_logvar"].sum()
        total = nll + decay + self.config.logvar_weight * span
        return total, {"loss": total, "nll": nll / len(x), "mse": error.mean()}

    @property
    def decays(self) -> tuple[float, ...]:
        """Weight decay of each layer; with another depth, of the nearest one's."""
        last = len(LAYER_DECAYS) - 1
        count = self.config.layers
        return tuple(LAYER_DECAYS[round(i * last / count)] for i in range(count + 1))


@struct.dataclass
class StepNoise:
    """What is random in a step of N states."""

    deal: Deal | None  # who takes the step; None: a given member
    normal: Array  # [N, D + 1] of the outcome


@struct.dataclass
class MLPEnsemble(VectorStates):
    """The elite members of a trained ensemble, as LEQ and evaluation see them.

    Rewards leave it as algorithms see them: raw * scale + bias.
    """

    params: Params  # of the elites alone, [E, ...]
    mean: Array  # [D + A] of the training transitions
    std: Array  # [D + A]
    reward_scale: Array
    reward_bias: Array
    net: EnsembleNet = struct.field(pytree_node=False)
    termination: Termination = struct.field(pytree_node=False)

    steps = 1
    bounded = False
    disagreement_unit = "standard deviations of the dataset"

    @property
    def members(self) -> int:
        return self.params["layers"][0]["kernel"].shape[0]

    @property
    def feature_size(self) -> int:
        return self.net.vector_size

    def noise(self, key: Array, n: int, dealt: bool = True) -> StepNoise:
        deal_key, normal_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, (n, self.net.outputs))
        deal = Deal.random(deal_key, n, self.members) if dealt else None
        return StepNoise(deal, normal)

    def step(
        self, state: Array, action: Array, noise: StepNoise
    ) -> tuple[Array, Array, Array]:
        """One step of one member per sample; only that member is computed."""
        deal = noise.deal
        dealt = deal.out(self.inputs(state, action))
        mean, logvar = map(deal.back, self.net.predict(self.params, dealt))
        sample = mean + jnp.exp(0.5 * logvar) * noise.normal
        return self.outcome(state, action, sample)

    def member_step(
        self, state: Array, action: Array, noise: StepNoise, member: int | Array
    ) -> tuple[Array, Array, Array]:
        layers = jax.tree.map(lambda p: p[member][None], self.params["layers"])
        one = self.params | {"layers": layers}
        mean, logvar = self.net.predict(one, self.inputs(state, action)[None])
        sample = mean[0] + jnp.exp(0.5 * logvar[0]) * noise.normal
        return self.outcome(state, action, sample)

    def moments(self, state: Array, action: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of every member's [s' - s, r], the reward raw:
        [E, N, D + 1] both.
        """
        x = self.inputs(state, action)
        x = jnp.broadcast_to(x, (self.members, *x.shape))
        mean, logvar = self.net.predict(self.params, x)
        return mean, jnp.exp(0.5 * logvar)

    def uncertainty(self, state: Array, action: Array) -> Array:
        """max_i ||σ_i(s, a)||, σ_i being a member's standard deviation of [s' - s, r]:
        [N].
        """
        _, std = self.moments(state, action)
        return jnp.linalg.norm(std, axis=-1).max(0)

    def disagreement(self, state: Array, action: Array) -> Array:
        """Standard deviation over members of the mean successor, in units of the
        dataset's standard deviation; the root of the mean square over D: [N].
        """
        change = self.moments(state, action)[0][..., :-1]
        spread = change.std(0) / self.std[: self.net.vector_size]
        return jnp.sqrt(jnp.square(spread).mean(-1))

    def features(self, state: Array) -> Array:
        """symlog of the standardised vector (paper App. A): [N, D]."""
        d = self.net.vector_size
        return symlog((state - self.mean[:d]) / self.std[:d])

    def action_features(self, action: Array) -> Array:
        d = self.net.vector_size
        return symlog((action - self.mean[d:]) / self.std[d:])

    def inputs(self, state: Array, action: Array) -> Array:
        """What the members see: [..., D], [..., A] -> [..., D + A]."""
        x = jnp.concatenate([state, action], -1)
        return (x - self.mean) / self.std

    def outcome(
        self, state: Array, action: Array, sample: Array
    ) -> tuple[Array, Array, Array]:
        """The successor, its reward as algorithms see it, and its continuation, from
        a sampled [s' - s, r]: [..., D + 1].
        """
        successor, reward = state + sample[..., :-1], sample[..., -1]
        if self.net.config.reward == "region" and self.termination.goal:
            reward = self.termination.at_goal(successor).astype(reward.dtype)
        reward = reward * self.reward_scale + self.reward_bias
        return successor, reward, self._cont(state, action, successor)

    def _cont(self, state: Array, action: Array, successor: Array) -> Array:
        if self.net.ends_by == "rule":
            return 1.0 - self.termination.done(successor)
        if self.net.ends_by == "departure":
            x = self.inputs(state, action)
            return 1.0 - (self.net.terminal_logit(self.params, x) > 0)
        d = self.net.vector_size
        standardised = (successor - self.mean[:d]) / self.std[:d]
        return jax.nn.sigmoid(-self.net.terminal_logit(self.params, standardised))
