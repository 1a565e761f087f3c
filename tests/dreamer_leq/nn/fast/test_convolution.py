"""Convolutions as matrix products against XLA's, and what each backend gets."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.nn.fast import convolution
from dreamer_leq.nn.fast.convolution import (
    conv,
    conv_by_matmul,
    conv_transpose,
    conv_transpose_by_matmul,
)


@pytest.fixture
def accelerator(monkeypatch):
    """As if there were one: XLA's own convolutions."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


SHAPES = [(6, 4), (7, 5)]  # blocks of 2 x 2 and none


@partial(jax.jit, static_argnums=(0, 3))
def values_and_gradients(layer, x, kernel, stride):
    def objective(x, kernel):
        y = layer(x, kernel, stride)
        return (y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum(), y

    (_, y), grads = jax.value_and_grad(objective, (0, 1), has_aux=True)(x, kernel)
    return y, *grads


def inputs(shape, size, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, *shape, 3)), rng.standard_normal((size,) * 2)
    kernel = kernel[..., None, None] * rng.standard_normal((size, size, 3, 4))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


@pytest.mark.parametrize(("size", "stride"), [(1, 2), (4, 1), (5, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize(
    ("ours", "xlas"),
    [(conv_by_matmul, conv), (conv_transpose_by_matmul, conv_transpose)],
)
def test_products_are_convolutions(ours, xlas, size, stride, accelerator):
    """Outputs and both gradients, for even and odd sides and kernels."""
    for shape in SHAPES:
        x, kernel = inputs(shape, size)
        found = values_and_gradients(ours, x, kernel, stride)
        expected = values_and_gradients(xlas, x, kernel, stride)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [conv, conv_transpose])
def test_bfloat16_stays_bfloat16(layer, monkeypatch):
    x, kernel = inputs((8, 8), 5, jnp.bfloat16)
    ours = layer(x, kernel, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    xlas = layer(x, kernel, 2)
    assert ours.dtype == xlas.dtype == jnp.bfloat16
    ours, xlas = (np.asarray(y, np.float32) for y in (ours, xlas))
    np.testing.assert_allclose(ours, xlas, rtol=0.1, atol=0.02 * np.abs(xlas).max())


@pytest.mark.parametrize("layer", [conv, conv_transpose])
@pytest.mark.parametrize(("backend", "convolves"), [("cpu", False), ("gpu", True)])
def test_only_accelerators_convolve(layer, backend, convolves, monkeypatch):
    """On CPUs a convolution in a loop takes a dozen times as long as the product."""
    monkeypatch.setattr(convolution.jax, "default_backend", lambda: backend)
    x, kernel = inputs((8, 8), 5)
    program = str(jax.make_jaxpr(lambda x, k: layer(x, k, 2))(x, kernel))
    assert ("conv_general_dilated" in program) == convolves
    assert ("dot_general" in program) != convolves
