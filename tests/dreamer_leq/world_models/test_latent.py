"""The latent world model: its loss term by term in NumPy, and what trains what."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)
from dreamer_leq.world_models.rssm import RSSMState

SIDE, VECTOR, ACTIONS = 16, 5, 2
SPECS = {
    "image": ObservationSpec(SIDE, 0, ACTIONS),
    "vector": ObservationSpec(0, VECTOR, ACTIONS),
    "both": ObservationSpec(SIDE, VECTOR, ACTIONS),
}


@functools.cache
def make_net(observed="vector", **latent):
    """A tiny world model; keyword arguments are keys of `latent`."""
    keys = {"image": "patch", "mults": (2, 3), "depth": 4} | latent
    flat = {f"latent.{name}": value for name, value in keys.items()}
    config = from_presets("debug", **{"data.image_size": SIDE}, **flat)
    return LatentNet(config.latent, SPECS[observed])


def make_params(net, seed=0, spread=0.5):
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.float32(base + spread * rng.normal(size=leaf.shape))

    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_batch(net, batch=2, steps=5, seed=1):
    rng = np.random.default_rng(seed)
    lead = (batch, steps)
    out = {
        "action": np.float32(rng.uniform(-1, 1, (*lead, ACTIONS))),
        "reward": np.float32(rng.normal(size=lead) * 3),
        "is_first": np.zeros(lead, bool),
        "is_terminal": rng.random(lead) < 0.3,
    }
    out["is_first"][:, 0] = True
    if net.spec.image_size:
        out["image"] = rng.integers(0, 256, (*lead, SIDE, SIDE, 3), np.uint8)
    if net.spec.vector_size:
        out["vector"] = np.float32(rng.normal(size=(*lead, VECTOR)) * 4)
    return {name: jnp.asarray(x) for name, x in out.items()}


def decided(params):
    """Logits so far apart that samples (without unimix) don't depend on the key."""
    rssm = dict(params["rssm"])
    for name in ("posterior", "prior"):
        out = jax.tree.map(lambda p: 1e6 * p, rssm[name]["out"])
        rssm[name] = rssm[name] | {"out": out}
    return params | {"rssm": rssm}


def norm(tree):
    return float(optax.tree.norm(tree))


# --- the loss, term by term -----------------------------------------------------------


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def two_hot_by_hand(x, n):
    """Weights of one value on symexp-spaced bins."""
    u = np.linspace(-20, 20, n)
    bins = np.sign(u) * np.expm1(np.abs(u))
    weights = np.zeros(n)
    for i in range(n - 1):
        if bins[i] <= x <= bins[i + 1]:
            share = (x - bins[i]) / (bins[i + 1] - bins[i])
            weights[i : i + 2] = 1 - share, share
    return weights


def kl_by_hand(post, prior):
    """KL of categoricals [B, T, S, C], summed over the latents."""
    return (np.exp(post) * (post - prior)).sum((-2, -1))


def symlog(x):
    return np.sign(x) * np.log1p(np.abs(x))


SCALES = {"image": 0.5, "vector": 2.0, "reward": 3.0, "cont": 4.0}
FREE_NATS = 3.0  # between the smallest and the largest KL here


@functools.cache
def loss_and_parts():
    """Losses of a random model, and its outputs for the states the loss has seen."""
    scales = {f"{name}_scale": value for name, value in SCALES.items()}
    net = make_net("both", members=3, free_nats=FREE_NATS, **scales)
    params, batch, key = make_params(net), make_batch(net, batch=3), jax.random.key(3)

    def outputs(params, batch):
        rssm = params["rssm"]
        state, posterior = net.rssm.observe(
            rssm,
            net.rssm.initial(3),
            net.encode(params, batch),
            batch["action"],
            batch["is_first"],
            key,
        )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
        return {
            "posterior": posterior,
            "prior": net.rssm.priors(rssm, state.deter),
            "reward": net.head(params, "reward", state),
            "cont": net.head(params, "cont", state)[..., 0],
            "image": net.decode(params, flat),
            "vector": net.decode_vector(params, state),
        }

    total, metrics = jax.jit(net.loss)(params, batch, key)
    metrics = {name: float(x) for name, x in metrics.items()}
    parts = jax.jit(outputs)(params, batch)
    as64 = lambda x: np.asarray(x, np.float64)  # noqa: E731
    return float(total), metrics, *(jax.tree.map(as64, x) for x in (parts, batch))


