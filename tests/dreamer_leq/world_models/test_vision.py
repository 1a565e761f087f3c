"""Image encoders and decoders: where each pixel goes, and convolutions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.nn.layers import Conv
from dreamer_leq.world_models.latent import LatentNet, ObservationSpec
from dreamer_leq.world_models.rssm import RSSMState
from dreamer_leq.world_models.vision import (
    ConvDecoder,
    ConvEncoder,
    PatchDecoder,
    PatchEncoder,
    from_nested,
    to_nested,
)

# Images of 16x16: two layers of patches, three convolutions.
SIDE, MULTS = 16, {"patch": (2, 3), "conv": (1, 2, 3)}


def make_params(module, *inputs, seed=0):
    """Random parameters of a module, drawn without compiling its initialisation."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        fan_in = max(1, np.prod(leaf.shape[:-1]))
        return jnp.float32(base + rng.normal(size=leaf.shape) / fan_in**0.5)

    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_encoder(image, bias=1.0):
    """`bias` scales the biases."""
    module = {
        "patch": PatchEncoder(4, MULTS["patch"]),
        "conv": ConvEncoder(4, MULTS["conv"], 5),
    }[image]
    lead = (SIDE**2,) if image == "patch" else (SIDE, SIDE)
    params = make_params(module, jnp.zeros((1, *lead, 3)))
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: x * bias if path[-1].key == "bias" else x, params
    )
    return jax.jit(lambda x: module.apply({"params": params}, x))


def make_decoder(image):
    module = {
        "patch": PatchDecoder(4, MULTS["patch"], units=8, blocks=2, image_size=SIDE),
        "conv": ConvDecoder(4, MULTS["conv"], 5, units=8, blocks=2),
    }[image]
    params = make_params(module, jnp.zeros((1, 6)), jnp.zeros((1, 5)))
    return params, jax.jit(lambda p, h, z: module.apply({"params": p}, h, z))


def make_net(image):
    """A world model of 16x16 images."""
    sizes = {"data.image_size": SIDE, "latent.depth": 4, "latent.mults": MULTS[image]}
    config = from_presets("debug", **{"latent.image": image}, **sizes)
    return LatentNet(config.latent, ObservationSpec(SIDE, 0, 2))


def pixels(n, side=SIDE, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


# --- the nested order -----------------------------------------------------------------


def quad_order(row, column, side):
    """Pixels of a square, quarter by quarter, each of them in the same way."""
    if side == 1:
        return [(row, column)]
    half = side // 2
    corners = [(0, 0), (0, half), (half, 0), (half, half)]
    return [p for r, c in corners for p in quad_order(row + r, column + c, half)]


@pytest.mark.parametrize("side", [4, 16, 64])
def test_nested_order_is_that_of_quarters_inside_a_4x4_grid(side):
    cell = side // 4
    grid = [(r, c) for r in range(0, side, cell) for c in range(0, side, cell)]
    order = [p for r, c in grid for p in quad_order(r, c, cell)]
    image = pixels(2, side)
    expected = np.stack([image[:, r, c] for r, c in order], 1)
    nested = to_nested(jnp.asarray(image))
    np.testing.assert_array_equal(nested, expected)
    back = from_nested(nested)
    assert back.dtype == jnp.uint8
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("shape", [(24, 24), (8, 16)])
def test_other_images_are_refused_by_their_size(shape):
    with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]}"):
        to_nested(jnp.zeros((1, *shape, 3)))


# --- what sees what -------------------------------------------------------------------


