"""The RSSM against the paper's layout in NumPy, and what may influence what in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from dreamer_leq.world_models.rssm import RSSM, RSSMState

DETER, STOCH, CLASSES, HIDDEN, BLOCKS, TOKENS, ACTIONS = 12, 3, 4, 5, 3, 7, 2
UNIMIX = 0.01


class Compiled:
    """An RSSM whose methods are jitted, each once."""

    STATIC = {"apply": 1, "observe": 6, "initial": 0}  # noqa: RUF012

    def __init__(self, rssm):
        self.plain = rssm

    def __getattr__(self, name):
        static = self.STATIC.get(name)
        method = jax.jit(getattr(self.plain, name), static_argnums=static)
        setattr(self, name, method)
        return method


@functools.cache
def make_rssm(members=3, unimix=UNIMIX, dynamics_layers=1, posterior_layers=1):
    rssm = RSSM(
        deter=DETER,
        stoch=STOCH,
        classes=CLASSES,
        hidden=HIDDEN,
        blocks=BLOCKS,
        dynamics_layers=dynamics_layers,
        posterior_layers=posterior_layers,
        prior_layers=2,
        members=members,
        unimix=unimix,
        tokens=TOKENS,
        action_size=ACTIONS,
    )
    return Compiled(rssm)


def make_params(rssm, seed=0):
    """Random parameters; biases and scales too, so that none can be left out."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.float32(base + rng.normal(size=leaf.shape) / 3)

    shapes = jax.eval_shape(rssm.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_state(n, seed=1):
    rng = np.random.default_rng(seed)
    deter = rng.normal(size=(n, DETER)).astype(np.float32)
    classes = rng.integers(CLASSES, size=(n, STOCH))
    return RSSMState(jnp.asarray(deter), jax.nn.one_hot(classes, CLASSES))


def make_sequence(batch, steps, seed=2):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(batch, steps, TOKENS)).astype(np.float32)
    action = rng.uniform(-1, 1, (batch, steps, ACTIONS)).astype(np.float32)
    return jnp.asarray(tokens), jnp.asarray(action), jnp.zeros((batch, steps), bool)


def decided(params):
    """Logits so far apart that samples (without unimix) don't depend on the key."""

    def scaled(module):
        out = jax.tree.map(lambda p: 1e6 * p, module["out"])
        return module | {"out": out}

    return params | {name: scaled(params[name]) for name in ("posterior", "prior")}


# --- the layers, in float64 and in the paper's layout ---------------------------------


def as_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm_act(x, act):
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * act["norm"]["scale"]
    return x * sigmoid(x)


def norm_linear(x, layer):
    linear = layer["linear"]["linear"]
    return norm_act(x @ linear["kernel"] + linear["bias"], layer["act"])


def paper_gru(params, h, z, a, layers):
    """A block sees [h_k, x0, x1, x2]; every layer is one block-diagonal matrix."""
    params = as_float64(params)
    core, action = params["core"], params["action_input"]
    projections = [
        norm_linear(h, core["deter"]),
        norm_linear(z, core["stoch"]),
        norm_linear(a / np.maximum(1, np.abs(a)), action["action"]),
    ]
    blocks = np.split(h, BLOCKS, -1)
    x = np.concatenate([y for k in blocks for y in [k, *projections]], -1)
    width = DETER // BLOCKS
    parts = []
    for k in range(BLOCKS):
        own_columns = slice(k * width, (k + 1) * width)
        shared = core["shared"]["linear"]["kernel"][:, own_columns]
        acting = action["core"]["linear"]["kernel"][:, own_columns]
        parts.append(np.concatenate([core["own"]["kernel"][k], shared, acting]))
    x = x @ linalg.block_diag(*parts) + action["core"]["linear"]["bias"]
    x = norm_act(x, core["act0"])
    for i in range(1, layers):
        layer = core[f"dyn{i}"]
        x = x @ linalg.block_diag(*layer["kernel"]) + layer["bias"]
        x = norm_act(x, core[f"act{i}"])
    x = x @ linalg.block_diag(*core["gates"]["kernel"]) + core["gates"]["bias"]
    gates = [np.split(block, 3, -1) for block in np.split(x, BLOCKS, -1)]
    reset, candidate, update = (
        np.concatenate([block[i] for block in gates], -1) for i in range(3)
    )
    update = sigmoid(update - 1)
    return update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h


