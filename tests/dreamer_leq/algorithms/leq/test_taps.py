import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.algorithms.leq.fast import Recording, noted, recalled, tapped, zeros
from dreamer_leq.nn.actor_critic import Actor
from dreamer_leq.nn.layers import BlockLinear, Head

ACTIONS, SIZE = 3, 4
NETS = {
    "actor, ReLU": Actor("mlp", 2, 6, False, ACTIONS, 0.1, 1.0),
    "actor, ReLU and norms": Actor("mlp", 2, 6, True, ACTIONS, 0.1, 1.0),
    "actor, DreamerV3's": Actor("dreamer", 2, 6, False, ACTIONS, 0.1, 1.0),
    "critic, ReLU and norms": Head("mlp", 2, 6, True, 1),
    "critic, DreamerV3's": Head("dreamer", 2, 6, False, 1),
}


def some(net, lead, seed=0):
    """Random parameters and inputs."""
    rng = np.random.default_rng(seed)
    x = jnp.float32(rng.normal(size=(*lead, SIZE)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    draw = lambda p: jnp.float32(rng.normal(size=p.shape))  # noqa: E731
    return jax.tree.map(draw, shapes), x


def value(out, x):
    """A number for each row, of both heads and of the inputs."""
    if isinstance(out, tuple):
        return (jnp.tanh(out[0] + out[1]) * x[..., :ACTIONS]).sum(-1)
    return out[..., 0] * jnp.sin(x[..., 0])


def recorded(net, params, x):
    def total(taps):
        out, inputs = tapped(net, params, x, taps)
        found = value(out, x)
        return found.sum(), (found, inputs)

    taps = zeros(net, params, x)
    gradients, (found, inputs) = jax.grad(total, has_aux=True)(taps)
    return Recording(net, found, inputs, gradients)


def assert_same(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        actual,
        expected,
    )


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("lead", [(5,), (3, 7)])
def test_a_replay_has_the_values_and_the_weighted_gradient(name, lead):
    net = NETS[name]
    params, x = some(net, lead)
    weight = np.float32(np.random.default_rng(1).normal(size=lead))
    weight[..., 0] = 0

    def replayed(params, recording):
        return (weight * recording.replay(params)).sum()

    def plain(params):
        return (weight * value(net.apply({"params": params}, x), x)).sum()

    both = jax.jit(jax.value_and_grad(replayed))
    actual = both(params, recorded(net, params, x))
    expected = jax.jit(jax.value_and_grad(plain))(params)
    assert all(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(expected[1]))
    assert_same(actual, expected)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("lead", [(5,), (3, 7)])
def test_what_was_noted_is_recalled_with_all_gradients(name, lead):
    net = NETS[name]
    params, x = some(net, lead)
    out, outputs = noted(net, params, x)
    assert_same(out, net.apply({"params": params}, x))

    def loss(run):
        return lambda params, x: (value(run(params, x), x) ** 2).sum()

    again = loss(lambda params, x: recalled(net, params, x, outputs))
    plain = loss(lambda params, x: net.apply({"params": params}, x))
    actual, expected = (
        jax.value_and_grad(f, (0, 1))(params, x) for f in (again, plain)
    )
    assert all(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(expected[1]))
    assert_same(actual, expected)


def test_recalling_makes_no_product_of_the_forward_pass():
    net = NETS["critic, DreamerV3's"]
    params, x = some(net, (5,))
    _, outputs = noted(net, params, x)
    text = str(jax.make_jaxpr(lambda p: recalled(net, p, x, outputs))(params))
    assert "dot_general" in str(jax.make_jaxpr(lambda p: noted(net, p, x))(params))
    assert "dot_general" not in text


def test_rows_may_come_one_after_the_other():
    """As in a rollout: recorded step by step, replayed at once."""
    net = NETS["actor, ReLU"]
    params, x = some(net, (4, 5))
    at_once = recorded(net, params, x)

    def step(carry, given):
        x, taps = given
        out, inputs = tapped(net, params, x, taps)
        return carry + value(out, x).sum(), inputs

    run = lambda taps: jax.lax.scan(step, 0.0, (x, taps))  # noqa: E731
    gradients, inputs = jax.grad(run, has_aux=True)(zeros(net, params, x))
    assert_same(inputs, at_once.inputs)
    assert_same(gradients, at_once.gradients)


def test_a_shift_is_added_to_a_layers_output():
    net = NETS["critic, ReLU and norms"]
    params, x = some(net, (5,))
    taps = zeros(net, params, x)
    as_is, _ = tapped(net, params, x, taps)
    assert_same(as_is, net.apply({"params": params}, x))
    push = np.random.default_rng(2).normal(size=(5, 6))
    out, inputs = tapped(net, params, x, taps | {"trunk/norm1": jnp.float32(push)})
    last = params["trunk"]["out"]
    hidden = np.asarray(inputs["trunk/out"])
    assert_same(out, hidden @ last["kernel"] + last["bias"])
    _, before = tapped(net, params, x, taps)
    h, norm = np.asarray(before["trunk/norm1"]), params["trunk"]["norm1"]
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    assert_same(hidden, np.maximum(h * norm["scale"] + norm["bias"] + push, 0))


def test_layers_whose_gradient_would_be_missed_are_refused():
    class Other(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BlockLinear(4, 2, name="blocks")(x)

    params, x = some(Other(), (5,))
    with pytest.raises(TypeError, match="blocks"):
        zeros(Other(), params, x)