def test_reconstruction_losses_are_sums_over_an_observation():
    _, metrics, parts, batch = loss_and_parts()
    target = batch["image"].reshape(-1, SIDE, SIDE, 3) / 255
    expected = ((parts["image"] - target) ** 2).sum((1, 2, 3)).mean()
    assert metrics["image_loss"] == pytest.approx(expected, rel=1e-5)
    error = (parts["vector"] - symlog(batch["vector"])) ** 2
    assert metrics["vector_loss"] == pytest.approx(error.sum(-1).mean(), rel=1e-5)


def test_reward_loss_is_the_cross_entropy_to_the_reward_of_the_same_entry():
    _, metrics, parts, batch = loss_and_parts()
    n = parts["reward"].shape[-1]
    assert n == 255
    weights = np.stack([two_hot_by_hand(r, n) for r in batch["reward"].ravel()])
    log_probs = log_softmax(parts["reward"]).reshape(-1, n)
    expected = -(weights * log_probs).sum(-1).mean()
    assert metrics["reward_loss"] == pytest.approx(expected, rel=1e-4)


def test_cont_loss_asks_for_one_minus_termination_without_the_discount():
    _, metrics, parts, batch = loss_and_parts()
    p = 1 / (1 + np.exp(-parts["cont"]))
    alive = 1 - batch["is_terminal"]
    assert 0 < alive.mean() < 1
    expected = -(alive * np.log(p) + (1 - alive) * np.log1p(-p)).mean()
    assert metrics["cont_loss"] == pytest.approx(expected, rel=1e-4)


def test_kl_losses_have_free_nats_per_entry_and_average_the_members():
    _, metrics, parts, _ = loss_and_parts()
    kl = np.stack([kl_by_hand(parts["posterior"], prior) for prior in parts["prior"]])
    assert kl.shape == (3, 3, 5)
    assert 0.2 < (kl < FREE_NATS).mean() < 0.8
    expected = np.maximum(FREE_NATS, kl).mean()
    assert expected > 1.02 * max(FREE_NATS, kl.mean())
    for name in ("dyn_loss", "rep_loss"):
        assert metrics[name] == pytest.approx(expected, rel=1e-4)


def test_total_is_the_weighted_sum_of_the_terms():
    total, metrics, _, _ = loss_and_parts()
    weights = SCALES | {"dyn": 1.0, "rep": 0.1}
    expected = sum(w * metrics[f"{name}_loss"] for name, w in weights.items())
    assert total == metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_first_entry_of_a_window_starts_an_episode_whatever_it_says():
    net, key = make_net(), jax.random.key(4)
    params, batch = make_params(net), make_batch(net)
    loss = jax.jit(lambda batch: net.loss(params, batch, key)[0])
    inside = batch | {"is_first": batch["is_first"].at[:, 0].set(False)}
    inside["action"] = batch["action"].at[:, 0].set(0.9)
    assert loss(inside) == loss(batch)
    later = batch | {"is_first": batch["is_first"].at[:, 2].set(True)}
    assert loss(later) != loss(batch)


def test_remat_changes_no_gradient_and_covers_encoder_and_decoder():
    nets = [make_net("image", remat=remat) for remat in (False, True)]
    params, batch = make_params(nets[0]), make_batch(nets[0])

    def loss(net):
        return lambda params: net.loss(params, batch, jax.random.key(6))[0]

    gradients = [jax.jit(jax.grad(loss(net)))(params) for net in nets]
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), *gradients
    )
    outside = [
        [eqn.primitive.name for eqn in jax.make_jaxpr(loss(net))(params).eqns]
        for net in nets
    ]
    assert [names.count("remat2") for names in outside] == [0, 2]


# --- what trains what -----------------------------------------------------------------


@functools.cache
def gradients():
    """Norms by loss term and module; sequences of one step leave no way from a
    posterior through the next state.
    """
    net = make_net(members=2, free_nats=0.0)
    params, batch = make_params(net), make_batch(net, steps=1)
    terms = ("vector", "reward", "cont", "dyn", "rep")

    def losses(params):
        metrics = net.loss(params, batch, jax.random.key(5))[1]
        return {name: metrics[f"{name}_loss"] for name in terms}

    rows = jax.jit(jax.jacrev(losses))(params)
    parts = {name: {**row, **row["rssm"]} for name, row in rows.items()}
    return {
        name: {part: norm(leaves) for part, leaves in row.items() if part != "rssm"}
        for name, row in parts.items()
    }


