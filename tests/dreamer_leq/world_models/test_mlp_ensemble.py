"""The ensemble's likelihood and its steps against NumPy, member by member."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet, MLPEnsemble
from dreamer_leq.world_models.termination import Termination

D, A = 3, 2
PAPER_DECAYS = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)


def make_net(preset="debug", **keys):
    keys = {"ensemble." + name: value for name, value in keys.items()}
    return EnsembleNet(from_presets(preset, **keys).ensemble, D, A)


def random_like(tree, scale, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: scale * rng.normal(size=x.shape), tree)


def make_params(net, seed=0):
    """Random parameters in float64 whose predictions are of size 1."""
    params = random_like(jax.eval_shape(net.init, jax.random.key(0)), 0.4, seed)
    bounds = {"min_logvar": -3.0, "max_logvar": 0.5}
    return params | {name: bound + params[name] for name, bound in bounds.items()}


def make_model(net, params=None, rule="never", goal=None, radius=0.0, **changes):
    rng = np.random.default_rng(5)
    fields = {
        "params": make_params(net) if params is None else params,
        "mean": rng.normal(size=D + A),
        "std": rng.uniform(0.5, 2.0, D + A),
        "reward_scale": 1.0,
        "reward_bias": 0.0,
    } | changes
    fields = jax.tree.map(jnp.float32, fields)
    return MLPEnsemble(**fields, net=net, termination=Termination(rule, goal, radius))


def quiet(params):
    """The same means with next to no noise: both bounds of the log-variance at -40."""
    bound = np.full(D + 1, -40.0)
    return params | {"min_logvar": bound, "max_logvar": bound}


def inputs(n, seed=3):
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal(size=(n, D))), np.float32(rng.uniform(-1, 1, (n, A)))


# --- the formulas, in NumPy ---


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def forward(params, member, x):
    """Mean and log-variance of one member: [B, D + A] -> twice [B, D + 1]."""
    count = len(params["layers"])
    for i, layer in enumerate(params["layers"]):
        w, b = (np.float64(layer[name][member]) for name in ("kernel", "bias"))
        x = x @ w + b
        if i < count - 1:
            x = x / (1 + np.exp(-x))
    mean, raw = x[:, : D + 1], x[:, D + 1 :]
    low, high = (np.float64(params[f"{end}_logvar"]) for end in ("min", "max"))
    raw = high - softplus(high - raw)
    return mean, low + softplus(raw - low)


def loss_terms(params, x, target):
    fit = weights = 0.0
    for member in range(len(x)):
        mean, logvar = forward(params, member, x[member])
        fit += ((mean - target[member]) ** 2 * np.exp(-logvar)).mean() + logvar.mean()
        for decay, layer in zip(PAPER_DECAYS, params["layers"], strict=True):
            weights += decay * 0.5 * (layer["kernel"][member] ** 2).sum()
    bounds = params["max_logvar"].sum() - params["min_logvar"].sum()
    return fit, weights, 0.01 * bounds


def outcomes(model, state, action):
    """Standardised by hand: means and log-variances of all members, [E, N, D + 1]."""
    x = np.concatenate([state, action], -1).astype(np.float64)
    x = (x - np.asarray(model.mean)) / np.asarray(model.std)
    pairs = [forward(model.params, e, x) for e in range(model.members)]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


# --- likelihood ---


def test_the_papers_ensemble():
    c = from_presets("d4rl_mujoco").ensemble
    assert (c.members, c.elites, c.layers, c.units) == (7, 5, 4, 200)
    assert (c.batch, c.learning_rate, c.logvar_weight) == (256, 1e-3, 0.01)
    assert (c.holdout, c.holdout_share) == (1000, 0.2)
    assert (c.improvement, c.patience) == (0.01, 5)


def test_predictions_are_those_of_every_member_alone():
    net = make_net(members=3, layers=4, units=5)
    params, rng = make_params(net), np.random.default_rng(1)
    x = rng.normal(size=(3, 6, D + A))
    with jax.enable_x64(True):
        mean, logvar = net.predict(jax.tree.map(jnp.asarray, params), x)
    assert mean.shape == logvar.shape == (3, 6, D + 1)
    for member in range(3):
        expected = forward(params, member, x[member])
        np.testing.assert_allclose(mean[member], expected[0], rtol=1e-10)
        np.testing.assert_allclose(logvar[member], expected[1], rtol=1e-10)
    assert np.abs(mean[0] - mean[1]).min() > 0


@pytest.mark.parametrize(
    "raw, expected", [(1e3, 0.5), (-1e3, -10.0), (-4.0, -4.0), (0.5, 0.5 - np.log(2))]
)
def test_the_log_variance_stays_softly_between_its_bounds(raw, expected):
    net = make_net(members=2)
    params = net.init(jax.random.key(0))
    last = params["layers"][-1]
    last["kernel"] *= 0
    last["bias"] = last["bias"].at[..., D + 1 :].set(raw)
    _, logvar = net.predict(params, jnp.ones((2, 4, D + A)))
    np.testing.assert_allclose(logvar, expected, atol=0.02)
    assert logvar.max() < 0.501 and logvar.min() > -10.001


def test_the_loss_and_its_gradient_are_those_of_numpy():
    """By differences along random directions: nothing stops a gradient."""
    net = make_net(members=3, layers=4, units=5)
    params, rng = make_params(net), np.random.default_rng(1)
    x, target = rng.normal(size=(3, 6, D + A)), rng.normal(size=(3, 6, D + 1))

    def numpy_loss(p):
        return sum(loss_terms(p, x, target))

    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, params)
        evaluate = jax.jit(jax.value_and_grad(net.loss, has_aux=True))
        (actual, metrics), grads = jax.device_get(evaluate(given, x, target))
    fit, weights, bounds = loss_terms(params, x, target)
    assert min(abs(fit), weights / 1e-3, abs(bounds)) > 0.01
    assert actual == pytest.approx(fit + weights + bounds, rel=1e-12)
    assert metrics["nll"] == pytest.approx(fit / 3, rel=1e-10)
    means = np.stack([forward(params, e, x[e])[0] for e in range(3)])
    assert metrics["mse"] == pytest.approx(((means - target) ** 2).mean(), rel=1e-10)

    for name in params:  # layers, and each of the two bounds
        way = random_like(params[name], 1.0, seed=2)
        moved = [
            params | {name: jax.tree.map(lambda p, v: p + h * v, params[name], way)}  # noqa: B023
            for h in (1e-6, -1e-6)
        ]
        slope = (numpy_loss(moved[0]) - numpy_loss(moved[1])) / 2e-6
        parts = jax.tree.map(lambda g, v: (g * v).sum(), grads[name], way)
        assert sum(jax.tree.leaves(parts)) == pytest.approx(slope, rel=1e-5)


def test_init_is_half_of_one_over_the_root_of_the_inputs():
    net = EnsembleNet(from_presets("d4rl_mujoco").ensemble, 17, 6)
    params = jax.jit(net.init)(jax.random.key(3))
    sizes = [23, 200, 200, 200, 200, 36]
    for layer, i, o in zip(params["layers"], sizes[:-1], sizes[1:], strict=True):
        w = np.asarray(layer["kernel"])
        assert w.shape == (7, i, o)
        spread = 1 / (2 * np.sqrt(i))
        for member in w:
            assert member.std() == pytest.approx(spread, rel=0.05)
            assert abs(member.mean()) < 5 * spread / np.sqrt(member.size)
        # a whole normal: cut at two deviations, its fourth moment would be 2.1
        assert ((w / spread) ** 4).mean() == pytest.approx(3.0, abs=0.2)
        assert np.abs(np.corrcoef(w.reshape(7, -1)) - np.eye(7)).max() < 0.1
        assert layer["bias"].shape[0] == 7 and not layer["bias"].any()
    np.testing.assert_array_equal(params["max_logvar"], np.full(18, 0.5))
    np.testing.assert_array_equal(params["min_logvar"], np.full(18, -10.0))


# --- steps ---


@jax.jit
def step(model, state, action, key):
    return model.step(state, action, model.noise(key, len(state)))


@jax.jit
def many_steps(model, state, action, keys):
    return jax.vmap(lambda key: step(model, state, action, key))(keys)


def used_members(model, state, action, successor, reward):
    """Which member each sample followed, in all its outputs: [..., N]."""
    means, _ = outcomes(model, state, action)
    sample = np.concatenate([successor - state, np.asarray(reward)[..., None]], -1)
    off = np.abs(sample[..., None, :, :] - means).max(-1)  # [..., E, N]
    ordered = np.sort(off, -2)
    assert (ordered[..., 0, :] < 1e-4).all() and (ordered[..., 1:, :] > 1e-2).all()
    return off.argmin(-2)


@pytest.mark.parametrize("n", [7, 10])
def test_every_sample_follows_one_elite_each_as_often(n):
    net = make_net(elites=5, members=5, reward="model")
    model = make_model(net, quiet(make_params(net)))
    state, action = inputs(n)
    keys = jax.random.split(jax.random.key(1), 1000)
    successor, reward, _ = map(np.asarray, many_steps(model, state, action, keys))
    used = used_members(model, state, action, successor, reward)
    counts = np.stack([(used == e).sum(0) for e in range(5)])
    assert np.abs(counts - 200).max() < 4.5 * np.sqrt(1000 * 0.2 * 0.8)
    if n == 10:  # and of two samples none knows what the other's is
        assert 0.1 < (used[:, 0] == used[:, 1]).mean() < 0.3
        assert all((np.bincount(row, minlength=5) == 2).all() for row in used)


def test_samples_have_the_members_mean_and_deviation():
    net = make_net(elites=1, members=1, reward="model")
    model = make_model(net, reward_scale=2.0, reward_bias=-1.0)
    state, action = inputs(3)
    keys = jax.random.split(jax.random.key(2), 20000)
    given = many_steps(model, state, action, keys)
    successor, reward, cont = map(np.asarray, given)
    means, logvars = outcomes(model, state, action)
    raw = (reward + 1.0) / 2.0
    sample = np.concatenate([successor - state, raw[..., None]], -1)
    std = np.exp(0.5 * logvars[0])
    z = (sample - means[0]) / std
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.035)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.025)
    together = np.corrcoef(z.reshape(len(z), -1).T)
    assert np.abs(together - np.eye(len(together))).max() < 0.035
    assert (cont == 1).all()


def test_a_member_step_is_that_members_step():
    net = make_net(elites=4, members=4, reward="model")
    model = make_model(net)
    state, action = inputs(6)
    means, logvars = outcomes(model, state, action)

    @jax.jit
    def member_step(model, state, action, key, member):
        noise = model.noise(key, len(state))
        return model.member_step(state, action, noise, member)

    z = []
    for member in range(4):
        successor, reward, _ = member_step(
            model, state, action, jax.random.key(4), member
        )
        sample = np.concatenate([successor - state, reward[:, None]], -1)
        z.append((sample - means[member]) / np.exp(0.5 * logvars[member]))
    assert np.std(z[0]) > 0.5
    for other in z[1:]:  # the key alone is the noise
        np.testing.assert_allclose(z[0], other, atol=1e-3)
    still = make_model(net, quiet(make_params(net)))
    successor, reward, _ = member_step(still, state, action, jax.random.key(5), 2)
    assert (used_members(still, state, action, successor, reward) == 2).all()


def test_in_the_region_the_reward_is_one_before_the_transform():
    """Of the successor, with its noise: minus one everywhere else with AntMaze's -1."""
    net = make_net(reward="region")
    goal, radius = (0.3, -0.2), 1.2
    model = make_model(net, None, "goal", goal, radius, reward_bias=-1.0)
    state, action = inputs(200)
    successor, reward, cont = step(model, state, action, jax.random.key(1))
    inside = np.hypot(*(np.asarray(successor)[:, :2] - goal).T) < radius
    assert 20 < inside.sum() < 180
    np.testing.assert_array_equal(reward, np.where(inside, 0.0, -1.0))
    np.testing.assert_array_equal(cont, ~inside)
    learned = make_model(make_net(reward="model"), None, "goal", goal, radius)
    assert len(np.unique(step(learned, state, action, jax.random.key(1))[1])) == 200


