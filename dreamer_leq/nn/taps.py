"""What a network's passes leave behind, so that its parameters can learn from it later.

The λ-returns' gradient passes through policy and critic on its way back to the actions,
each row as it is. Their parameters learn from the same rows and in the same direction,
but each row with a weight that is known only when all returns are. The two gradients
differ only where a layer sums over its rows. So the layers' inputs and the gradients
that reached their outputs are kept, and one product for each layer gives the gradient
of its parameters for any weights: neither pass is made again.

Where a loss wants more than a weight for each row, the outputs of the layers are kept:
the backward pass is made then, without its forward pass.
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

from dreamer_leq.nn.layers import Dense, LayerNorm, RMSNorm

Params = Any
Taps = dict[str, Array]  # of each layer, by its path in the network

LAYERS = (Dense, LayerNorm, RMSNorm)  # what parameters belong to


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
    """Nothing to add to the layers' outputs for rows like `x` [..., I], which has a
    shape and a type: for the gradient with respect to them.

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
