"""Stacked frames as states, seen through a convolutional encoder that learns together
with the policy: for algorithms that imagine nothing.

Shapes: N states, k frames of a stack, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.nn.distributions import precise
from dreamer_leq.nn.fast.convolution import conv
from dreamer_leq.nn.layers import Projection, orthogonal_init
from dreamer_leq.world_models.vision import PatchEncoder, to_nested

Params = Any
Batch = Mapping[str, Array]

COLOURS = 3


class DrQEncoder(nn.Module):
    """[N, H, W, C] in [0, 1] -> [N, F]: four convolutions of kernel 3, the first with
    stride 2 (arXiv 2107.09645).
    """

    depth: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        x = (image - 0.5).astype(self.dtype)
        for i in range(4):
            init = orthogonal_init(2**0.5)
            sizes = dict(strides=1 if i else 2, padding="VALID", dtype=self.dtype)
            how = dict(kernel_init=init, conv_general_dilated=_conv)
            x = jax.nn.relu(nn.Conv(self.depth, (3, 3), **sizes, **how)(x))
        return x.reshape(x.shape[0], -1)


def _conv(
    x: Array, kernel: Array, strides: Sequence[int], padding: Any, **_: Any
) -> Array:
    """`lax.conv_general_dilated` of square strides, as each backend is quickest."""
    return conv(x, kernel, strides[0], padding)


class FrameEncoder(nn.Module):
    """What `body` sees, as `features` numbers (linear, LayerNorm, tanh); 0: all of
    them.
    """

    body: nn.Module
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        x = self.body(image)
        return Projection(self.features, self.dtype)(x) if self.features else x


@dataclass(frozen=True)
class FrameNet:
    """The encoder. `config` is the `frames` group of configs.yaml."""

    config: Any
    image_size: int
    dtype: jnp.dtype = jnp.float32

    @property
    def channels(self) -> int:
        """Those of a stack."""
        return COLOURS * self.config.stack

    @cached_property
    def features(self) -> int:
        """F, the size of the encoder's output."""
        state = jax.ShapeDtypeStruct((1, *self.shape), jnp.uint8)
        params = jax.eval_shape(self.init, jax.random.key(0))
        return jax.eval_shape(self.encode, params, state).shape[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a state: H, W, channels."""
        return (self.image_size, self.image_size, self.channels)

    def init(self, key: Array) -> Params:
        return self._encoder.init(key, self._pixels(jnp.zeros((1, *self.shape))))[
            "params"
        ]

    def encode(self, params: Params, state: Array) -> Array:
        """uint8 [..., H, W, channels] -> float32 [..., F]."""
        flat = state.reshape(-1, *self.shape)
        x = self._encoder.apply({"params": params}, self._pixels(flat))
        return precise(x).reshape(*state.shape[:-3], -1)

    def _pixels(self, state: Array) -> Array:
        """Numbers in [0, 1], in the order in which the encoder reads them."""
        state = to_nested(state) if self.config.image == "patch" else state
        return state.astype(jnp.float32) / 255

    @property
    def _encoder(self) -> nn.Module:
        c = self.config
        body = DrQEncoder(c.depth, self.dtype)
        if c.image == "patch":
            body = PatchEncoder(c.depth, c.mults, self.dtype)
        return FrameEncoder(body, c.features, self.dtype)


@struct.dataclass
class Frames:
    """A representation whose states are stacks, uint8 [N, H, W, 3k], oldest first.

    A batch for `starts` holds image, and its successor next_image (data/frames.py).
    """

    params: Params | None  # of the encoder; None where it is still to learn
    net: FrameNet = struct.field(pytree_node=False)

    members = 0
    observations = ("image",)

    @property
    def feature_size(self) -> int:
        return self.net.features

    def seen_by(self, encoder: Params) -> "Frames":
        """The same frames through an encoder with these parameters."""
        return self.replace(params=encoder)

    def starts(self, batch: Batch) -> Array:
        return batch["image"]

    def successors(self, batch: Batch) -> Array:
        return batch["next_image"]

    def features(self, state: Array) -> Array:
        return self.net.encode(self.params, state)

    def action_features(self, action: Array) -> Array:
        """The action itself."""
        return action

    def pack(self, state: Array) -> dict[str, Array]:
        return {"image": state}

    def decode(self, state: Array) -> dict[str, Array]:
        """The newest frame."""
        return {"image": state[..., -COLOURS:]}

    def initial(self, n: int) -> Array:
        return jnp.zeros((n, *self.net.shape), jnp.uint8)

    def filter(self, state: Array, batch: Batch, key: Array) -> Array:
        """The stack with a new frame; the first of an episode fills it."""
        del key
        image = jnp.asarray(batch["image"])
        filled = jnp.tile(image, self.net.config.stack)
        pushed = jnp.concatenate([state[..., COLOURS:], image], -1)
        return jnp.where(batch["is_first"][:, None, None, None], filled, pushed)


def random_shift(state: Array, key: Array, pad: int) -> Array:
    """Each state [N, H, W, C] moved by up to `pad` whole pixels along both axes, alike
    in all its channels; its edge goes on outside (arXiv 2004.13649).
    """
    n, height, width, _ = state.shape
    offset = jax.random.randint(key, (2, n, 1), -pad, pad + 1)
    rows = (jnp.arange(height) + offset[0]).clip(0, height - 1)
    columns = (jnp.arange(width) + offset[1]).clip(0, width - 1)
    return state[jnp.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]
