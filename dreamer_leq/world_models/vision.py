"""Image encoders and decoders.

`conv` is DreamerV3's pair (kernel 5, strided). `patch` is its counterpart for small
models on a CPU: kernel and stride are equal, so that with the pixels in nested order
every layer is one matrix product and no pixel is ever moved in between. What remains
are the norms and activations, whose cost is that of the finest feature map.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.nn.distributions import precise
from dreamer_leq.nn.layers import BlockLinear, Conv, Linear, NormAct, NormLinear

MIN_RESOLUTION = 4


class ConvEncoder(nn.Module):
    """[N, 64, 64, 3] in [0, 1] -> [N, tokens]. The first convolution keeps the
    resolution.
    """

    depth: int
    mults: tuple[int, ...]
    kernel: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        x = (image - 0.5).astype(self.dtype)
        for i, mult in enumerate(self.mults):
            stride = 1 if i == 0 else 2
            conv = Conv(
                self.depth * mult,
                self.kernel,
                stride,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = NormAct(dtype=self.dtype, name=f"act{i}")(conv(x))
        return x.reshape(*x.shape[:-3], -1)


class SpatialStem(nn.Module):
    """Latent state to the decoder's first feature map: -> [N, 4, 4, channels].

    deter comes in through a block linear layer (a block is a group of channels), stoch
    through an MLP; the two are added and normed.
    """

    channels: int
    units: int
    blocks: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array, stoch: Array) -> Array:
        side, g = MIN_RESOLUTION, self.blocks
        size = side * side * self.channels
        x = BlockLinear(size, g, dtype=self.dtype, name="deter")(deter)
        x = x.reshape(-1, g, side, side, self.channels // g)
        x = x.transpose(0, 2, 3, 1, 4).reshape(-1, side, side, self.channels)
        z = NormLinear(2 * self.units, dtype=self.dtype, name="stoch0")(stoch)
        z = Linear(size, dtype=self.dtype, name="stoch1")(z)
        x = x + z.reshape(-1, side, side, self.channels)
        return NormAct(dtype=self.dtype, name="act")(x)


class ConvDecoder(nn.Module):
    """deter [N, D], stoch [N, S*C] -> image [N, 64, 64, 3] in (0, 1)."""

    depth: int
    mults: tuple[int, ...]
    kernel: int
    units: int
    blocks: int
    channels: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array, stoch: Array) -> Array:
        depths = [self.depth * mult for mult in self.mults]
        stem = SpatialStem(depths[-1], self.units, self.blocks, self.dtype, name="stem")
        x = stem(deter, stoch)
        for i, features in enumerate(reversed(depths[:-1])):
            up = Conv(features, self.kernel, 2, True, self.dtype, name=f"conv{i}")
            x = NormAct(dtype=self.dtype, name=f"act{i}")(up(x))
        out = Conv(self.channels, self.kernel, 1, True, self.dtype, name="out")
        return jax.nn.sigmoid(precise(out(x)))


class PatchEncoder(nn.Module):
    """Nested pixels [N, 4096, 3] in [0, 1] -> [N, tokens].

    The last layer's patches are the 4x4 grid, each layer before it has patches of half
    the side; the first takes the pixels of its patches, 4x4 for a 64 px image and three
    layers.
    """

    depth: int
    mults: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, nested: Array) -> Array:
        x = (nested - 0.5).astype(self.dtype)
        for i, mult in enumerate(self.mults):
            patches = MIN_RESOLUTION**2 * 4 ** (len(self.mults) - 1 - i)
            x = x.reshape(x.shape[0], patches, -1)
            x = Linear(self.depth * mult, dtype=self.dtype, name=f"patch{i}")(x)
            x = NormAct(dtype=self.dtype, name=f"act{i}")(x)
        return x.reshape(x.shape[0], -1)


class PatchDecoder(nn.Module):
    """deter [N, D], stoch [N, S*C] -> nested pixels [N, 4096, 3] in (0, 1):
    `PatchEncoder` backwards.
    """

    depth: int
    mults: tuple[int, ...]
    units: int
    blocks: int
    image_size: int
    channels: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, deter: Array, stoch: Array) -> Array:
        depths = [self.depth * mult for mult in self.mults]
        stem = SpatialStem(depths[-1], self.units, self.blocks, self.dtype, name="stem")
        x = stem(deter, stoch)
        x = x.reshape(x.shape[0], MIN_RESOLUTION**2, depths[-1])
        for i, features in enumerate(reversed(depths[:-1])):
            x = Linear(4 * features, dtype=self.dtype, name=f"patch{i}")(x)
            x = x.reshape(x.shape[0], 4 * x.shape[1], features)
            x = NormAct(dtype=self.dtype, name=f"act{i}")(x)
        pixels = self.image_size**2
        patch = pixels // x.shape[1] * self.channels
        x = Linear(patch, dtype=self.dtype, name="out")(x)
        x = x.reshape(x.shape[0], pixels, self.channels)
        return jax.nn.sigmoid(precise(x))


def to_nested(image: Array) -> Array:
    """[N, H, W, C] -> [N, H*W, C]: the four pixels of every 2x2 patch side by side,
    then the four patches of every 4x4 patch, and so on down to a 4x4 grid in row order.
    """
    n, height, width, channels = image.shape
    quads = _quads(height, width)
    x = image.reshape(
        n, MIN_RESOLUTION, *[2] * quads, MIN_RESOLUTION, *[2] * quads, channels
    )
    return x.transpose(_nested_axes(quads)).reshape(n, height * width, channels)


def from_nested(nested: Array) -> Array:
    """The inverse of `to_nested`: [N, H*W, C] -> [N, H, W, C]."""
    n, pixels, channels = nested.shape
    side = int(pixels**0.5)
    quads = _quads(side, side)
    x = nested.reshape(n, MIN_RESOLUTION, MIN_RESOLUTION, *[2, 2] * quads, channels)
    axes = _nested_axes(quads)
    inverse = sorted(range(len(axes)), key=axes.__getitem__)
    return x.transpose(inverse).reshape(n, side, side, channels)


def _quads(height: int, width: int) -> int:
    """How often a square image halves until the 4x4 grid is reached."""
    quads = (height // MIN_RESOLUTION).bit_length() - 1
    if height != width or height != MIN_RESOLUTION * 2**quads:
        raise ValueError(
            f"images must be square, 4 times a power of 2; got {height}x{width}"
        )
    return quads


def _nested_axes(quads: int) -> list[int]:
    rows = range(1, quads + 2)
    columns = range(quads + 2, 2 * quads + 3)
    pairs = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    return [0, *pairs, 2 * quads + 3]
