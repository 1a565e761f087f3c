"""The layers of DreamerV3: RMS-normed linear, block-linear and convolutional.

Parameters are float32; `dtype` is the type of the matmuls and activations. Norms are
computed in float32 at least, whatever `dtype` is.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import precise
from dreamer_leq.nn.fast.convolution import conv, conv_transpose
from dreamer_leq.nn.fast.products import affine, known_affine, scaled, shifted

# Standard deviation of a unit normal truncated to [-2, 2].
TRUNCATED_STD = 0.87962566103423978


def fan_in_init(fan_in: int, scale: float = 1.0) -> Callable:
    """Truncated normal of standard deviation scale / sqrt(fan_in)."""

    def init(key, shape, dtype=jnp.float32):
        std = scale / math.sqrt(fan_in) / TRUNCATED_STD
        return std * jax.random.truncated_normal(key, -2, 2, shape, dtype)

    return init


def orthogonal_init(scale: float = 1.0) -> Callable:
    """Orthogonal matrices times `scale`; those of several networks are made one after
    the other.

    Side by side, under `vmap`, two of them at once wait for each other for ever on a
    CPU: jaxlib (0.10.1) divides a batch of QR decompositions among the threads that
    already compute them.
    """
    one = nn.initializers.orthogonal(scale)

    def init(key, shape, dtype=jnp.float32):
        make = jax.custom_batching.sequential_vmap(lambda key: one(key, shape, dtype))
        return make(key)

    return init


def _of_size_one(x: Array, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) over the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + eps)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis."""

    eps: float = 1e-4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = _of_size_one(precise(x), self.eps)
        return scaled(x, scale).astype(self.dtype)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis."""

    eps: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x = precise(x)
        x = _of_size_one(x - x.mean(-1, keepdims=True), self.eps)
        return shifted(scaled(x, scale), bias).astype(self.dtype)


class Dense(nn.Module):
    """x W + b, as flax's, with gradients that are quick on CPUs too. It may be `known`
    from another call. With more inputs `beside` x, [K, N, A] beside [N, I], it is of
    [K N, I + A], and x's product is made once.
    """

    features: int
    kernel_init: Callable
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, known: Array | None = None, beside: Array | None = None
    ) -> Array:
        own, shape = x.shape[-1], (_inputs(x, beside), self.features)
        kernel, bias = self.param("kernel", self.kernel_init, shape), None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, shape[1:])
        as_own = lambda y: jnp.asarray(y, self.dtype)  # noqa: E731
        x, kernel, bias = jax.tree.map(as_own, (x, kernel, bias))
        if known is not None:
            return known_affine(known, x, kernel, bias)
        y = affine(x, kernel[:own], bias)
        if beside is None:
            return y
        y = y + affine(as_own(beside), kernel[own:])
        return y.reshape(-1, self.features)


def _inputs(x: Array, beside: Array | None) -> int:
    """Numbers that a layer sees of x and of what is beside it."""
    return x.shape[-1] + (0 if beside is None else beside.shape[-1])


class Linear(nn.Module):
    """x W + b; `fan_in` where this layer holds only a part of a larger input."""

    features: int
    scale: float = 1.0
    use_bias: bool = True
    fan_in: int | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        init = fan_in_init(self.fan_in or _inputs(x, beside), self.scale)
        sizes = (self.features, init, self.use_bias, self.dtype)
        return Dense(*sizes, name="linear")(x, beside=beside)


class NormAct(nn.Module):
    """RMSNorm -> SiLU."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jax.nn.silu(RMSNorm(dtype=self.dtype, name="norm")(x))


class NormLinear(nn.Module):
    """Linear (with bias) -> RMSNorm -> SiLU."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        x = Linear(self.features, dtype=self.dtype, name="linear")(x, beside)
        return NormAct(dtype=self.dtype, name="act")(x)


def by_block(x: Array, blocks: int) -> Array:
    """The G equal parts of each row, part by part: [..., I] -> [G, N, I / G]."""
    return x.reshape(-1, blocks, x.shape[-1] // blocks).swapaxes(0, 1)


def in_one(x: Array) -> Array:
    """What `by_block` has done, undone: [G, N, I / G] -> [N, I]."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


