"""Strided convolutions with SAME padding, as convolutions or as matrix products.

XLA's CPU backend runs convolutions inside a loop without its fast library, and spreads
the input of a transposed one with zeros. There they are computed as products of patches
and kernels: the same sums in another order. Accelerators keep XLA's convolutions.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.nn.fast.products import affine

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x: Array, kernel: Array, stride: int) -> Array:
    """[N, H, W, I], [K, K, I, O] -> [N, ⌈H / stride⌉, ⌈W / stride⌉, O]."""
    if jax.default_backend() == "cpu":
        return conv_by_matmul(x, kernel, stride)
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=_LAYOUT
    )


def conv_transpose(x: Array, kernel: Array, stride: int) -> Array:
    """[N, H, W, I], [K, K, I, O] -> [N, H · stride, W · stride, O]."""
    if jax.default_backend() == "cpu":
        return conv_transpose_by_matmul(x, kernel, stride)
    strides = (stride, stride)
    return jax.lax.conv_transpose(x, kernel, strides, "SAME", dimension_numbers=_LAYOUT)


def conv_by_matmul(x: Array, kernel: Array, stride: int) -> Array:
    """As `conv`: every output's patch of the input, times the kernel as a matrix."""
    size = kernel.shape[0]
    pads = [_padding(n, size, stride) for n in x.shape[1:3]]
    if stride == 1:
        return _by_phases(x, kernel, 1, pads[0][0])
    patches = _patches(x, size, stride, pads)
    return affine(patches, kernel.reshape(-1, kernel.shape[-1]))


def conv_transpose_by_matmul(x: Array, kernel: Array, stride: int) -> Array:
    """As `conv_transpose`, without the zeros between the inputs."""
    size = kernel.shape[0]
    lead = size - 1 if stride > size - 1 else math.ceil((size + stride - 2) / 2)
    return _by_phases(x, kernel, stride, lead)


def _by_phases(x: Array, kernel: Array, stride: int, lead: int) -> Array:
    """Transposed convolution: input j and the kernel's tap k meet in output
    stride · j + lead - k.

    The outputs around an input, one for each phase along both axes, see the same
    patch: one product gives all of them. Where there would be a single phase, blocks of
    2 x 2 inputs make four, so that patches overlap less and matrices are wider.
    """
    even = x.shape[1] % 2 == x.shape[2] % 2 == 0
    block = 2 if stride == 1 and even else 1
    taps, pad = _taps(kernel.shape[0], stride, lead, block)
    patches = _patches(_to_blocks(x, block), len(taps), 1, [pad, pad])
    matrix = jnp.einsum(
        "aupk,bvql,klio->abuvipqo", *[taps.astype(kernel.dtype)] * 2, kernel
    )
    y = affine(patches, matrix.reshape(patches.shape[-1], -1))
    return _from_blocks(y, stride * block)


def _taps(
    size: int, stride: int, lead: int, block: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Which tap k joins input u of block i + d with output v of block i.

    Returns 0 or 1 as [d, u, v, k], and how far d reaches before and after 0.
    """
    joined = [
        (d, u, v, k)
        for d in range(-size, size + 1)
        for u in range(block)
        for v in range(stride * block)
        if 0 <= (k := stride * (block * d + u) + lead - v) < size
    ]
    first, last = joined[0][0], joined[-1][0]
    taps = np.zeros((last - first + 1, block, stride * block, size), np.float32)
    for d, u, v, k in joined:
        taps[d - first, u, v, k] = 1
    return taps, (-first, last)


def _to_blocks(x: Array, side: int) -> Array:
    """[N, H, W, I] -> [N, H / side, W / side, side² · I]."""
    if side == 1:
        return x
    n, height, width, channels = x.shape
    x = x.reshape(n, height // side, side, width // side, side, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // side, width // side, -1)


def _from_blocks(x: Array, side: int) -> Array:
    """The inverse of `_to_blocks`."""
    n, height, width, _ = x.shape
    x = x.reshape(n, height, width, side, side, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height * side, width * side, -1)


def _patches(x: Array, size: int, stride: int, pads: list[tuple[int, int]]) -> Array:
    """The `size` x `size` inputs under every output: [N, H, W, I] -> [N, h, w,
    size² · I], with `pads` zeros before and after each axis.

    Along one axis after the other: twice `size` pieces instead of `size`² are quicker
    to copy and to compile, and to add up on the way back.
    """
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    x = jnp.concatenate([x[:, :, j : j + columns : stride] for j in range(size)], -1)
    return jnp.concatenate([x[:, i : i + rows : stride] for i in range(size)], -1)


def _padding(inputs: int, size: int, stride: int) -> tuple[int, int]:
    """SAME padding along an axis: zeros before and after `inputs`."""
    outputs = -(-inputs // stride)
    zeros = max((outputs - 1) * stride + size - inputs, 0)
    return zeros // 2, zeros - zeros // 2
