"""The latent world model: encoder, RSSM, decoder, reward and continue heads.

`LatentNet` holds the modules and the training loss; `LatentWorldModel` is a trained one
behind the interface that algorithms see. The same class takes pixels, vectors or both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.nn.distributions import (
    categorical_kl,
    precise,
    symexp,
    symexp_bins,
    symlog,
    two_hot_loss,
    two_hot_mean,
)
from dreamer_leq.nn.layers import MLP, Linear
from dreamer_leq.world_models.rssm import RSSM, RSSMState, StepNoise
from dreamer_leq.world_models.vision import (
    MIN_RESOLUTION,
    ConvDecoder,
    ConvEncoder,
    PatchDecoder,
    PatchEncoder,
    from_nested,
    to_nested,
)

Params = Any
Batch = Mapping[str, Array]


@dataclass(frozen=True)
class ObservationSpec:
    """What is observed: the side of square RGB images, the size of vectors; 0 =
    none.
    """

    image_size: int
    vector_size: int
    action_size: int


class Head(nn.Module):
    """Features [..., F] -> float32 outputs [..., outputs]; `scale` of the last
    layer.
    """

    layers: int
    units: int
    outputs: int
    scale: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        x = MLP(self.layers, self.units, self.dtype, name="trunk")(features)
        x = Linear(self.outputs, self.scale, dtype=self.dtype, name="out")(x)
        return precise(x)


@dataclass(frozen=True)
class LatentNet:
    """Modules, initialisation and losses. `config` is the `latent` group of
    configs.yaml.
    """

    config: Any
    spec: ObservationSpec
    dtype: jnp.dtype = jnp.float32

    @cached_property
    def encoders(self) -> dict[str, nn.Module]:
        c, modules = self.config, {}
        if self.spec.image_size:
            conv = ConvEncoder(c.depth, c.mults, c.kernel, self.dtype)
            patch = PatchEncoder(c.depth, c.mults, self.dtype)
            modules["image"] = conv if c.image == "conv" else patch
        if self.spec.vector_size:
            modules["vector"] = MLP(c.vector_layers, c.units, self.dtype)
        return modules

    @cached_property
    def decoders(self) -> dict[str, nn.Module]:
        c, modules = self.config, {}
        if self.spec.image_size:
            tail = dict(units=c.units, blocks=c.blocks, dtype=self.dtype)
            conv = ConvDecoder(c.depth, c.mults, c.kernel, **tail)
            patch = PatchDecoder(
                c.depth, c.mults, image_size=self.spec.image_size, **tail
            )
            modules["image"] = conv if c.image == "conv" else patch
        if self.spec.vector_size:
            size = self.spec.vector_size
            modules["vector"] = Head(c.vector_layers, c.units, size, 1.0, self.dtype)
        return modules

    @cached_property
    def heads(self) -> dict[str, nn.Module]:
        c = self.config
        return {
            "reward": Head(c.reward_layers, c.units, c.bins, 0.0, self.dtype),
            "cont": Head(c.cont_layers, c.units, 1, 1.0, self.dtype),
        }

    @cached_property
    def rssm(self) -> RSSM:
        names = (
            "deter stoch classes hidden blocks dynamics_layers posterior_layers "
            "prior_layers members unimix"
        )
        sizes = {name: getattr(self.config, name) for name in names.split()}
        return RSSM(
            **sizes,
            tokens=self.tokens,
            action_size=self.spec.action_size,
            dtype=self.dtype,
        )

    @cached_property
    def bins(self) -> Array:
        with jax.ensure_compile_time_eval():
            return symexp_bins(self.config.bins)

    @cached_property
    def tokens(self) -> int:
        """Size of the encoders' joint output."""
        size = 0
        if self.spec.image_size:
            size += MIN_RESOLUTION**2 * self.config.depth * self.config.mults[-1]
        return size + (self.config.units if self.spec.vector_size else 0)

    @property
    def features(self) -> int:
        """F, the size of what heads, actor and critic see."""
        return self.config.deter + self.config.stoch * self.config.classes

    def init(self, key: Array) -> Params:
        keys = iter(jax.random.split(key, 8))
        deter = jnp.zeros((1, self.config.deter))
        stoch = jnp.zeros((1, self.config.stoch * self.config.classes))
        features = jnp.zeros((1, self.features))
        observation = {
            "image": self._pixels(
                jnp.zeros((1, *[self.spec.image_size] * 2, 3), jnp.uint8)
            )
            if self.spec.image_size
            else None,
            "vector": jnp.zeros((1, self.spec.vector_size)),
        }

        def decoder_inputs(name):
            return (deter, stoch) if name == "image" else (features,)

        return {
            "encoder": {
                name: module.init(next(keys), observation[name]).get("params", {})
                for name, module in self.encoders.items()
            },
            "rssm": self.rssm.init(next(keys)),
            "decoder": {
                name: module.init(next(keys), *decoder_inputs(name))["params"]
                for name, module in self.decoders.items()
            },
            "reward": self.heads["reward"].init(next(keys), features)["params"],
            "cont": self.heads["cont"].init(next(keys), features)["params"],
        }

    def encode(self, params: Params, batch: Batch) -> Array:
        """Observations of any leading axes -> tokens [..., I]."""
        tokens = []
        for name, module in self.encoders.items():
            x = batch[name]
            lead = x.shape[:-3] if name == "image" else x.shape[:-1]
            x = x.reshape(-1, *x.shape[len(lead) :])
            x = self._pixels(x) if name == "image" else symlog(x)
            x = module.apply({"params": params["encoder"][name]}, x)
            tokens.append(x.reshape(*lead, -1))
        return jnp.concatenate(tokens, -1)

    def _pixels(self, image: Array) -> Array:
        """uint8 [N, H, W, 3] -> float32 in [0, 1], in the order in which the encoder
        reads and the decoder writes them.
        """
        image = to_nested(image) if self.config.image == "patch" else image
        return image.astype(jnp.float32) / 255

    def head(self, params: Params, name: str, state: RSSMState) -> Array:
        return self.heads[name].apply(
            {"params": params[name]}, self.state_features(state)
        )

    def reward(self, params: Params, state: RSSMState) -> Array:
        """Expected reward that came with `state`: [...]."""
        return two_hot_mean(self.head(params, "reward", state), self.bins)

    def cont(self, params: Params, state: RSSMState) -> Array:
        """Probability that `state` is not terminal: [...]."""
        return jax.nn.sigmoid(self.head(params, "cont", state)[..., 0])

    def state_features(self, state: RSSMState) -> Array:
        """deter and flattened stoch, in this order: [..., F]."""
        return jnp.concatenate([state.deter, state.flat_stoch], -1)

    def decode(self, params: Params, state: RSSMState) -> Array:
        """The image of a state: [N, H, W, 3] in (0, 1)."""
        pixels = self._decode_pixels(params, state)
        return from_nested(pixels) if self.config.image == "patch" else pixels

    def _decode_pixels(self, params: Params, state: RSSMState) -> Array:
        module = self.decoders["image"]
        return module.apply(
            {"params": params["decoder"]["image"]}, state.deter, state.flat_stoch
        )

    def decode_vector(self, params: Params, state: RSSMState) -> Array:
        """The symlog of the vector observation of a state: [..., D]."""
        module = self.decoders["vector"]
        features = self.state_features(state)
        return module.apply({"params": params["decoder"]["vector"]}, features)

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Array, dict]:
        """World-model loss of a batch of sequences, and its terms.

        batch: image [B, T, H, W, 3] uint8 and/or vector [B, T, D], action [B, T, A],
        reward, is_first, is_terminal [B, T], in arrival order. Sequences start from the
        zero state.
        """
        c = self.config
        is_first = batch["is_first"].at[:, 0].set(True)
        tokens = self._stored(self.encode)(params, batch)
        state, posterior = self.rssm.observe(
            params["rssm"],
            self.rssm.initial(tokens.shape[0]),
            tokens,
            batch["action"],
            is_first,
            key,
            c.remat,
        )
        losses = {
            **self._reconstruction_losses(params, state, batch),
            **self._head_losses(params, state, batch),
            **self._kl_losses(params, state, posterior),
        }
        scale = lambda name: getattr(c, f"{name}_scale")  # noqa: E731
        total = sum(scale(name) * loss for name, loss in losses.items())
        metrics = {f"{name}_loss": loss for name, loss in losses.items()}
        entropy = -(jnp.exp(posterior) * posterior).sum((-2, -1)).mean()
        return total, metrics | {"loss": total, "posterior_entropy": entropy}

    def _stored(self, part: Callable) -> Callable:
        """`part`, whose activations wait for the backward pass or are computed anew."""
        return jax.checkpoint(part) if self.config.remat else part

    def _reconstruction_losses(
        self, params: Params, state: RSSMState, batch: Batch
    ) -> dict:
        """Squared errors, summed over pixels and channels or over vector entries."""
        losses = {}
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
        if self.spec.image_size:
            target = self._pixels(batch["image"].reshape(-1, *batch["image"].shape[2:]))
            error = jnp.square(self._stored(self._decode_pixels)(params, flat) - target)
            losses["image"] = error.sum() / len(target)
        if self.spec.vector_size:
            error = jnp.square(
                self.decode_vector(params, state) - symlog(batch["vector"])
            )
            losses["vector"] = error.sum(-1).mean()
        return losses

    def _head_losses(self, params: Params, state: RSSMState, batch: Batch) -> dict:
        reward = two_hot_loss(
            self.head(params, "reward", state), batch["reward"], self.bins
        )
        cont = optax.sigmoid_binary_cross_entropy(
            self.head(params, "cont", state)[..., 0], 1.0 - batch["is_terminal"]
        )
        return {"reward": reward.mean(), "cont": cont.mean()}

    def _kl_losses(self, params: Params, state: RSSMState, posterior: Array) -> dict:
        """KL(posterior || prior) per member, with free nats; the mean over members."""
        prior = self.rssm.priors(params["rssm"], state.deter)
        stop = jax.lax.stop_gradient
        free = self.config.free_nats
        dyn = categorical_kl(stop(posterior), prior)
        rep = categorical_kl(posterior, stop(prior))
        return {
            "dyn": jnp.maximum(free, dyn).mean(),
            "rep": jnp.maximum(free, rep).mean(),
        }


