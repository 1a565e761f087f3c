"""recur against jax.lax.scan and autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from dreamer_leq.nn.fast.scan import recur

STEPS, ROWS, SIZE = 6, 4, 5


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def make():
    params = {"a": draw(SIZE, SIZE, seed=0), "b": {"scale": draw(SIZE, seed=1)}}
    start = {"h": draw(ROWS, SIZE, seed=2), "k": draw(ROWS, 2, seed=3)}
    reset = np.random.default_rng(4).random((STEPS, ROWS)) < 0.3
    return params, start, (draw(STEPS, ROWS, SIZE, seed=5), jnp.asarray(reset))


def cell(params, carry, x):
    x, reset = x
    h = jnp.where(reset[:, None], 0.0, carry["h"])
    h = (
        jnp.tanh(h @ params["a"] * params["b"]["scale"] + x)
        + carry["k"].sum(-1)[:, None]
    )
    k = carry["k"] * jnp.cos(h[:, :2])
    return {"h": h, "k": k}, jnp.sin(h @ params["a"])


def plain(cell, params, start, xs):
    def step(carry, x):
        carry, out = cell(params, carry, x)
        return carry, (carry, out)

    return jax.lax.scan(step, start, xs)[1]


def loss(run, cell=cell):
    """Of all carries and outs, each with a weight of its own."""
    weights = draw(STEPS, ROWS, 2 * SIZE + 2, seed=6)

    def value(params, start, x, reset):
        carries, outs = run(cell, params, start, (x, reset))
        flat = jnp.concatenate([carries["h"], carries["k"], outs], -1)
        return (weights * flat).sum(), flat

    return value


@pytest.mark.parametrize("wrap", [lambda c: c, jax.checkpoint], ids=["", "remat"])
def test_values_and_gradients_are_those_of_a_scan(wrap):
    params, start, (x, reset) = make()
    both = [
        jax.value_and_grad(loss(run, wrap(cell)), (0, 1, 2), has_aux=True)(
            params, start, x, reset
        )
        for run in (recur, plain)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10), *both)
    assert all(np.abs(g).max() > 0.1 for g in jax.tree.leaves(both[0][1]))


def test_a_grid_of_parameters_has_gradients_of_its_own():
    params, start, (x, reset) = make()
    grid = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    gradient = lambda p: jax.grad(loss(recur), has_aux=True)(p, start, x, reset)[0]  # noqa: E731
    actual = jax.vmap(gradient)(grid)
    for i in range(2):
        one = jax.tree.map(lambda p, i=i: p[i], (actual, grid))
        expected = jax.grad(loss(plain), has_aux=True)(one[1], start, x, reset)[0]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, 1e-10), one[0], expected
        )


def test_the_backward_scan_carries_no_gradient_of_the_parameters():
    params, start, (x, reset) = make()

    def carried(run):
        gradient = jax.grad(lambda p: loss(run)(p, start, x, reset)[0])
        return list(carries(jax.make_jaxpr(gradient)(params).jaxpr))

    assert (SIZE, SIZE) in carried(plain)
    assert (SIZE, SIZE) not in carried(recur)


def carries(jaxpr):
    """Shapes of what the scans in a program give, what they carry among them: all but
    that begins with the axis of the steps.
    """
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield from (v.aval.shape for v in eqn.outvars)
        for inner in jaxprs_in_params(eqn.params):
            yield from carries(inner)
