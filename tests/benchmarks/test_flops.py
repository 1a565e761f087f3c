"""The counted operations, against counts by hand and XLA's own."""

import jax
import jax.numpy as jnp
import pytest
from flops import flops

NHWC = ("NHWC", "HWIO", "NHWC")


def counted(function, *args):
    return flops(jax.make_jaxpr(function)(*args).jaxpr)


def xla(function, *args):
    """Right where there is no loop: it takes a loop's body once."""
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def test_a_product_is_two_operations_per_multiplication():
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert counted(jnp.matmul, a, b) == 2 * 3 * 5 * 7 == xla(jnp.matmul, a, b)


def test_a_batch_of_products():
    a, b = jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7))
    assert counted(jnp.matmul, a, b) == 4 * 2 * 3 * 5 * 7


def test_a_loops_body_counts_as_often_as_it_runs():
    a, b = jnp.ones((3, 3)), jnp.ones((3, 3))

    def loop(a, b):
        return jax.lax.fori_loop(0, 7, lambda _, a: a @ b, a)

    assert counted(loop, a, b) == 7 * 2 * 27
    nested = jax.jit(lambda a, b: jax.lax.fori_loop(0, 2, lambda _, a: loop(a, b), a))
    assert counted(nested, a, b) == 2 * 7 * 2 * 27


def test_a_loop_of_unknown_length_is_refused():
    a = jnp.ones((3, 3))
    with pytest.raises(ValueError, match="unknown length"):
        counted(lambda n: jax.lax.fori_loop(0, n, lambda _, x: x @ a, a), 4)
    assert counted(lambda n: jax.lax.fori_loop(0, n, lambda _, x: x + 1, 0), 4) == 0


def test_a_branch_counts_as_its_dearest():
    a = jnp.ones((3, 3))

    def either(p):
        return jax.lax.cond(p, lambda: a @ a @ a, lambda: a @ a)

    assert counted(either, True) == 2 * 2 * 27


def test_what_no_result_needs_does_not_count():
    a = jnp.ones((3, 3))
    assert counted(lambda a: (a @ a, a + 1)[1], a) == 0


def test_a_layers_gradients():
    x, w, v = jnp.ones((10, 3)), jnp.ones((3, 5)), jnp.ones((5, 2))

    def loss(w, v):
        return jnp.square(jnp.tanh(x @ w) @ v).sum()

    # forward, both weights' gradients, and the hidden layer's
    expected = 2 * (2 * 10 * 3 * 5 + 2 * 10 * 5 * 2) + 2 * 10 * 5 * 2
    assert counted(jax.grad(loss, (0, 1)), w, v) == expected


@pytest.mark.parametrize("remat", [False, True])
def test_a_gradient_through_time(remat):
    w, x = jnp.ones((4, 4)), jnp.ones((2, 4))

    def loss(w):
        step = lambda x, _: (jnp.tanh(x @ w), None)  # noqa: E731
        step = jax.checkpoint(step) if remat else step
        return jax.lax.scan(step, x, length=6)[0].sum()

    one = 2 * 2 * 4 * 4
    assert counted(jax.grad(loss), w) == 6 * one * (4 if remat else 3)


@pytest.mark.parametrize(
    "strides, padding, groups",
    [
        ((1, 1), "SAME", 1),
        ((2, 2), "SAME", 1),
        ((2, 2), "VALID", 1),
        ((1, 1), "SAME", 2),
    ],
)
def test_convolutions_and_their_gradients_are_counted_as_xla_does(
    strides, padding, groups
):
    x, k = jnp.ones((2, 9, 8, 4)), jnp.ones((5, 3, 4 // groups, 6))

    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, strides, padding, dimension_numbers=NHWC, feature_group_count=groups
        )

    def gradients(x, k):
        out, backward = jax.vjp(convolve, x, k)
        return backward(out)

    assert counted(convolve, x, k) == xla(convolve, x, k) > 0
    assert counted(gradients, x, k) == xla(gradients, x, k) > counted(convolve, x, k)


def test_a_transposed_convolution():
    x, k = jnp.ones((2, 5, 5, 4)), jnp.ones((4, 4, 4, 6))
    args = dict(strides=(2, 2), padding="SAME", dimension_numbers=NHWC)

    def convolve(x, k):
        return jax.lax.conv_transpose(x, k, **args)

    assert counted(convolve, x, k) == xla(convolve, x, k) > 0