@struct.dataclass
class LatentWorldModel:
    """A trained latent world model, as LEQ and evaluation see it.

    A batch for `starts` holds deter [N, D], stoch [N, S] (class indices) and their
    successors next_deter, next_stoch, as made by `encode_dataset`
    (data/latents.py). A policy acts on a sample of the posterior, or on its `mode`.
    """

    params: Params
    net: LatentNet = struct.field(pytree_node=False)
    mode: bool = struct.field(pytree_node=False, default=False)

    steps = 1
    bounded = True
    disagreement_unit = "nats per latent"

    @property
    def members(self) -> int:
        return self.net.config.members

    @property
    def feature_size(self) -> int:
        return self.net.features

    @property
    def observations(self) -> tuple[str, ...]:
        return tuple(self.net.encoders)

    def noise(self, key: Array, n: int, dealt: bool = True) -> StepNoise:
        return self.net.rssm.noise(key, n, dealt)

    def step(
        self, state: RSSMState, action: Array, noise: StepNoise
    ) -> tuple[RSSMState, Array, Array]:
        return self.member_step(state, action, noise, None)

    def member_step(
        self,
        state: RSSMState,
        action: Array,
        noise: StepNoise,
        member: int | Array | None,
    ) -> tuple[RSSMState, Array, Array]:
        state = self.net.rssm.imagine_step(
            self.params["rssm"], state, action, noise, member
        )
        return (
            state,
            self.net.reward(self.params, state),
            self.net.cont(self.params, state),
        )

    def disagreement(self, state: RSSMState, action: Array) -> Array:
        """Generalised Jensen-Shannon divergence of the members' priors: the entropy of
        their mean less the mean of their entropies, in nats, meaned over latents: [N].
        It is what a latent would tell of the member that predicted it; at most log E.
        """
        deter = self._deter_after(state, action)
        probs = jnp.exp(self.net.rssm.priors(self.params["rssm"], deter))
        entropy = lambda p: jax.scipy.special.entr(p).sum(-1)  # noqa: E731
        return (entropy(probs.mean(0)) - entropy(probs).mean(0)).mean(-1)

    def uncertainty(self, state: RSSMState, action: Array) -> Array:
        """`spread` in the states to which the actions lead: [N]."""
        return self.spread(RSSMState(self._deter_after(state, action), state.stoch))

    def _deter_after(self, state: RSSMState, action: Array) -> Array:
        rssm, params = self.net.rssm, self.params["rssm"]
        action_input = rssm.apply(params, "action_input", action)
        return rssm.advance(params, state, action_input)

    def spread(self, state: RSSMState) -> Array:
        """How far apart the members' probabilities are of what an imagined state's
        stoch could be: the mean over members of |p_j - p̄|, over all latents and classes
        [N], at most √(S (1 - 1/E)) (the penalty of V-D4RL's Offline DreamerV2).
        """
        probs = jnp.exp(self.net.rssm.priors(self.params["rssm"], state.deter))
        return optax.safe_norm(probs - probs.mean(0), 0.0, axis=(-2, -1)).mean(0)

    def log_probs(self, state: RSSMState) -> Array:
        """How likely each member finds an imagined state's stoch, as a logarithm:
        [E, N].
        """
        priors = self.net.rssm.priors(self.params["rssm"], state.deter)
        return (priors * state.stoch).sum((-2, -1))

    def features(self, state: RSSMState) -> Array:
        return self.net.state_features(state)

    def action_features(self, action: Array) -> Array:
        return action

    def initial(self, n: int) -> RSSMState:
        return self.net.rssm.initial(n)

    def starts(self, batch: Batch) -> RSSMState:
        return self.unpack(batch["deter"], batch["stoch"])

    def successors(self, batch: Batch) -> RSSMState:
        return self.unpack(batch["next_deter"], batch["next_stoch"])

    def unpack(self, deter: Array, stoch: Array) -> RSSMState:
        """A stored state: deter in any precision, stoch as class indices [..., S]."""
        one_hot = jax.nn.one_hot(stoch, self.net.config.classes)
        return RSSMState(precise(deter), one_hot)

    def pack(self, state: RSSMState) -> dict[str, Array]:
        stoch = state.stoch.argmax(-1)
        smallest = jnp.uint8 if self.net.config.classes <= 256 else jnp.int32
        return {"deter": state.deter, "stoch": stoch.astype(smallest)}

    def decode(self, state: RSSMState) -> dict[str, Array]:
        seen = {}
        if "image" in self.observations:
            pixels = self.net.decode(self.params, state)
            seen["image"] = jnp.round(pixels * 255).astype(jnp.uint8)
        if "vector" in self.observations:
            seen["vector"] = symexp(self.net.decode_vector(self.params, state))
        return seen

    def filter(self, state: RSSMState, batch: Batch, key: Array) -> RSSMState:
        """One posterior step from `state` [N]: batch holds one observation per state,
        the action that led to it and is_first [N].
        """
        gumbel = self.net.rssm.gumbel(key, batch["is_first"].shape[0])
        gumbel = jnp.zeros_like(gumbel) if self.mode else gumbel
        return self.filter_given(state, batch, gumbel)

    def filter_given(self, state: RSSMState, batch: Batch, gumbel: Array) -> RSSMState:
        """`filter` with what makes it random, [N, S, C]; with zeros the latents are the
        likeliest ones.
        """
        rssm, params = self.net.rssm, self.params["rssm"]
        action = jnp.where(batch["is_first"][:, None], 0.0, batch["action"])
        tokens = self.net.encode(self.params, batch)
        return rssm.observe_step(
            params,
            state,
            rssm.apply(params, "action_input", action),
            rssm.apply(params, "token_input", tokens),
            batch["is_first"],
            gumbel,
        )[0]
