"""Strided convolutions, in a form that each backend computes quickly.

XLA's CPU backend has a fast library for convolutions whose axes lie in one order.
Outside of loops it brings all of them into that order, but training is a loop: there
the gradients that JAX derives take fifty times as long. So on CPUs they are written in
that order, and transposed ones without the zeros between their inputs: the same sums in
another order. Accelerators keep XLA's own.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

Pads = tuple[tuple[int, int], ...]  # before and after each of height and width

_ORDER = ("NHWC", "HWIO", "NHWC")


def conv(x: Array, kernel: Array, stride: int, padding: str = "SAME") -> Array:
    """[N, H, W, I], [K, K, I, O] -> [N, ⌈H / stride⌉, ⌈W / stride⌉, O]; with padding
    VALID only the outputs whose K x K inputs are all there.
    """
    if jax.default_backend() == "cpu":
        return conv_in_order(x, kernel, stride, padding)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_ORDER
    )


def conv_transpose(x: Array, kernel: Array, stride: int) -> Array:
    """[N, H, W, I], [K, K, I, O] -> [N, H · stride, W · stride, O]."""
    if jax.default_backend() == "cpu":
        return conv_transpose_in_order(x, kernel, stride)
    strides = (stride, stride)
    return jax.lax.conv_transpose(x, kernel, strides, "SAME", dimension_numbers=_ORDER)


def conv_in_order(x: Array, kernel: Array, stride: int, padding: str = "SAME") -> Array:
    """As `conv`, its gradients in the order of the CPU's library."""
    sides, size = x.shape[1:3], kernel.shape[:2]
    pads = jax.lax.padtype_to_pads(sides, size, (stride, stride), padding)
    return _conv(x, kernel, stride, tuple(pads))


def conv_transpose_in_order(x: Array, kernel: Array, stride: int) -> Array:
    """As `conv_transpose`, without the zeros between the inputs."""
    size = kernel.shape[0]
    lead = size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)
    return _by_phases(x, kernel, stride, (lead, lead))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return _by_library(x, kernel, pads, stride=stride)


def _forward(x: Array, kernel: Array, stride: int, pads: Pads) -> tuple[Array, tuple]:
    return _conv(x, kernel, stride, pads), (x, kernel)


def _backward(stride: int, pads: Pads, seen: tuple, dy: Array) -> tuple[Array, Array]:
    """The gradients by the inputs, a transposed convolution of those by the outputs,
    and by the kernel, for which channels and batch change places.
    """
    x, kernel = seen
    size, sides, outputs = kernel.shape[0], x.shape[1:3], dy.shape[1:3]
    more = [(0, -(-n // stride) - m) for n, m in zip(sides, outputs, strict=True)]
    leads = (size - 1 - pads[0][0], size - 1 - pads[1][0])
    turned = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    dx = _by_phases(jnp.pad(dy, ((0, 0), *more, (0, 0))), turned, stride, leads)
    reached = (
        (before, size + stride * (m - 1) - n - before)
        for n, m, (before, _) in zip(sides, outputs, pads, strict=True)
    )
    swapped = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    dkernel = _by_library(*swapped, tuple(reached), dilation=stride)
    return dx[:, : sides[0], : sides[1]], dkernel.transpose(1, 2, 0, 3)


_conv.defvjp(_forward, _backward)


def _by_library(
    x: Array, kernel: Array, pads: Pads, stride: int = 1, dilation: int = 1
) -> Array:
    """XLA's convolution. Of several kernels side by side it would make one in groups,
    which the library doesn't have: they take turns.
    """

    @jax.custom_batching.sequential_vmap
    def run(x: Array, kernel: Array) -> Array:
        strides, dilations = (stride, stride), (dilation, dilation)
        return jax.lax.conv_general_dilated(
            x, kernel, strides, pads, None, dilations, _ORDER
        )

    return run(x, kernel)


def _by_phases(x: Array, kernel: Array, stride: int, leads: tuple[int, int]) -> Array:
    """Transposed convolution: along each axis input j and the kernel's tap k meet in
    output stride · j + lead - k.

    The outputs around an input, `stride` phases along an axis, see the same inputs: one
    convolution with fewer taps, and as many times the channels, gives all of them.
    """
    size = kernel.shape[0]
    # output - stride · j, of the last tap and of the first one, in whole strides
    ends = [((lead - size + 1) // stride, lead // stride) for lead in leads]
    for axis, (lead, (last, first)) in enumerate(zip(leads, ends, strict=True)):
        before, taps = lead - size + 1 - stride * last, first - last + 1
        pads = [(0, 0)] * kernel.ndim
        pads[2 * axis] = before, stride * taps - before - size
        kernel = jnp.pad(jnp.flip(kernel, 2 * axis), pads)
        sides = kernel.shape[: 2 * axis], kernel.shape[2 * axis + 1 :]
        kernel = jnp.flip(kernel.reshape(*sides[0], taps, stride, *sides[1]), 2 * axis)
    taps, channels = kernel.shape[:3:2], kernel.shape[4]  # [T, stride, T, stride, I, O]
    matrix = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(*taps, channels, -1)
    y = _conv(x, matrix, 1, tuple((first, -last) for last, first in ends))
    return _from_blocks(y, stride)


def _from_blocks(x: Array, side: int) -> Array:
    """[N, H, W, side² · O] -> [N, H · side, W · side, O]."""
    n, height, width, _ = x.shape
    x = x.reshape(n, height, width, side, side, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height * side, width * side, -1)
