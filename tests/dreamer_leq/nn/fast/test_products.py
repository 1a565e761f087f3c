import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.nn.fast.products import affine, known_affine, scaled, shifted

F64 = pytest.mark.usefixtures("float64")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def plain(x, kernel, bias=None):
    x = x @ kernel
    return x if bias is None else x + bias


@F64
@pytest.mark.parametrize("lead", [(7,), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_a_product(lead, biased):
    x, kernel, bias, weight = draw((*lead, 6), (6, 4), (4,), (*lead, 4))
    parts = (x, kernel, bias) if biased else (x, kernel)

    def loss(function):
        return lambda *parts: (weight * jnp.sin(function(*parts))).sum()

    which = tuple(range(len(parts)))
    actual = jax.value_and_grad(loss(affine), which)(*parts)
    expected = jax.value_and_grad(loss(plain), which)(*parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), actual, expected)


@F64
@pytest.mark.parametrize("rows", [1, 5], ids=["few rows", "many rows"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_few_outputs(outputs, rows):
    x, kernel, weight = draw((3, rows, 6), (6, outputs), (3, rows, outputs))
    loss = lambda f: lambda *parts: (weight * jnp.sin(f(*parts))).sum()  # noqa: E731
    actual = jax.grad(loss(affine), (0, 1))(x, kernel)
    expected = jax.grad(loss(plain), (0, 1))(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), actual, expected)


@F64
@pytest.mark.parametrize("biased", [True, False])
def test_a_known_product_has_its_gradients(biased):
    x, kernel, bias, weight = draw((3, 7, 6), (6, 4), (4,), (3, 7, 4))
    parts = (x, kernel, bias if biased else None)
    y = affine(*parts)
    again = lambda *parts: (weight * known_affine(y, *parts)).sum()  # noqa: E731
    anew = lambda *parts: (weight * affine(*parts)).sum()  # noqa: E731
    which = tuple(range(2 + biased))
    actual = jax.value_and_grad(again, which)(*parts)
    expected = jax.value_and_grad(anew, which)(*parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), actual, expected)


@F64
@pytest.mark.parametrize("lead", [(7,), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("function, same", [(shifted, jnp.add), (scaled, jnp.multiply)])
def test_every_row_is_shifted_and_scaled(function, same, lead):
    x, by, weight = draw((*lead, 6), (6,), (*lead, 6))
    loss = lambda f: lambda *parts: (weight * jnp.sin(f(*parts))).sum()  # noqa: E731
    actual = jax.value_and_grad(loss(function), (0, 1))(x, by)
    expected = jax.value_and_grad(loss(same), (0, 1))(x, by)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), actual, expected)


@F64
def test_members_have_gradients_of_their_own():
    x, kernel, bias = draw((3, 5, 6), (3, 6, 4), (3, 4))

    def gradient(function, *parts):
        loss = lambda *parts: jnp.sin(function(*parts)).sum()  # noqa: E731
        return jax.grad(loss, (0, 1, 2))(*parts)

    actual = jax.vmap(lambda *p: gradient(affine, *p))(x, kernel, bias)
    for member in range(3):
        expected = gradient(plain, x[member], kernel[member], bias[member])
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a[member], b, 1e-12)


def test_the_kernels_gradient_is_not_transposed_afterwards():
    x, kernel = draw((50, 6), (6, 4))
    gradient = jax.grad(lambda k: jnp.square(affine(x, k)).sum())
    turned = [
        eqn.outvars[0].aval.shape
        for eqn in jax.make_jaxpr(gradient)(kernel).eqns
        if eqn.primitive.name == "transpose"
    ]
    assert kernel.shape not in turned