def mixed(logits):
    logits = logits.reshape(*logits.shape[:-1], STOCH, CLASSES)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.log((1 - UNIMIX) * p + UNIMIX / CLASSES)


def logits(x, out):
    return x @ out["logits"]["linear"]["kernel"] + out["logits"]["linear"]["bias"]


def test_split_gru_equals_the_whole_layers():
    layers = 2
    rssm = make_rssm(dynamics_layers=layers)
    params, state = make_params(rssm), make_state(6)
    action = np.random.default_rng(3).uniform(-2, 2, (6, ACTIONS))
    share = rssm.apply(params, "action_input", jnp.float32(action))
    deter = rssm.advance(params, state, share)
    h, z = np.asarray(state.deter, np.float64), np.asarray(state.flat_stoch, np.float64)
    expected = paper_gru(params, h, z, np.float32(action).astype(np.float64), layers)
    np.testing.assert_allclose(deter, expected, atol=2e-6)


def test_split_posterior_equals_the_whole_layer():
    rssm = make_rssm(posterior_layers=2)
    params = make_params(rssm)
    rng = np.random.default_rng(4)
    deter, tokens = rng.normal(size=(6, DETER)), rng.normal(size=(6, TOKENS))
    share = rssm.apply(params, "token_input", jnp.float32(tokens))
    actual = rssm.posterior(params, jnp.float32(deter), share)

    p = as_float64(params)
    kernels = [p["posterior"]["deter"]["linear"]["kernel"]]
    kernels += [p["token_input"]["linear"]["linear"]["kernel"]]
    x = np.concatenate([deter, tokens], -1) @ np.concatenate(kernels)
    x = norm_act(
        x + p["token_input"]["linear"]["linear"]["bias"], p["posterior"]["act"]
    )
    x = norm_linear(x, p["posterior"]["trunk"]["layer0"])
    expected = mixed(logits(x, p["posterior"]["out"]))
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_each_member_is_its_own_two_layer_network():
    rssm = make_rssm()
    params = make_params(rssm)
    deter = np.random.default_rng(5).normal(size=(6, DETER))
    actual = rssm.priors(params, jnp.float32(deter))
    for member in range(3):
        p = as_float64(jax.tree.map(lambda x, m=member: x[m], params["prior"]))
        x = norm_linear(deter, p["trunk"]["layer0"])
        x = norm_linear(x, p["trunk"]["layer1"])
        np.testing.assert_allclose(
            actual[member], mixed(logits(x, p["out"])), atol=2e-5
        )


@functools.cache
def initial_params():
    """Of a model that is large enough for statistics, with 3 members."""
    big = RSSM(240, 16, 8, 64, 4, 1, 1, 2, 3, 0.01, 160, 6)
    return jax.device_get(jax.jit(big.init)(jax.random.key(0)))


def test_initial_scale_of_split_layers_is_that_of_the_whole_layer():
    params = initial_params()
    core = 240 + 4 * 3 * 64  # all inputs of the block-linear layer, over its 4 blocks
    kernels = {
        "own": (params["core"]["own"]["kernel"], core),
        "shared": (params["core"]["shared"]["linear"]["kernel"], core),
        "action": (params["action_input"]["core"]["linear"]["kernel"], core),
        "deter": (params["posterior"]["deter"]["linear"]["kernel"], 240 + 160),
        "tokens": (params["token_input"]["linear"]["linear"]["kernel"], 240 + 160),
        "gates": (params["core"]["gates"]["kernel"], 240),
    }
    for name, (kernel, fan_in) in kernels.items():
        assert kernel.std() * np.sqrt(fan_in) == pytest.approx(1, abs=0.03), name


# --- sequences ------------------------------------------------------------------------