class BlockLinear(nn.Module):
    """G = `blocks` equal parts of the input, each with its own matrix: [..., I] ->
    [..., O], or [G, N, O / G] for what goes on part by part (`by_block`).

    As in DreamerV3, the initial scale counts all I inputs, not those of one block;
    `fan_in` overrides it where this layer holds only a part of a larger input.
    """

    features: int
    blocks: int
    use_bias: bool = True
    fan_in: int | None = None
    dtype: jnp.dtype = jnp.float32
    by_block: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs, g = x.shape[-1], self.blocks
        if inputs % g or self.features % g:
            raise ValueError(
                f"{inputs} -> {self.features} does not split in {g} blocks"
            )
        shape = (g, inputs // g, self.features // g)
        kernel = self.param("kernel", fan_in_init(self.fan_in or inputs), shape)
        lead = x.shape[:-1]
        # blocks first: as an einsum over the middle axis, XLA:CPU moves the kernels
        x = by_block(x.astype(self.dtype), g) @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = jax.vmap(shifted)(x, bias.astype(self.dtype).reshape(g, -1))
        return x if self.by_block else in_one(x).reshape(*lead, self.features)


class MLP(nn.Module):
    """`layers` NormLinear layers of `units`; `beside` the input as for Dense."""

    layers: int
    units: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        for i in range(self.layers):
            layer = NormLinear(self.units, dtype=self.dtype, name=f"layer{i}")
            x = layer(x) if i else layer(x, beside)
        return x


class PlainMLP(nn.Module):
    """ReLU layers with orthogonal matrices of gain √2, the last one too: [..., I] ->
    [..., outputs]. `layer_norm` puts a LayerNorm before each ReLU; `beside` the input
    as for Dense.

    The networks of the state-vector experiments (paper App. A).
    """

    layers: int
    units: int
    outputs: int
    layer_norm: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        def dense(features: int, name: str) -> Dense:
            init = orthogonal_init(math.sqrt(2))
            return Dense(features, init, dtype=self.dtype, name=name)

        for i in range(self.layers):
            layer = dense(self.units, f"layer{i}")
            x = layer(x) if i else layer(x, beside=beside)
            if self.layer_norm:
                x = LayerNorm(dtype=self.dtype, name=f"norm{i}")(x)
            x = jax.nn.relu(x)
        return precise(dense(self.outputs, "out")(x))


def side_by_side(x: Array, beside: Array) -> Array:
    """[..., I], [..., A] -> [..., I + A]; `beside` may have more leading axes."""
    x = jnp.broadcast_to(x, (*beside.shape[:-1], x.shape[-1]))
    return jnp.concatenate([x, beside], -1)


class Projection(nn.Module):
    """Linear -> LayerNorm -> tanh: a network's own small view of an encoder's many
    numbers, [..., I] -> [..., size] (the trunk of arXiv 2107.09645).
    """

    size: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = orthogonal_init()
        x = Dense(self.size, init, dtype=self.dtype, name="linear")(x)
        return jnp.tanh(LayerNorm(dtype=self.dtype, name="norm")(x))


class Head(nn.Module):
    """What a policy or a value is read from: [..., I] -> [..., outputs].

    `network`: dreamer (RMS norm, SiLU; `scale` is that of its last layer, 0 makes all
    outputs 0 at first) or mlp (the paper's for states: ReLU). With a `projection` it
    sees so many numbers of its input; what is given `beside` it, as [..., A], is not
    projected, and its leading axes are those of the output: with [K, N, A] beside
    [N, I] what can be is computed once for all K.
    """

    network: str
    layers: int
    units: int
    layer_norm: bool
    outputs: int
    scale: float = 0.0
    projection: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        if self.projection:
            x = Projection(self.projection, self.dtype, name="projection")(x)
        if beside is not None and beside.ndim > x.ndim == 2 and self.layers:
            return self._read(x, beside).reshape(*beside.shape[:-1], self.outputs)
        return self._read(x if beside is None else side_by_side(x, beside))

    def _read(self, x: Array, beside: Array | None = None) -> Array:
        if self.network == "mlp":
            sizes = (self.layers, self.units, self.outputs, self.layer_norm)
            return PlainMLP(*sizes, self.dtype, name="trunk")(x, beside)
        x = MLP(self.layers, self.units, self.dtype, name="trunk")(x, beside)
        last = Linear(self.outputs, self.scale, dtype=self.dtype, name="out")
        return precise(last(x))


class Conv(nn.Module):
    """Convolution, or its transpose, with SAME padding; bias, no norm."""

    features: int
    kernel: int
    stride: int = 1
    transpose: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", fan_in_init(math.prod(shape[:3])), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        layer = conv_transpose if self.transpose else conv
        x = layer(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        return shifted(x, bias.astype(self.dtype))