def test_what_each_loss_trains():
    shared = {"encoder", "core", "action_input", "posterior", "token_input"}
    trained = {
        term: {part for part, size in row.items() if size > 0}
        for term, row in gradients().items()
    }
    assert trained == {
        "dyn": {"prior", "core", "action_input"},
        "rep": shared,
        "vector": shared | {"decoder"},
        "reward": shared | {"reward"},
        "cont": shared | {"cont"},
    }


def test_kl_below_the_free_nats_costs_one_nat_and_trains_nothing():
    net = make_net(vector_scale=0.0, reward_scale=0.0, cont_scale=0.0)
    assert net.config.free_nats == 1.0
    params, batch = make_params(net, spread=0.02), make_batch(net)
    step = jax.jit(jax.value_and_grad(net.loss, has_aux=True))
    (total, metrics), grads = step(params, batch, jax.random.key(6))
    assert metrics["dyn_loss"] == 1.0 and metrics["rep_loss"] == 1.0
    assert total == pytest.approx(1.1)
    assert norm(grads) == 0


def test_heads_start_by_predicting_exactly_no_reward():
    net, features = make_net(), jax.random.normal(jax.random.key(8), (4, 32))
    heads = {
        name: jax.jit(module.init_with_output)(jax.random.key(9), features)
        for name, module in net.heads.items()
    }
    logits, params = heads["reward"]
    assert logits.shape == (4, 255) and not np.any(logits)
    assert not np.any(params["params"]["out"]["linear"]["kernel"])
    assert heads["cont"][0].shape == (4, 1) and np.any(heads["cont"][0])


# --- inputs ---------------------------------------------------------------------------


def test_tokens_are_those_of_image_and_vector_side_by_side():
    net = make_net("both")
    params, batch = make_params(net), make_batch(net)
    tokens = {"both": np.asarray(net.encode(params, batch))}
    for name in ("image", "vector"):
        part = params | {"encoder": {name: params["encoder"][name]}}
        tokens[name] = np.asarray(make_net(name).encode(part, batch))
        assert tokens[name].shape[-1] == make_net(name).tokens
    joined = np.concatenate([tokens["image"], tokens["vector"]], -1)
    np.testing.assert_allclose(tokens["both"], joined, atol=1e-5)


def test_vectors_enter_through_symlog():
    net = make_net()
    params, batch = make_params(net), make_batch(net)
    module = net.encoders["vector"]
    expected = module.apply(
        {"params": params["encoder"]["vector"]}, jnp.float32(symlog(batch["vector"]))
    )
    np.testing.assert_allclose(net.encode(params, batch), expected, atol=1e-5)


def test_features_are_deter_then_flattened_stoch():
    net = make_net()
    state = RSSMState(jnp.full((1, 16), 7.0), jnp.arange(16.0).reshape(1, 4, 4))
    np.testing.assert_array_equal(
        net.state_features(state)[0], [7.0] * 16 + list(range(16))
    )


# --- the trained model behind its interface -------------------------------------------


def test_filtering_step_by_step_equals_observing_the_sequence():
    net = make_net("both", unimix=0.0)
    params, batch = decided(make_params(net)), make_batch(net, batch=3, steps=7)
    batch["is_first"] = batch["is_first"].at[1, 4].set(True)
    model = LatentWorldModel(params, net)

    @jax.jit
    def observe(params, batch):
        tokens = net.encode(params, batch)
        given = batch["action"], batch["is_first"], jax.random.key(10)
        return net.rssm.observe(params["rssm"], net.rssm.initial(3), tokens, *given)[0]

    @jax.jit
    def step(model, state, entry, key):
        return model.filter(state, entry, key)

    whole, state = observe(params, batch), net.rssm.initial(3)
    for t in range(7):
        entry = {name: x[:, t] for name, x in batch.items()}
        state = step(model, state, entry, jax.random.key(t))
        np.testing.assert_allclose(state.deter, whole.deter[:, t], atol=1e-5)
        np.testing.assert_array_equal(state.stoch, whole.stoch[:, t])


