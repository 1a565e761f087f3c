"""A canary for compilers that compute wrong numbers without saying so.

jaxlib 0.10.2 does on the CPU: vector-Jacobian products of a small network with a layer
norm, vmapped over cotangents, come out 40-55 % off, and a row-wise reduction of a
vmapped product loses its last rows (jax-ml/jax#39103). Both are compared here, on the
machine the tests run on, with what must be the same numbers.
"""

import os
from functools import partial

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

ADVICE = (
    f"\n\nThe compiler here computes wrong numbers: jax {jax.__version__}, "
    f"jaxlib {jaxlib.__version__}, {jax.default_backend()}. Training with it would be "
    "silently wrong. Either install another version (0.9.2, 0.10.0 and 0.10.1 are "
    "known to be right):\n    pip install 'jax>=0.9,!=0.10.2' 'jaxlib!=0.10.2'\n"
    "or, on the CPU, switch the faulty fusion off before Python starts:\n"
    "    export XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=\n"
)


# conftest.py takes other kernels than users have
EMITTERS = "xla_cpu_use_fusion_emitters"
THEIRS = {EMITTERS: True} if EMITTERS in os.environ.get("XLA_FLAGS", "") else None
jit = partial(jax.jit, compiler_options=THEIRS)


@pytest.fixture(autouse=True)
def as_users_compile():
    """With all optimisations, which other tests leave out; and where matrix products
    use few bits, rounding must not look like the fault.
    """
    quickly = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    with jax.default_matmul_precision("highest"):
        yield
    jax.config.update("jax_disable_most_optimizations", quickly)


def network(params, x):
    """Dense, layer norm, ReLU, dense."""
    hidden = x @ params["enter"] + params["bias"]
    centred = hidden - hidden.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    hidden = centred * jax.lax.rsqrt(variance + 1e-6) * params["scale"]
    return jax.nn.relu(hidden) @ params["leave"]


def sizes(inputs, width, outputs):
    return {
        "enter": (inputs, width),
        "bias": (width,),
        "scale": (width,),
        "leave": (width, outputs),
    }


@pytest.mark.parametrize(
    "batch, inputs, width, outputs, cotangents",
    [(32, 8, 32, 4, 5), (256, 23, 200, 18, 11), (16, 256, 1024, 1, 6)],
)
def test_vmapped_gradients_equal_gradients_one_by_one(
    batch, inputs, width, outputs, cotangents
):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {k: normal(*s) for k, s in sizes(inputs, width, outputs).items()}
    x, directions = normal(batch, inputs), normal(cotangents, batch, outputs)

    def pullback(params, x, direction):
        return jax.vjp(network, params, x)[1](direction)

    together = jit(jax.vmap(pullback, (None, None, 0)))(params, x, directions)
    one_by_one = [jit(pullback)(params, x, d) for d in directions]
    apart = jax.tree.map(lambda *rows: np.stack(rows), *one_by_one)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        error = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert error < 1e-4, f"gradients differ by {error:.1%}{ADVICE}"


@pytest.mark.parametrize("rows", [1000, 40_001])
def test_rowwise_reduction_of_a_vmapped_product_keeps_every_row(rows):
    """Row i holds the number i; rotated by a quarter turn its square norm is i²."""
    turn = jnp.asarray([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    numbers = np.arange(rows, dtype=np.float32)
    x = np.stack([numbers, np.zeros(rows, np.float32), np.zeros(rows, np.float32)], 1)

    @jit
    def square_norms(x):
        return jax.vmap(lambda row: jnp.sum(jnp.square(turn @ row)))(x)

    found = np.asarray(square_norms(x), np.float64)
    wrong = ~np.isclose(found, numbers.astype(np.float64) ** 2, rtol=1e-5)
    assert not wrong.any(), f"{wrong.sum()} of {rows} rows are wrong{ADVICE}"