def test_without_a_goal_the_region_means_the_models_reward():
    state, action = inputs(5)
    both = [
        step(make_model(make_net(reward=kind)), state, action, jax.random.key(1))[1]
        for kind in ("region", "model")
    ]
    np.testing.assert_array_equal(*both)


def test_an_episode_ends_by_the_rule_of_the_sampled_successor():
    model = make_model(make_net(), None, "hopper")
    state, action = inputs(300)
    state += np.float32([1.5, 0, 0])
    state[:, 1] *= 0.1
    successor, _, cont = step(model, state, action, jax.random.key(1))
    height, angle = np.asarray(successor)[:, 0], np.asarray(successor)[:, 1]
    fine = (height > 0.7) & (np.abs(angle) < 0.2)
    assert 20 < fine.sum() < 280
    np.testing.assert_array_equal(cont, fine)


def test_a_learned_end_is_a_network_of_the_standardised_successor():
    net = make_net(termination="learned")
    params = make_params(net)
    nets = params["termination"]
    assert [nets[f"layer{i}"]["kernel"].shape[1] for i in range(3)] == [256] * 3
    nets = params["termination"] = jax.tree.map(lambda p: 0.2 * p, nets)
    model = make_model(net, params, "hopper")
    state, action = inputs(9)
    successor, _, cont = step(model, state, action, jax.random.key(1))
    x = (np.asarray(successor) - model.mean[:D]) / model.std[:D]
    for i in range(3):
        x = np.maximum(x @ nets[f"layer{i}"]["kernel"] + nets[f"layer{i}"]["bias"], 0)
    logit = (x @ nets["out"]["kernel"] + nets["out"]["bias"])[:, 0]
    np.testing.assert_allclose(cont, 1 - 1 / (1 + np.exp(-logit)), rtol=1e-3)
    assert np.std(cont) > 0.01