def test_a_policy_may_act_on_the_likeliest_latents():
    """The mode of the posterior, whatever the key; samples differ from it."""
    net = make_net()
    params = make_params(net)
    batch = {"vector": jnp.ones((8, VECTOR)), "action": jnp.zeros((8, ACTIONS))}
    batch["is_first"] = jnp.zeros(8, bool)
    start, keys = net.rssm.initial(8), map(jax.random.key, range(2))
    model = LatentWorldModel(params, net, mode=True)
    one, two = (model.filter(start, batch, key).stoch for key in keys)
    likeliest = model.filter_given(start, batch, jnp.zeros_like(one)).stoch
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, likeliest)
    sampled = LatentWorldModel(params, net).filter(start, batch, jax.random.key(0))
    assert (sampled.stoch != one).any()


def test_imagined_reward_and_cont_are_those_of_the_state_arrived_at():
    net = make_net(members=2)
    model = LatentWorldModel(make_params(net), net)
    assert model.members == 2
    start = model.unpack(jnp.ones((6, 16), jnp.bfloat16), jnp.zeros((6, 4), jnp.uint8))
    assert start.deter.dtype == start.stoch.dtype == jnp.float32
    action = jax.random.uniform(jax.random.key(11), (6, ACTIONS))
    step = jax.jit(lambda *args: model.step(*args))
    after, reward, cont = step(start, action, model.noise(jax.random.key(12), 6))
    assert reward.shape == cont.shape == (6,)
    np.testing.assert_allclose(
        reward, net.reward(model.params, after), rtol=1e-4, atol=1e-4
    )
    logit = np.asarray(net.head(model.params, "cont", after)[..., 0], np.float64)
    np.testing.assert_allclose(cont, 1 / (1 + np.exp(-logit)), rtol=1e-5)


def test_a_vector_is_seen_in_its_own_units():
    net = make_net()
    params = make_params(net)
    state = net.rssm.initial(3)
    seen = jax.jit(LatentWorldModel(params, net).decode)(state)
    assert seen.keys() == {"vector"}
    vector = np.asarray(jax.jit(net.decode_vector)(params, state), np.float64)
    expected = np.sign(vector) * np.expm1(np.abs(vector))
    np.testing.assert_allclose(seen["vector"], expected, rtol=1e-4)


def test_a_packed_state_is_where_imagination_starts():
    model = LatentWorldModel(None, make_net())
    rng, c = np.random.default_rng(0), model.net.config
    batch, states = {}, []
    for prefix in ("", "next_"):
        deter = jnp.float32(rng.normal(size=(5, c.deter)))
        classes = rng.integers(0, c.classes, (5, c.stoch))
        states.append(RSSMState(deter, jax.nn.one_hot(classes, c.classes)))
        packed = model.pack(states[-1])
        np.testing.assert_array_equal(packed["stoch"], classes)
        batch |= {prefix + name: x for name, x in packed.items()}
    back = [model.starts(batch), model.successors(batch)]
    jax.tree.map(np.testing.assert_array_equal, back, states)


# --- disagreement


def disagreement(prior_bias):
    """Of members that predict what `prior_bias` [E, S, C] says alone: [3]."""
    members, stoch, classes = np.shape(prior_bias)
    net = make_net(members=members, stoch=stoch, classes=classes, unimix=0.0)
    params = jax.tree.map(np.array, make_params(net))
    logits = params["rssm"]["prior"]["out"]["logits"]["linear"]
    logits["kernel"][:] = 0
    logits["bias"][:] = np.reshape(prior_bias, (members, -1))
    state = net.rssm.initial(3)
    return LatentWorldModel(params, net).disagreement(state, jnp.ones((3, ACTIONS)))


def test_members_that_share_no_class_disagree_by_all_they_can():
    """Two latents; the members are certain of the same class of the first one."""
    certain = 200.0
    bias = np.zeros((2, 2, 2))
    bias[:, 0, 0] = certain
    bias[[0, 1], 1, [0, 1]] = certain
    np.testing.assert_allclose(disagreement(bias), np.log(2) / 2, rtol=1e-5)


def test_disagreement_is_the_divergence_of_the_members_from_their_mean():
    bias = np.random.default_rng(1).normal(size=(3, 4, 5)) * 2
    p = np.exp(bias) / np.exp(bias).sum(-1, keepdims=True)
    expected = (p * np.log(p / p.mean(0))).sum(-1).mean()
    np.testing.assert_allclose(disagreement(bias), expected, rtol=1e-4)
