"""The recurrent state-space model of DreamerV3 with an ensemble of independent priors.

The time scan of `observe` holds only what depends on the previous step. What does not -
the action's and the image's share of the layers they enter - is computed for all steps
at once, by splitting a layer's matrix along its inputs; sum and initial scale stay
those of the whole layer.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.distributions import precise, straight_through, unimix_log_probs
from dreamer_leq.nn.fast.scan import recur
from dreamer_leq.nn.layers import (
    MLP,
    BlockLinear,
    Linear,
    NormAct,
    NormLinear,
    by_block,
    in_one,
)
from dreamer_leq.world_models.dealing import Deal

Params = Any


@struct.dataclass
class RSSMState:
    """deter: [..., D] of the block GRU; stoch: [..., S, C] one-hot."""

    deter: Array
    stoch: Array

    @property
    def flat_stoch(self) -> Array:
        return self.stoch.reshape(*self.stoch.shape[:-2], -1)


@struct.dataclass
class StepNoise:
    """What is random in an imagined step of N states."""

    deal: Deal | None  # who takes the step; None: a given member
    gumbel: Array  # [N, S, C] of the latents


class ActionInput(nn.Module):
    """The action's share of the block GRU's input layer: [..., A] -> [..., D]."""

    deter: int
    hidden: int
    blocks: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, action: Array) -> Array:
        action = action / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))
        x = NormLinear(self.hidden, self.dtype, name="action")(action)
        fan_in = self.deter + self.blocks * 3 * self.hidden
        return Linear(self.deter, fan_in=fan_in, dtype=self.dtype, name="core")(x)


class BlockGRU(nn.Module):
    """deter [N, D], stoch [N, S*C] and the action's share [N, D] -> next deter [N, D].

    Every block sees its own slice of deter and the projections of deter, stoch and
    action.
    """

    deter: int
    hidden: int
    blocks: int
    layers: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array, stoch: Array, action_input: Array) -> Array:
        fan_in = self.deter + self.blocks * 3 * self.hidden
        shared = [
            NormLinear(self.hidden, self.dtype, name="deter")(deter),
            NormLinear(self.hidden, self.dtype, name="stoch")(stoch),
        ]
        own = BlockLinear(
            self.deter, self.blocks, False, fan_in, self.dtype, name="own"
        )
        inner = Linear(self.deter, 1.0, False, fan_in, self.dtype, name="shared")
        x = own(deter) + inner(jnp.concatenate(shared, -1)) + action_input
        x = NormAct(dtype=self.dtype, name="act0")(x)
        for i in range(1, self.layers):
            layer = BlockLinear(
                self.deter, self.blocks, dtype=self.dtype, name=f"dyn{i}"
            )
            x = NormAct(dtype=self.dtype, name=f"act{i}")(layer(x))
        gates = BlockLinear(
            3 * self.deter, self.blocks, dtype=self.dtype, by_block=True, name="gates"
        )(x)
        reset, candidate, update = jnp.split(precise(gates), 3, -1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        update = jax.nn.sigmoid(update - 1)  # starts near remembering
        before = by_block(deter, self.blocks)
        return in_one(update * candidate + (1 - update) * before)


class Logits(nn.Module):
    """Linear to the logits of S latents of C classes: [N, I] -> [N, S, C], float32."""

    stoch: int
    classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Linear(self.stoch * self.classes, dtype=self.dtype, name="logits")(x)
        return precise(x).reshape(*x.shape[:-1], self.stoch, self.classes)


class Prior(nn.Module):
    """One member's guess of the latents from deter alone: [N, D] -> logits [N,
    S, C].
    """

    stoch: int
    classes: int
    hidden: int
    layers: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array) -> Array:
        x = MLP(self.layers, self.hidden, self.dtype, name="trunk")(deter)
        return Logits(self.stoch, self.classes, self.dtype, name="out")(x)


class TokenInput(nn.Module):
    """The observation's share of the posterior's first layer: [..., I] -> [...,
    hidden].
    """

    hidden: int
    deter: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        fan_in = self.deter + tokens.shape[-1]
        return Linear(self.hidden, fan_in=fan_in, dtype=self.dtype, name="linear")(
            tokens
        )


class Posterior(nn.Module):
    """deter [N, D] and the observation's share [N, hidden] -> logits [N, S, C]."""

    stoch: int
    classes: int
    hidden: int
    layers: int
    tokens: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array, token_input: Array) -> Array:
        fan_in = deter.shape[-1] + self.tokens
        linear = Linear(self.hidden, 1.0, False, fan_in, self.dtype, name="deter")
        x = NormAct(dtype=self.dtype, name="act")(linear(deter) + token_input)
        x = MLP(self.layers - 1, self.hidden, self.dtype, name="trunk")(x)
        return Logits(self.stoch, self.classes, self.dtype, name="out")(x)