# --- what LEQ sees ---


def test_features_are_symlogs_of_what_is_standardised():
    model = make_model(make_net())
    state, action = inputs(50)
    state *= 20
    mean, std = np.asarray(model.mean), np.asarray(model.std)
    s, a = (state - mean[:D]) / std[:D], (action - mean[D:]) / std[D:]
    features = np.sign(s) * np.log(1 + np.abs(s))
    np.testing.assert_allclose(model.features(state), features, rtol=1e-5, atol=1e-6)
    seen = np.sign(a) * np.log(1 + np.abs(a))
    np.testing.assert_allclose(model.action_features(action), seen, rtol=1e-5)
    stacked = model.action_features(np.stack([action, -action]))
    np.testing.assert_allclose(stacked[0], seen, rtol=1e-5)


def test_a_state_is_the_vector_itself():
    model = make_model(make_net(members=3))
    assert (model.members, model.feature_size) == (3, D)
    assert model.observations == ("vector",)
    state, _ = inputs(4)
    batch = {"vector": state, "next_vector": state + 1, "is_first": np.zeros(4, bool)}
    np.testing.assert_array_equal(model.starts(batch), state)
    np.testing.assert_array_equal(model.successors(batch), state + 1)
    before = model.initial(4)
    assert before.shape == (4, D)
    np.testing.assert_array_equal(model.filter(before, batch, jax.random.key(0)), state)