def test_a_patch_token_sees_its_own_block_of_pixels_and_all_of_it():
    encode = make_encoder("patch")
    image = jnp.zeros((1, SIDE, SIDE, 3)) + 0.5
    rows, columns = np.divmod(np.arange(SIDE**2), SIDE)
    changed = np.repeat(np.asarray(image), SIDE**2, 0)
    changed[np.arange(SIDE**2), rows, columns, 1] += 0.4
    base = np.asarray(encode(to_nested(image))).reshape(1, 16, -1)
    tokens = np.asarray(encode(to_nested(jnp.asarray(changed))))
    moved = np.abs(tokens.reshape(SIDE**2, 16, -1) - base).max(-1) > 1e-6
    own = (rows // 4) * 4 + columns // 4
    np.testing.assert_array_equal(moved, own[:, None] == np.arange(16))


def test_a_conv_token_sees_what_is_near_it():
    encode = make_encoder("conv")
    image = np.full((2, SIDE, SIDE, 3), 0.5, np.float32)
    image[1, 0, 0, 2] += 0.4
    tokens = np.asarray(encode(image)).reshape(2, 4, 4, -1)
    moved = np.abs(tokens[1] - tokens[0]).max(-1) > 1e-6
    near = np.arange(4) < 2
    np.testing.assert_array_equal(moved, near[:, None] & near)


def test_a_cell_of_the_patch_decoder_writes_its_own_block_of_pixels():
    params, decode = make_decoder("patch")
    h, z = jnp.ones((1, 6)), jnp.ones((1, 5))
    base = from_nested(decode(params, h, z))
    width = params["stem"]["stoch1"]["linear"]["bias"].size // 16
    for cell in range(16):
        other = jax.tree.map(np.copy, params)
        bias = other["stem"]["stoch1"]["linear"]["bias"]
        bias[cell * width : (cell + 1) * width] += [1, -2, 3] * (width // 3)
        moved = np.abs(from_nested(decode(other, h, z)) - base)[0].max(-1) > 0
        row, column = 4 * (cell // 4), 4 * (cell % 4)
        expected = np.zeros((SIDE, SIDE), bool)
        expected[row : row + 4, column : column + 4] = True
        np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("image", ["conv", "patch"])
def test_mid_grey_is_the_encoders_zero(image):
    """Pixels enter as x - 0.5: without biases, nothing is left of a grey image."""
    encode = make_encoder(image, bias=0.0)
    lead = (SIDE**2,) if image == "patch" else (SIDE, SIDE)
    assert not np.any(encode(jnp.full((1, *lead, 3), 0.5)))
    assert np.any(encode(jnp.full((1, *lead, 3), 0.6)))


@pytest.mark.parametrize("image", ["conv", "patch"])
def test_both_halves_of_a_state_reach_the_whole_image(image):
    params, decode = make_decoder(image)
    h, z = 2 * np.random.default_rng(2).normal(size=(2, 3, 6)).astype(np.float32)
    z = z[:, :5]
    base = np.asarray(decode(params, h, z))
    assert base.shape == ((3, SIDE, SIDE, 3) if image == "conv" else (3, SIDE**2, 3))
    assert base.dtype == np.float32
    assert base.min() > 0 and base.max() < 1 and base.std() > 0.05
    for other in (decode(params, -h, z), decode(params, h, -z)):
        assert (np.abs(other - base).reshape(3, -1, 3).max(-1) > 0).mean() > 0.99


# --- convolutions ---------------------------------------------------------------------


def conv_by_hand(x, kernel, bias, stride):
    """SAME: as few zeros as needed, the odd one at the end."""
    n, side, _, _ = x.shape
    k, out = len(kernel), -(-side // stride)
    pad = max((out - 1) * stride + k - side, 0)
    x = np.pad(
        x, [(0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)]
    )
    y = np.zeros((n, out, out, kernel.shape[-1]))
    for r in range(out):
        for c in range(out):
            window = x[:, r * stride : r * stride + k, c * stride : c * stride + k]
            y[:, r, c] = np.tensordot(window, kernel, 3)
    return y + bias


def transposed_by_hand(x, kernel, bias, stride):
    """Zeros between the pixels, then a convolution to `stride` times their side."""
    n, side, _, channels = x.shape
    k, spread = len(kernel), np.zeros((n, side * stride, side * stride, channels))
    spread[:, ::stride, ::stride] = x
    spread = spread[:, : (side - 1) * stride + 1, : (side - 1) * stride + 1]
    total = side * stride + k - 1 - spread.shape[1]
    before = -(-total // 2) if stride <= k - 1 else k - 1
    spread = np.pad(
        spread, [(0, 0), (before, total - before), (before, total - before), (0, 0)]
    )
    y = np.zeros((n, side * stride, side * stride, kernel.shape[-1]))
    for r in range(side * stride):
        for c in range(side * stride):
            y[:, r, c] = np.tensordot(spread[:, r : r + k, c : c + k], kernel, 3)
    return y + bias


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("transpose", [False, True])
def test_convolutions_are_those_of_dreamerv3(transpose, stride):
    layer = Conv(4, 5, stride, transpose)
    x = np.random.default_rng(4).normal(size=(2, 8, 8, 3)).astype(np.float32)
    params = make_params(layer, x)
    kernel, bias = params["kernel"], params["bias"]
    by_hand = transposed_by_hand if transpose else conv_by_hand
    expected = by_hand(x, kernel, bias, stride)
    actual = jax.jit(layer.apply)({"params": params}, x)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("transpose", [False, True])
def test_convolutions_start_with_the_scale_of_their_fan_in(transpose):
    layer = Conv(16, 5, 2, transpose)
    init = jax.jit(layer.init)(jax.random.key(5), jnp.zeros((1, 8, 8, 12)))["params"]
    kernel = np.asarray(init["kernel"])
    assert kernel.std() * np.sqrt(25 * 12) == pytest.approx(1, abs=0.03)
    assert not np.any(init["bias"])


# --- uint8 in, a sum of squared errors out --------------------------------------------


@pytest.mark.parametrize("image", ["conv", "patch"])
def test_images_enter_as_uint8_and_mean_pixel_over_255(image):
    net, raw = make_net(image), pixels(6).reshape(2, 3, SIDE, SIDE, 3)
    module = net.encoders["image"]
    scaled = jnp.asarray(raw.reshape(6, SIDE, SIDE, 3), jnp.float32) / 255
    scaled = to_nested(scaled) if image == "patch" else scaled
    params = make_params(module, scaled)
    expected = jax.jit(module.apply)({"params": params}, scaled)
    tokens = jax.jit(net.encode)({"encoder": {"image": params}}, {"image": raw})
    assert tokens.shape == (2, 3, net.tokens)
    np.testing.assert_allclose(tokens.reshape(6, -1), expected, atol=1e-5)


@pytest.mark.parametrize("image", ["conv", "patch"])
def test_decode_gives_images_in_their_usual_order(image):
    """What the loss compares with image[r, c] is what is decoded at [r, c]."""
    net = make_net(image)
    shapes = jax.eval_shape(net.init, jax.random.key(0))["decoder"]["image"]
    rng = np.random.default_rng(6)
    draw = lambda x: rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    params = {"decoder": {"image": jax.tree.map(draw, shapes)}}
    c = net.config
    state = RSSMState(
        jnp.asarray(rng.normal(size=(1, c.deter)), jnp.float32),
        jnp.ones((1, c.stoch, c.classes)),
    )
    decoded = np.asarray(net.decode(params, state))
    assert decoded.shape == (1, SIDE, SIDE, 3)
    quantized = np.round(decoded * 255).astype(np.uint8)
    losses = net._reconstruction_losses(
        params, jax.tree.map(lambda x: x[None], state), {"image": quantized[None]}
    )
    assert losses["image"] < SIDE**2 * 3 * (0.5 / 255) ** 2
