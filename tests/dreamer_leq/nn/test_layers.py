"""The layers against float64 matrix arithmetic, and their initial distributions.

Parameters are found by their shape and initial value, never by their name.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, special, stats

from dreamer_leq.nn.layers import (
    MLP,
    BlockLinear,
    Head,
    Linear,
    NormLinear,
    PlainMLP,
    RMSNorm,
    orthogonal_init,
)

# Standard deviation of a unit normal cut off at two: kernels are scaled to undo it.
TRUNCATED_SD = stats.truncnorm(-2, 2).std()


@pytest.fixture(autouse=True)
def full_precision():
    """Accelerators may multiply float32 matrices in fewer bits; the oracle does not."""
    with jax.default_matmul_precision("highest"):
        yield


def normal(seed, *shape, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def initial(module, *shape, seed=0):
    return jax.jit(module.init)(jax.random.key(seed), jnp.zeros(shape))


def shapes(module, *shape):
    """Shapes of all parameters, without computing any of them."""
    tree = jax.eval_shape(lambda: initial(module, *shape))
    return sorted(leaf.shape for leaf in jax.tree.leaves(tree))


def count(module, *shape):
    return sum(int(np.prod(s)) for s in shapes(module, *shape))


def role(leaf):
    """Kernel (2 or 3 axes), or scale or bias by the value at initialisation."""
    if leaf.ndim >= 2 and np.any(leaf != 0):
        return "kernel"
    return "scale" if np.all(leaf == 1) else "bias"


def randomized(variables, seed=0):
    """The same tree with random numbers for all; and the numbers by their role."""
    rng, found = np.random.default_rng(seed), {}

    def draw(leaf):
        value = rng.normal(size=leaf.shape).astype(np.float32)
        assert found.setdefault(role(leaf), value) is value, "one leaf of each role"
        return jnp.asarray(value)

    return jax.tree.map(draw, variables), found


def kernel_of(variables):
    (kernel,) = (x for x in jax.tree.leaves(variables) if role(x) == "kernel")
    return np.asarray(kernel)


def rms_norm(x, scale=1.0):
    x = np.asarray(x, np.float64)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-4) * scale


def silu(x):
    return x * special.expit(x)


# --- RMSNorm --------------------------------------------------------------------------


def test_rms_norm_matches_float64_with_a_learned_scale():
    module, x = RMSNorm(), normal(0, 3, 5, 40, scale=0.05)
    variables, found = randomized(initial(module, 40))
    assert set(found) == {"scale"} and found["scale"].shape == (40,)
    expected = rms_norm(x, found["scale"])
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [1e-4, 0.01, 1.0, -300.0])
def test_rms_norm_of_a_constant(value):
    x = np.full((2, 16), value, np.float32)
    y = RMSNorm().apply(initial(RMSNorm(), 16), x)
    np.testing.assert_allclose(y, value / np.sqrt(value**2 + 1e-4), rtol=1e-5)


def test_rms_norm_eps_is_an_argument_and_sits_inside_the_root():
    module = RMSNorm(eps=0.25)
    y = module.apply(initial(module, 8), np.full(8, 0.5, np.float32))
    np.testing.assert_allclose(y, 0.5 / np.sqrt(0.25 + 0.25), rtol=1e-6)


def test_rms_norm_ignores_the_scale_of_large_inputs_and_keeps_the_mean():
    x = 100 * normal(1, 4, 64) + 300  # a mean, which a LayerNorm would remove
    variables = initial(RMSNorm(), 64)
    y = RMSNorm().apply(variables, x)
    np.testing.assert_allclose(RMSNorm().apply(variables, 8 * x), y, rtol=1e-5)
    np.testing.assert_allclose(np.mean(np.square(y), -1), 1, rtol=1e-4)
    assert np.all(np.mean(y, -1) > 0.8)


def test_rms_norm_at_zero_is_zero_with_a_finite_gradient():
    variables = initial(RMSNorm(), 8)
    y, pullback = jax.vjp(lambda x: RMSNorm().apply(variables, x), jnp.zeros(8))
    np.testing.assert_array_equal(y, np.zeros(8))
    np.testing.assert_allclose(pullback(jnp.ones(8))[0], 100, rtol=1e-5)


def test_rms_norm_of_bfloat16_computes_in_float32():
    x = jnp.asarray(normal(2, 20, 2048, scale=3), jnp.bfloat16)
    y = RMSNorm().apply(initial(RMSNorm(), 2048), x)
    exact = rms_norm(x.astype(jnp.float32))
    rounded = jnp.asarray(exact, jnp.float32).astype(y.dtype).astype(jnp.float32)
    same = np.isclose(y.astype(jnp.float32), rounded, rtol=1e-5)
    assert same.mean() > 0.99, "only ties of the last rounding may differ"


# --- Linear ---------------------------------------------------------------------------


def test_linear_is_a_matrix_product_and_a_bias():
    module, x = Linear(7), normal(3, 2, 4, 11)
    variables, found = randomized(initial(module, 11))
    assert set(found) == {"kernel", "bias"}
    kernel, bias = (found[k].astype(np.float64) for k in ("kernel", "bias"))
    expected = np.zeros((2, 4, 7))
    for b, t, j in np.ndindex(expected.shape):
        expected[b, t, j] = sum(x[b, t, i] * kernel[i, j] for i in range(11)) + bias[j]
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4)


@pytest.mark.parametrize("inputs, outputs", [(512, 512), (2048, 64), (64, 2048)])
def test_linear_kernels_have_the_sd_of_one_over_root_fan_in(inputs, outputs):
    kernel = kernel_of(initial(Linear(outputs), inputs))
    assert kernel.shape == (inputs, outputs)
    check_truncated_normal(kernel, 1 / np.sqrt(inputs))


def check_truncated_normal(kernel, sd):
    np.testing.assert_allclose(kernel.std(), sd, rtol=0.02)
    assert abs(kernel.mean()) < 5 * sd / np.sqrt(kernel.size)
    assert 1.95 * sd < np.abs(kernel).max() * TRUNCATED_SD < 2.0001 * sd
    unit = kernel.ravel()[:20_000] / sd * TRUNCATED_SD
    assert stats.kstest(unit, stats.truncnorm(-2, 2).cdf).pvalue > 1e-4


def test_linear_bias_starts_at_zero_and_other_keys_give_other_kernels():
    one, other = (initial(Linear(6), 5, seed=seed) for seed in (0, 1))
    (bias,) = (x for x in jax.tree.leaves(one) if x.ndim == 1)
    np.testing.assert_array_equal(bias, np.zeros(6))
    assert np.all(kernel_of(one) != kernel_of(other))


def test_linear_scale_multiplies_the_sd():
    kernel = kernel_of(initial(Linear(256, scale=0.01), 256))
    check_truncated_normal(kernel, 0.01 / np.sqrt(256))


def test_linear_of_scale_zero_outputs_exactly_zero_and_can_still_learn():
    module, x = Linear(255, scale=0.0), normal(4, 10, 64, scale=1e3)
    variables = initial(module, 64)
    leaves = jax.tree.leaves(variables)
    assert sorted(leaf.shape for leaf in leaves) == [(64, 255), (255,)]
    assert all(np.all(leaf == 0) for leaf in leaves)
    np.testing.assert_array_equal(module.apply(variables, x), np.zeros((10, 255)))
    np.testing.assert_array_equal(jax.jit(module.apply)(variables, x), 0)
    gradient = jax.grad(lambda v: module.apply(v, x)[:, 0].sum())(variables)
    (to_kernel,) = (g for g in jax.tree.leaves(gradient) if g.ndim == 2)
    np.testing.assert_allclose(to_kernel[:, 0], x.sum(0), rtol=1e-4)


# --- NormLinear, MLP ------------------------------------------------------------------


def test_norm_linear_is_linear_then_norm_then_silu():
    module, x = NormLinear(24), normal(5, 3, 10)
    variables, found = randomized(initial(module, 10))
    assert {k: v.shape for k, v in found.items()} == {
        "kernel": (10, 24),
        "bias": (24,),
        "scale": (24,),
    }
    linear = x.astype(np.float64) @ found["kernel"] + found["bias"]
    expected = silu(rms_norm(linear, found["scale"]))
    y = module.apply(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


def test_mlp_is_a_chain_of_norm_linears():
    """Two layers of different shapes at initialisation: the kernels decide alone."""
    module, x = MLP(2, 24), normal(6, 3, 10)
    variables = initial(module, 10)
    kernels = {k.shape: k for k in jax.tree.leaves(variables) if k.ndim == 2}
    assert set(kernels) == {(10, 24), (24, 24)}
    hidden = silu(rms_norm(x.astype(np.float64) @ kernels[10, 24]))
    expected = silu(rms_norm(hidden @ kernels[24, 24]))
    y = module.apply(variables, x)
    assert y.shape == (3, 24)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


def test_mlp_layers_start_different():
    kernels = [k for k in jax.tree.leaves(initial(MLP(4, 16), 16)) if k.ndim == 2]
    assert len(kernels) == 4
    for i in range(4):
        for j in range(i):
            assert np.all(kernels[i] != kernels[j])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_mlp_has_kernel_bias_and_scale_in_each_layer(layers):
    found = shapes(MLP(layers, 256), 2560)
    later = [(256, 256)] * (layers - 1)
    assert found == sorted([(256,)] * (2 * layers) + [(2560, 256), *later])


def test_head_sizes_of_the_12m_model():
    reward = count(MLP(1, 256), 2560) + count(Linear(255, scale=0.0), 256)
    cont = count(MLP(1, 256), 2560) + count(Linear(1), 256)
    actor = count(MLP(3, 256), 2560) + 2 * count(Linear(6, scale=0.01), 256)
    critic = count(MLP(3, 256), 2560 + 6) + count(Linear(255, scale=0.0), 256)
    value = count(MLP(3, 256), 2560) + count(Linear(255, scale=0.0), 256)
    prior = count(MLP(2, 256), 2048) + count(Linear(512), 256)
    assert (reward, cont, actor) == (721_407, 656_129, 791_052)
    assert (critic, value, prior) == (855_039, 853_503, 722_432)


# --- BlockLinear ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs, outputs, blocks", [(24, 12, 4), (12, 24, 3), (6, 4, 1)]
)
def test_block_linear_is_a_block_diagonal_matrix_product(inputs, outputs, blocks):
    module, x = BlockLinear(outputs, blocks), normal(7, 2, 3, inputs)
    variables, found = randomized(initial(module, inputs))
    kernel = found["kernel"].astype(np.float64)
    assert kernel.shape == (blocks, inputs // blocks, outputs // blocks)
    dense = linalg.block_diag(*kernel)
    expected = x @ dense + found["bias"].reshape(outputs)
    y = module.apply(variables, x)
    assert y.shape == (2, 3, outputs)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_block_linear_blocks_do_not_see_each_other():
    module = BlockLinear(20, 5)
    variables = initial(module, 15)
    jacobian = jax.jit(jax.jacobian(module.apply, 1))(variables, normal(8, 15))
    reached = np.asarray(jacobian).reshape(5, 4, 5, 3).any((1, 3))
    np.testing.assert_array_equal(reached, np.eye(5, dtype=bool))


def test_block_linear_permutes_with_its_blocks():
    module, x, order = BlockLinear(12, 4), normal(9, 2, 24), [2, 0, 3, 1]
    variables, _ = randomized(initial(module, 24))

    def permuted(leaf, size):
        return jnp.reshape(leaf, (4, size, -1))[jnp.asarray(order)].reshape(leaf.shape)

    shuffled = jax.tree.map(lambda leaf: permuted(leaf, leaf.size // 4), variables)
    moved = x.reshape(2, 4, 6)[:, order].reshape(2, 24)
    y = np.asarray(module.apply(variables, x)).reshape(2, 4, 3)[:, order]
    np.testing.assert_allclose(
        module.apply(shuffled, moved), y.reshape(2, 12), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("inputs, outputs, blocks", [(1024, 512, 8), (512, 1024, 4)])
def test_block_linear_fan_in_is_the_total_number_of_inputs(inputs, outputs, blocks):
    kernel = kernel_of(initial(BlockLinear(outputs, blocks), inputs))
    check_truncated_normal(kernel, 1 / np.sqrt(inputs))


def test_block_linear_sizes_of_the_12m_model():
    hidden = 8 * 1024 * 256 + 2048
    core = 8 * 256 * 768 + 6144
    space = 8 * 256 * 128 + 1024
    assert count(BlockLinear(2048, 8), 8 * 1024) == hidden
    assert count(BlockLinear(6144, 8), 2048) == core
    assert count(BlockLinear(1024, 8), 2048) == space
    entry = count(MLP(1, 256), 2048) + count(MLP(1, 256), 512) + count(MLP(1, 256), 6)
    norm = count(RMSNorm(), 2048)
    assert entry + hidden + norm + core == 4_338_688


def test_networks_side_by_side_begin_with_their_own_orthogonal_matrices():
    """Of two levels: members of a grid, and each one's critics."""
    keys = jax.random.split(jax.random.key(0), 6).reshape(3, 2)
    draw = lambda key: orthogonal_init(1.5)(key, (7, 4))  # noqa: E731
    kernels = jax.jit(jax.vmap(jax.vmap(draw)))(keys)
    for index in np.ndindex(3, 2):
        np.testing.assert_array_equal(kernels[index], jax.jit(draw)(keys[index]))
        square = kernels[index].T @ kernels[index]
        np.testing.assert_allclose(square, 1.5**2 * np.eye(4), atol=1e-5)


