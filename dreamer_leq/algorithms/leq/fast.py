"""LEQ's gradients from the λ-returns' own backward pass: for speed alone.

The plain way (imagination.py) goes through policy and critic once for the λ-returns'
gradients, and again for the losses of Eq. 9 and 11. But the losses go back through the
same networks at the same imagined states, along the same gradients up to a number for
each row: Eq. 11 along dy_t/da_t, which the first pass brings to the policy, and Eq. 9
along that of Q_t, where the critic's output is Q itself. The two differ only where a
layer sums over its rows. So the layers' inputs and the gradients that reached their
outputs are kept (`Recording`), and one product for each layer gives the gradient of its
parameters for any weights: neither pass is made again.

A stochastic policy's entropy, REINFORCE and the cross entropy of a two-hot critic have
gradients of their own. For them what the networks' products came to is kept, so that
only the backward pass is made.

Taps are trees with one array for each layer of a network, by its path: what is added to
the layer's output, what it saw, or what it made.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.traverse_util import flatten_dict
from jax import Array

from dreamer_leq.algorithms.leq.imagination import (
    Rollout,
    Shifts,
    Traces,
    action_gradients,
    append,
    roll,
    sampled,
)
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.fast.scan import rows, steps
from dreamer_leq.nn.layers import Dense, LayerNorm, RMSNorm
from dreamer_leq.world_models.interface import State, WorldModel

Taps = dict[str, Array]

LAYERS = (Dense, LayerNorm, RMSNorm)  # what parameters belong to


@struct.dataclass
class Kept:
    """What a rollout's passes have left of the policy, and of the critic: recordings,
    or else outputs.
    """

    steps: "Recording | None" = None  # Σ_a π(s_t) dy_t/da_t of t < H: [H, N]
    end: "Recording | None" = None  # and of t = H: [N]
    critic: "Recording | None" = None  # Q(s_t, a_t) [(H+1) * N]
    policy_outputs: Taps | None = None  # [H+1, N, ...]
    critic_outputs: Taps | None = None  # [(H+1) * N, ...]


@struct.dataclass
class FastRollout(Rollout):
    """A rollout whose networks are not gone through again."""

    kept: Kept = struct.field(default_factory=Kept)

    def policy(self, nets: ActorCritic, actor: Params) -> tuple[Array, Array]:
        if self.kept.policy_outputs is None:
            return super().policy(nets, actor)
        features = jax.lax.stop_gradient(self.features)
        return recalled(nets.actor_net, actor, features, self.kept.policy_outputs)

    def gain(self, nets: ActorCritic, actor: Params) -> Array:
        if self.kept.steps is None or self.kept.end is None:
            return super().gain(nets, actor)
        gains = self.kept.steps.replay(actor), self.kept.end.replay(actor)[None]
        return jnp.concatenate(gains)

    def critic_out(self, nets: ActorCritic, critic: Params) -> Array:
        length = len(self.features)
        if self.kept.critic is not None:
            return steps(self.kept.critic.replay(critic), length)[..., None]
        x = jnp.concatenate([self.features, self.seen_action], -1)
        x = jax.lax.stop_gradient(rows(x))
        out = recalled(nets.critic_net, critic, x, self.kept.critic_outputs)
        return steps(out, length)


def imagine(
    world: WorldModel,
    nets: ActorCritic,
    params: dict[str, Params],
    start: State,
    key: Array,
    *,
    with_gradient: bool,
    **settings: Any,
) -> FastRollout:
    """As the plain `imagination.imagine`, with what its passes leave."""

    def policy(features, key, taps):
        heads, trace = _passed(nets.actor_net, params["actor"], features, taps)
        return *sampled(nets, *heads, key), trace

    def critic(features, action, taps):
        x = jnp.concatenate([features, world.action_features(action)], -1)
        out, trace = _passed(nets.critic_net, params["critic"], rows(x), taps)
        return steps(nets.values.mean(out), len(features)), trace

    given = world, policy, critic, start, key
    if not with_gradient:
        rollout, traces = roll(*given, Shifts(), **settings)
        gradients = Shifts()
    else:
        features = jax.eval_shape(world.features, start)
        shifts = _shifts(nets, params, features, settings["horizon"])
        gradients, rollout, traces = action_gradients(*given, shifts, **settings)
    rollout = rollout.replace(gradient=gradients.action)
    return FastRollout(**vars(rollout), kept=_kept(nets, rollout, gradients, traces))


def _passed(
    net: nn.Module, params: Params, x: Array, taps: Taps | None
) -> tuple[Any, Taps]:
    """net(x), and the inputs of its layers where they have `taps`, or else the outputs
    of its products.
    """
    return noted(net, params, x) if taps is None else tapped(net, params, x, taps)


def _shifts(
    nets: ActorCritic,
    params: dict[str, Params],
    features: jax.ShapeDtypeStruct,
    horizon: int,
) -> Shifts:
    """Zeros for the actions, and for the layers whose gradients are kept; features
    [N, F] have a shape and a type.
    """
    n, f = features.shape
    like = lambda *lead: jax.ShapeDtypeStruct((*lead, f), features.dtype)  # noqa: E731
    policy = critic = None
    if not nets.stochastic:
        shifted = (like(horizon, n), like(n))
        policy = tuple(zeros(nets.actor_net, params["actor"], x) for x in shifted)
    if nets.values.outputs == 1:
        size = f + nets.action_size
        x = jax.ShapeDtypeStruct((n * (horizon + 1), size), features.dtype)
        critic = zeros(nets.critic_net, params["critic"], x)
    action = jnp.zeros((horizon + 1, n, nets.action_size), features.dtype)
    return Shifts(action, policy, critic)


def _kept(
    nets: ActorCritic, rollout: Rollout, gradients: Shifts, traces: Traces
) -> Kept:
    """What the rollout leaves, and the pass that gave `gradients`."""
    kept: dict[str, Any] = {}
    if gradients.policy is None:
        kept["policy_outputs"] = jax.tree.map(append, *traces.policy)
    else:
        gain = (rollout.action * gradients.action).sum(-1)
        parts = zip((gain[:-1], gain[-1]), traces.policy, gradients.policy, strict=True)
        kept["steps"], kept["end"] = (Recording(nets.actor_net, *p) for p in parts)
    if gradients.critic is None:
        kept["critic_outputs"] = traces.critic
    else:
        parts = (rows(rollout.q), traces.critic, gradients.critic)
        kept["critic"] = Recording(nets.critic_net, *parts)
    return Kept(**kept)


@struct.dataclass
class Recording:
    """A number for each row, and its gradient's way back through `net`.

    value [...]; inputs of the layers [..., I]; gradients of the sum of all values with
    respect to the layers' outputs [..., O]. Rows have nothing to do with each other.
    """

    net: nn.Module = struct.field(pytree_node=False)
    value: Array
    inputs: Taps
    gradients: Taps

    def replay(self, params: Params) -> Array:
        """The values as a function of the parameters that they were recorded with:
        [...].
        """
        return _replay(self.net, params, self)


def zeros(net: nn.Module, params: Params, x: Array) -> Taps:
    """Zeros to add to the outputs of a network's layers for rows like `x` [..., I],
    which has a shape and a type: for the gradient with respect to them.

    Raises TypeError where parameters belong to none of LAYERS.
    """
    outputs: Taps = {}

    def layer(path: str, call: Callable, x: Array) -> Array:
        outputs[path] = call(x)
        return outputs[path]

    def run(params, x):
        _through(net, params, x, layer)
        return outputs

    shapes = jax.eval_shape(run, params, x)
    owned = {"/".join(path[:-1]) for path in flatten_dict(params)}
    if missed := owned - shapes.keys():
        raise TypeError(f"no layers of a known kind: {sorted(missed)}")
    return jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), shapes)


def tapped(net: nn.Module, params: Params, x: Array, taps: Taps) -> tuple[Any, Taps]:
    """net(x), with `taps` added to the layers' outputs, and the layers' inputs."""
    inputs: Taps = {}

    def layer(path: str, call: Callable, x: Array) -> Array:
        inputs[path] = x
        return call(x) + taps[path]

    return _through(net, params, x, layer), inputs


def noted(net: nn.Module, params: Params, x: Array) -> tuple[Any, Taps]:
    """net(x), and what its products came to."""
    outputs: Taps = {}

    def layer(path: str, call: Callable, x: Array) -> Array:
        outputs[path] = call(x)
        return outputs[path]

    return _through(net, params, x, layer, (Dense,)), outputs


def recalled(net: nn.Module, params: Params, x: Array, outputs: Taps) -> Any:
    """net(x), as a function of the parameters with which `outputs` were noted."""

    def layer(path: str, call: Callable, x: Array) -> Array:
        return call(x, outputs[path])

    return _through(net, params, x, layer, (Dense,))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _replay(net: nn.Module, params: Params, kept: Recording) -> Array:
    return kept.value


def _forward(net, params, kept):
    return kept.value, (params, kept)


def _backward(net, residuals, weight):
    params, kept = residuals

    def outputs(params):
        found: Taps = {}

        def layer(path: str, call: Callable, x: Array) -> Array:
            found[path] = call(kept.inputs[path])
            return found[path]

        anything = next(iter(kept.inputs.values()))  # each layer has its own input
        _through(net, params, anything, layer)
        return found

    weigh = lambda g: (g * weight[..., None]).astype(g.dtype)  # noqa: E731
    weighted = jax.tree.map(weigh, kept.gradients)
    of_params = jax.vjp(outputs, params)[1](weighted)[0]
    return of_params, jax.tree.map(jnp.zeros_like, kept)


_replay.defvjp(_forward, _backward)


def _through(
    net: nn.Module,
    params: Params,
    x: Array,
    layer: Callable,
    kinds: tuple[type[nn.Module], ...] = LAYERS,
) -> Any:
    """net(x), where layer(path, call, x) stands in for its layers of `kinds`."""

    def intercept(call, args, kwargs, context):
        if context.method_name != "__call__" or not isinstance(context.module, kinds):
            return call(*args, **kwargs)
        return layer("/".join(context.module.path), call, *args)

    with nn.intercept_methods(intercept):
        return net.apply({"params": params}, x)