def test_nothing_from_before_an_episode_reaches_it_not_even_a_nan():
    rssm, key = make_rssm(), jax.random.key(6)
    params, (tokens, action, is_first) = make_params(rssm), make_sequence(2, 7)
    is_first = is_first.at[0, 3].set(True).at[1, 5].set(True)
    clean = rssm.observe(params, make_state(2), tokens, action, is_first, key)
    lost = jnp.full_like(make_state(2).deter, jnp.nan)
    broken = make_state(2).replace(deter=lost)
    before = jnp.arange(7) < jnp.array([[3], [5]])
    tokens = jnp.where(before[..., None], jnp.nan, tokens)
    action = jnp.where((before | is_first)[..., None], jnp.nan, action)
    dirty = rssm.observe(params, broken, tokens, action, is_first, key)
    for row, first in [(0, 3), (1, 5)]:
        for x, y in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
            assert not np.isfinite(x[row, : first - 1]).all()
            np.testing.assert_array_equal(x[row, first:], y[row, first:])


def test_an_episode_starts_from_the_zero_state_and_a_zero_action():
    rssm, key = make_rssm(), jax.random.key(7)
    params, (tokens, action, is_first) = make_params(rssm), make_sequence(3, 1)
    is_first = jnp.ones_like(is_first)
    actual, _ = rssm.observe(params, make_state(3), tokens, action, is_first, key)
    zeros = jnp.zeros((3, ACTIONS))
    noise = rssm.plain.noise(key, 3)
    expected = rssm.imagine_step(params, rssm.initial(3), zeros, noise).deter
    np.testing.assert_allclose(actual.deter[:, 0], expected, atol=1e-6)


def test_without_a_first_step_everything_before_counts():
    rssm, key = make_rssm(), jax.random.key(8)
    params, (tokens, action, is_first) = make_params(rssm), make_sequence(1, 3)

    def last(start, action):
        out, _ = rssm.observe(params, start, tokens, action, is_first, key)
        return out.deter[:, -1]

    base = last(make_state(1), action)
    assert not np.allclose(base, last(make_state(1, seed=9), action))
    assert not np.allclose(base, last(make_state(1), action.at[:, 0].add(0.5)))


def test_observing_a_sequence_equals_observing_its_steps():
    rssm, key = make_rssm(unimix=0.0), jax.random.key(10)
    params, (tokens, action, is_first) = make_params(rssm), make_sequence(4, 9)
    params, is_first = decided(params), is_first.at[:, 0].set(True).at[2, 4].set(True)
    whole, log_probs = rssm.observe(
        params, rssm.initial(4), tokens, action, is_first, key
    )
    state = rssm.initial(4)
    for t in range(9):
        step = slice(t, t + 1)
        single, single_log_probs = rssm.observe(
            params,
            state,
            tokens[:, step],
            action[:, step],
            is_first[:, step],
            jax.random.key(100 + t),
        )
        state = jax.tree.map(lambda x: x[:, 0], single)
        np.testing.assert_allclose(whole.deter[:, t], state.deter, atol=1e-5)
        np.testing.assert_array_equal(whole.stoch[:, t], state.stoch)
        np.testing.assert_allclose(
            np.exp(log_probs[:, t]), np.exp(single_log_probs[:, 0]), atol=1e-5
        )
    assert len(np.unique(whole.stoch.argmax(-1))) > 1


def test_remat_changes_no_gradient():
    rssm, key = make_rssm(), jax.random.key(11)
    params, sequence = make_params(rssm), make_sequence(2, 5)

    def total(params, remat):
        state, log_probs = rssm.plain.observe(
            params, rssm.plain.initial(2), *sequence, key, remat
        )
        return jnp.sin(state.deter).sum() + (log_probs * state.stoch).sum()

    gradient = jax.jit(jax.grad(total), static_argnums=1)
    plain, saved = gradient(params, False), gradient(params, True)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), plain, saved)


# --- the ensemble ---------------------------------------------------------------------


def test_members_start_different():
    kernels = [p for p in jax.tree.leaves(initial_params()["prior"]) if p.ndim == 3]
    assert len(kernels) == 3
    for kernel in kernels:
        for i, j in [(0, 1), (0, 2), (1, 2)]:
            assert abs(np.corrcoef(kernel[i].ravel(), kernel[j].ravel())[0, 1]) < 0.1


def test_a_given_member_equals_its_slice_of_all():
    rssm = make_rssm()
    params, deter = make_params(rssm), make_state(5).deter
    everyone = rssm.priors(params, deter)
    for member in range(3):
        one = rssm.member_prior(params, deter, member)
        np.testing.assert_allclose(one, everyone[member], atol=1e-6)