def test_no_batch_of_matrices_is_decomposed_at_once():
    """jaxlib's would wait for itself: two of them at once never end on a CPU."""

    def init(key):
        return PlainMLP(2, 8, 3).init(key, jnp.zeros(5))

    keys = jax.random.split(jax.random.key(0), 2)
    found = list(decompositions(jax.make_jaxpr(jax.vmap(init))(keys).jaxpr))
    assert len(found) >= 3 and {x.aval.ndim for x in found} == {2}


def decompositions(jaxpr):
    """The matrices that go into QR decompositions, in all inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("qr", "geqrf", "householder_product"):
            yield equation.invars[0]
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from decompositions(inner)


@pytest.mark.parametrize("network", ["dreamer", "mlp"])
@pytest.mark.parametrize("projection", [0, 5])
def test_actions_in_one_state_share_what_is_computed_of_it(network, projection):
    """Values and gradients are those of a row for each pair; but no array is as wide
    as such rows are.
    """
    k, n, inputs, size, units = 3, 4, 13, 2, 6
    head = Head(network, 2, units, True, 9, scale=1.0, projection=projection)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((n, inputs)), jnp.float32)
    actions = jnp.asarray(rng.standard_normal((k, n, size)), jnp.float32)
    params = head.init(jax.random.key(0), x, actions[0])
    weight = jnp.asarray(rng.standard_normal((k, n, 9)), jnp.float32)

    def shared(params, x, actions):
        y = head.apply(params, x, actions)
        return (weight * y).sum(), y

    def pairs(params, x, actions):
        y = jnp.stack([head.apply(params, x, action) for action in actions])
        return (weight * y).sum(), y

    found, expected = (
        jax.value_and_grad(f, (0, 1, 2), has_aux=True)(params, x, actions)
        for f in (shared, pairs)
    )
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, expected)
    wide = (projection or inputs) + size
    program = str(jax.make_jaxpr(shared)(params, x, actions))
    assert f"{n},{wide}]" not in program and f"[{k * n},{wide}]" not in program