@dataclass(frozen=True)
class RSSM:
    """The modules, and what happens in time. Parameters are explicit: a dict by module.

    The priors' parameters have a leading axis [E, ...]; every member starts from its
    own random key, and no array is shared between members.
    """

    deter: int
    stoch: int
    classes: int
    hidden: int
    blocks: int
    dynamics_layers: int
    posterior_layers: int
    prior_layers: int
    members: int
    unimix: float
    tokens: int
    action_size: int
    dtype: jnp.dtype = jnp.float32

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        core = (self.deter, self.hidden, self.blocks)
        latent = (self.stoch, self.classes, self.hidden)
        return {
            "action_input": ActionInput(*core, dtype=self.dtype),
            "core": BlockGRU(*core, self.dynamics_layers, dtype=self.dtype),
            "token_input": TokenInput(self.hidden, self.deter, dtype=self.dtype),
            "posterior": Posterior(
                *latent, self.posterior_layers, self.tokens, dtype=self.dtype
            ),
            "prior": Prior(*latent, self.prior_layers, dtype=self.dtype),
        }

    def init(self, key: Array) -> Params:
        deter, hidden = jnp.zeros((1, self.deter)), jnp.zeros((1, self.hidden))
        stoch = jnp.zeros((1, self.stoch * self.classes))
        inputs = {
            "action_input": (jnp.zeros((1, self.action_size)),),
            "core": (deter, stoch, deter),
            "token_input": (jnp.zeros((1, self.tokens)),),
            "posterior": (deter, hidden),
        }
        keys = dict(
            zip(self.modules, jax.random.split(key, len(self.modules)), strict=True)
        )
        params = {
            name: self.modules[name].init(keys[name], *args)["params"]
            for name, args in inputs.items()
        }
        member_keys = jax.random.split(keys["prior"], self.members)
        init_prior = lambda key: self.modules["prior"].init(key, deter)["params"]  # noqa: E731
        return params | {"prior": jax.vmap(init_prior)(member_keys)}

    def apply(self, params: Params, name: str, *args: Array) -> Array:
        return self.modules[name].apply({"params": params[name]}, *args)

    def initial(self, n: int) -> RSSMState:
        """The zero state, from which every episode starts: leading axis n."""
        return RSSMState(
            jnp.zeros((n, self.deter)), jnp.zeros((n, self.stoch, self.classes))
        )

    def advance(self, params: Params, state: RSSMState, action_input: Array) -> Array:
        """The deterministic part of a step: the next deter [N, D]."""
        return self.apply(params, "core", state.deter, state.flat_stoch, action_input)

    def posterior(self, params: Params, deter: Array, token_input: Array) -> Array:
        """Log-probabilities [N, S, C] of the latents, given deter and observation."""
        logits = self.apply(params, "posterior", deter, token_input)
        return unimix_log_probs(logits, self.unimix)

    def priors(self, params: Params, deter: Array) -> Array:
        """Log-probabilities of all members: [..., D] -> [E, ..., S, C]."""
        one = lambda p: self.modules["prior"].apply({"params": p}, deter)  # noqa: E731
        return unimix_log_probs(jax.vmap(one)(params["prior"]), self.unimix)

    def member_prior(self, params: Params, deter: Array, member: int | Array) -> Array:
        """Log-probabilities [N, S, C] of one member for all samples."""
        chosen = jax.tree.map(lambda p: p[member], params["prior"])
        logits = self.modules["prior"].apply({"params": chosen}, deter)
        return unimix_log_probs(logits, self.unimix)

    def dealt_prior(self, params: Params, deter: Array, deal: Deal) -> Array:
        """Log-probabilities [N, S, C], each sample's by the member that it is dealt
        to.
        """
        module = self.modules["prior"]
        one = lambda p, x: module.apply({"params": p}, x)  # noqa: E731
        dealt = deal.out(deter.astype(self.dtype))  # what travels is in this type
        logits = deal.back(jax.vmap(one)(params["prior"], dealt))
        return unimix_log_probs(logits, self.unimix)

    def observe_step(
        self,
        params: Params,
        state: RSSMState,
        action_input: Array,
        token_input: Array,
        is_first: Array,
        gumbel: Array,
    ) -> tuple[RSSMState, Array]:
        """One posterior step. Returns the state and its log-probabilities [N, S, C].

        action_input must be that of a zero action where is_first [N]; the state is
        zeroed here, so that nothing from before an episode's start can reach it, not
        even a NaN.
        """
        state = jax.tree.map(
            lambda x: jnp.where(is_first.reshape(-1, *[1] * (x.ndim - 1)), 0.0, x),
            state,
        )
        deter = self.advance(params, state, action_input)
        log_probs = self.posterior(params, deter, token_input)
        return RSSMState(deter, straight_through(log_probs, gumbel)), log_probs

    def gumbel(self, key: Array, n: int) -> Array:
        """What makes a step's latents random: [N, S, C]."""
        return jax.random.gumbel(key, (n, self.stoch, self.classes))

    def noise(self, key: Array, n: int, dealt: bool = True) -> StepNoise:
        """What makes an imagined step of `n` states random."""
        member_key, sample_key = jax.random.split(key)
        deal = Deal.random(member_key, n, self.members) if dealt else None
        return StepNoise(deal, self.gumbel(sample_key, n))

    def observe(
        self,
        params: Params,
        state: RSSMState,
        tokens: Array,
        action: Array,
        is_first: Array,
        key: Array,
        remat: bool = False,
    ) -> tuple[RSSMState, Array]:
        """Filter a sequence: tokens [B, T, I], action [B, T, A] that led to each
        observation, is_first [B, T]. Returns states [B, T, ...], log-probabilities
        [B, T, S, C]."""
        action = jnp.where(is_first[..., None], 0.0, action)
        inputs = (
            self.apply(params, "action_input", action),
            self.apply(params, "token_input", tokens),
            is_first,
        )
        keys = jax.random.split(key, tokens.shape[1])
        gumbel = jax.vmap(lambda key: self.gumbel(key, len(tokens)))(keys)

        def step(params, state, x):
            return self.observe_step(params, state, *x)

        step = jax.checkpoint(step) if remat else step
        time_major = jax.tree.map(lambda x: x.swapaxes(0, 1), inputs)
        stepping = {name: params[name] for name in ("core", "posterior")}
        out = recur(step, stepping, state, (*time_major, gumbel))
        return jax.tree.map(lambda x: x.swapaxes(0, 1), out)

    def imagine_step(
        self,
        params: Params,
        state: RSSMState,
        action: Array,
        noise: StepNoise,
        member: int | Array | None = None,
    ) -> RSSMState:
        """One step without observation, of `member` or of one drawn per sample."""
        action_input = self.apply(params, "action_input", action)
        deter = self.advance(params, state, action_input)
        if member is None:
            log_probs = self.dealt_prior(params, deter, noise.deal)
        else:
            log_probs = self.member_prior(params, deter, member)
        return RSSMState(deter, straight_through(log_probs, noise.gumbel))
