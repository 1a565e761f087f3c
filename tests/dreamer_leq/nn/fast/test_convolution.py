"""Convolutions in the order of the CPU's library against XLA's, and what each backend
gets.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from dreamer_leq.nn.fast.convolution import (
    conv,
    conv_in_order,
    conv_transpose,
    conv_transpose_in_order,
)


@pytest.fixture
def accelerator(monkeypatch):
    """As if there were one: XLA's own convolutions."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


SHAPES = [(6, 4), (7, 5)]


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
    [(conv_in_order, conv), (conv_transpose_in_order, conv_transpose)],
)
def test_they_are_xlas(ours, xlas, size, stride, accelerator):
    """Outputs and both gradients, for even and odd sides and kernels."""
    for shape in SHAPES:
        x, kernel = inputs(shape, size)
        found = values_and_gradients(ours, x, kernel, stride)
        expected = values_and_gradients(xlas, x, kernel, stride)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (4, 3), (1, 2)])
def test_with_padding_valid(size, stride, accelerator):
    valid = [partial(layer, padding="VALID") for layer in (conv_in_order, conv)]
    for shape in [(6, 4), (7, 5), (8, 9)]:
        given = *inputs(shape, size), stride
        found, expected = (values_and_gradients(layer, *given) for layer in valid)
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


def convolutions(jaxpr):
    """All of a program, those of loops and of functions in it too."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "conv_general_dilated":
            yield eqn.params
        for inner in jaxprs_in_params(eqn.params):
            yield from convolutions(inner)


@pytest.mark.parametrize("members", [0, 2])
@pytest.mark.parametrize("layer", [conv, conv_transpose])
def test_on_cpus_all_lie_in_the_librarys_order(layer, members):
    """Others take fifty times as long in a loop. So do groups, which several kernels
    side by side would become, and zeros between inputs are work for nothing.
    """
    x, kernel = inputs((8, 8), 5)
    gradients = partial(values_and_gradients, layer, stride=2)
    if members:
        x, kernel = (jnp.stack([y] * members) for y in (x, kernel))
        gradients = jax.vmap(gradients)
    found = list(convolutions(jax.make_jaxpr(gradients)(x, kernel).jaxpr))
    assert len(found) == 3  # outputs, and a gradient by each argument
    for params in found:
        order = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        assert tuple(params["dimension_numbers"]) == order
        assert params["lhs_dilation"] == (1, 1)
        assert params["feature_group_count"] == params["batch_group_count"] == 1


@pytest.mark.parametrize("layer", [conv, conv_transpose])
def test_several_kernels_side_by_side(layer):
    x, kernel = inputs((6, 4), 5)
    xs, kernels = (jnp.stack([y, 2 - y]) for y in (x, kernel))
    together = jax.vmap(partial(values_and_gradients, layer, stride=2))(xs, kernels)
    for i, pair in enumerate(zip(xs, kernels, strict=True)):
        alone = values_and_gradients(layer, *pair, 2)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [conv, conv_transpose])
def test_accelerators_have_xlas_own(layer, accelerator):
    x, kernel = inputs((8, 8), 5)
    program = str(jax.make_jaxpr(lambda x, k: layer(x, k, 2))(x, kernel))
    assert "conv_general_dilated" in program and "custom_vjp" not in program