def test_imagining_with_a_member_equals_a_model_that_has_only_this_one():
    rssm, single, key = make_rssm(), make_rssm(members=1), jax.random.key(13)
    params, state = make_params(rssm), make_state(5)
    action = make_sequence(5, 1)[1][:, 0]
    for member in range(3):
        part = slice(member, member + 1)
        alone = params | {
            "prior": jax.tree.map(lambda p, s=part: p[s], params["prior"])
        }
        noise = rssm.plain.noise(key, 5)
        expected = rssm.imagine_step(params, state, action, noise, member)
        noise = single.plain.noise(key, 5)
        for given in (None, 0):
            actual = single.imagine_step(alone, state, action, noise, given)
            np.testing.assert_allclose(actual.deter, expected.deter, atol=1e-6)
            np.testing.assert_allclose(actual.stoch, expected.stoch, atol=1e-6)


def drawn_members(n, members, keys, seed=14):
    """Which member gave each sample's log-probabilities: [keys, n]."""
    rssm = make_rssm(members=members)
    params, deter = make_params(rssm), make_state(n, seed).deter
    everyone = rssm.priors(params, deter)

    @jax.jit
    @jax.vmap
    def draw(key):
        deal = rssm.plain.noise(key, n).deal
        return rssm.plain.dealt_prior(params, deter, deal)

    sampled = draw(jax.random.split(jax.random.key(seed), keys))
    match = np.abs(sampled[:, None] - everyone[None]).max((-2, -1)) < 1e-5
    np.testing.assert_array_equal(match.sum(1), 1)
    return match.argmax(1)


@pytest.mark.parametrize("n, members", [(10, 3), (2, 5), (1, 3)])
def test_every_sample_gets_one_member_and_any_with_equal_chance(n, members):
    drawn = drawn_members(n, members, keys=600)
    counts = np.stack([np.bincount(d, minlength=members) for d in drawn.T])
    assert counts.shape == (n, members)
    assert stats.chisquare(counts, axis=1).pvalue.min() > 1e-4 / n
    assert stats.chisquare(counts.sum(0)).pvalue > 1e-4


def test_a_batch_is_dealt_to_the_members_in_equal_shares():
    drawn = drawn_members(12, 4, keys=50)
    assert all((np.bincount(d, minlength=4) == 3).all() for d in drawn)
    drawn = drawn_members(10, 3, keys=50)
    assert all(np.bincount(d).max() <= 4 for d in drawn)
    assert len({tuple(d) for d in drawn}) == 50


def test_only_the_chosen_member_is_computed():
    rssm = RSSM(64, 4, 4, 64, 4, 1, 1, 2, 7, 0.01, 8, 2)
    params = jax.eval_shape(rssm.init, jax.random.key(0))
    deter = jnp.ones((70, 64))

    def flops(function, *args):
        compiled = jax.jit(function).lower(params, deter, *args).compile()
        return compiled.cost_analysis()["flops"]

    one = flops(lambda p, x: rssm.member_prior(p, x, 3))
    chosen = flops(rssm.dealt_prior, rssm.noise(jax.random.key(0), 70).deal)
    assert chosen < 1.5 * one
    assert flops(lambda p, x: rssm.priors(p, x)) > 6 * one


# --- gradients of imagination ---------------------------------------------------------


def test_gradient_reaches_actions_as_if_the_sample_were_its_probabilities():
    rssm, key = make_rssm(), jax.random.key(16)
    params, state = make_params(rssm), make_state(5)
    action = make_sequence(5, 1)[1][:, 0]
    noise = rssm.plain.noise(key, 5)
    weight = jax.random.normal(key, (5, STOCH, CLASSES))

    def of_sample(action):
        after = rssm.plain.imagine_step(params, state, action, noise, 1)
        return (after.stoch * weight).sum()

    def of_probabilities(action):
        deter = rssm.plain.imagine_step(params, state, action, noise, 1).deter
        return (jnp.exp(rssm.plain.member_prior(params, deter, 1)) * weight).sum()

    actual = jax.jit(jax.grad(of_sample))(action)
    expected = jax.jit(jax.grad(of_probabilities))(action)
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(actual, expected, atol=1e-6)