def test_frequencies_are_octaves_of_the_inputs():
    """The same net on inputs that already hold them predicts the same."""
    group = from_presets("debug", **{"ensemble.frequencies": 2}).ensemble
    plain = from_presets("debug").ensemble
    net, wide = EnsembleNet(group, 3, 2), EnsembleNet(plain, 23, 2)
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (group.members, 5, 5))
    waves = [np.sin(x), np.cos(x), np.sin(2 * x), np.cos(2 * x)]
    expected = wide.predict(params, np.concatenate([x, *waves], -1))
    for found, wanted in zip(net.predict(params, x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# --- disagreement


def test_disagreement_is_the_members_spread_in_units_of_the_data():
    """Members that add constants to a common prediction: the last layer's bias."""
    net = make_net()
    params = make_params(net)
    layers = jax.tree.map(lambda p: p[[0, 0, 0]], params["layers"])
    shift = np.array([[0.0, 0, 0], [3, 0, 1], [6, 0, -1]])
    layers[-1]["bias"][:, 0, :D] += shift
    std = np.array([2.0, 1, 4, 1, 1])
    model = make_model(net, params | {"layers": layers}, std=std)
    expected = np.sqrt(np.square(shift.std(0) / std[:D]).mean())
    np.testing.assert_allclose(model.disagreement(*inputs(5)), expected, rtol=1e-4)
