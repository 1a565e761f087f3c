"""RAMBO's model: its loss by the formula, of a single number, and in a refresh."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_learners import seen
from learners import (
    A,
    N,
    assert_slope,
    make_batch,
    make_learner,
    make_state,
    net,
    q_of,
)

KEY = jax.random.key(5)
LAYERS = {"ensemble.layers": 1}


@pytest.fixture(scope="module")
def exact():
    """In float64: a learner, its state and data, states to imagine from, what was drawn
    there, and the gradients of the model's loss with and without the adversary.
    """
    with jax.enable_x64(True):
        learner = make_learner("rambo", jnp.float64, ensemble=True, **LAYERS)
        state = make_state(learner, np.float64, adversary=0.7)
        rows = make_batch(np.float64)
        now = 0.5 * rows["next_vector"][::-1]
        grad = jax.jit(jax.value_and_grad(learner.model_loss, has_aux=True))
        given = learner.world.params, state, rows, now, KEY
        (value, _), grads = grad(*given)
        calm = state.replace(hyper={"adversary": jnp.zeros(())})
        (fit, (after, cont)), fit_grads = grad(given[0], calm, *given[2:])
        action_key, member_key, _ = jax.random.split(KEY, 3)
        features = learner.world.features(now)
        sample = jax.jit(learner.nets.policy.sample)
        action, _ = sample(state.params["actor"], features, action_key)
        member = jax.random.randint(member_key, (N,), 0, learner.world.members)
        slopes = (value, grads), (fit, fit_grads)
        drawn = action, member, after, cont
        return learner, *jax.device_get((state, rows, now, drawn, slopes))


def moments(world, params, state, action):
    """Mean and log-variance of every member, in NumPy."""
    x = np.concatenate([state, action], -1)
    x = (x - np.asarray(world.mean)) / np.asarray(world.std)
    *hidden, last = params["layers"]
    for layer in hidden:
        x = x @ layer["kernel"] + layer["bias"]
        x = x / (1 + np.exp(-x))
    mean, v = np.split(x @ last["kernel"] + last["bias"], 2, -1)
    low, high = params["min_logvar"], params["max_logvar"]
    v = high - np.log1p(np.exp(high - v))
    return mean, low + np.log1p(np.exp(v - low))


def data_loss(world, params, rows):
    """That of the ensemble itself; rewards are raw in it."""
    mean, v = moments(world, params, rows["vector"], rows["action"])
    reward = (rows["reward"] + 0.5) / 2
    change = rows["next_vector"] - rows["vector"]
    target = np.concatenate([change, reward[:, None]], -1)
    nll = ((mean - target) ** 2 * np.exp(-v) + v).mean((1, 2)).sum()
    weights = zip(world.net.decays, params["layers"], strict=True)
    decay = sum(w * 0.5 * (layer["kernel"] ** 2).sum() for w, layer in weights)
    span = params["max_logvar"].sum() - params["min_logvar"].sum()
    return nll + decay + world.net.config.logvar_weight * span


def test_without_its_adversary_the_model_only_learns_the_data(exact):
    learner, _, rows, _, _, (_, (value, grads)) = exact
    loss = lambda params: data_loss(learner.world, params, rows)  # noqa: E731
    params = jax.device_get(learner.world.params)
    assert value == pytest.approx(loss(params))
    assert_slope(grads, loss, params)


def test_what_would_be_good_becomes_less_likely(exact):
    learner, state, rows, now, (action, member, after, cont), ((value, grads), _) = (
        exact
    )
    world, params = learner.world, jax.device_get(learner.world.params)
    mean, v = moments(world, params, now, action)
    noise_key = jax.random.split(KEY, 3)[2]
    with jax.enable_x64(True):
        noise = np.asarray(jax.random.normal(noise_key, mean.shape[1:], jnp.float64))
    own = member, np.arange(N)
    sample = mean[own] + np.exp(0.5 * v[own]) * noise
    np.testing.assert_allclose(after, now + sample[:, :-1], rtol=1e-6)

    critics = state.params["critic"]
    best = np.tanh(net(state.params["actor"], seen(world, after))[:, :A])
    gain = (
        2 * sample[:, -1] - 0.5 + 0.99 * cont * q_of(world, critics, after, best).min(0)
    )
    gain = gain - q_of(world, critics, now, action).min(0)
    advantage = (gain - gain.mean()) / gain.std()

    def loss(params):
        mean, v = moments(world, params, now, action)
        each = -0.5 * ((sample - mean) ** 2 * np.exp(-v) + v + np.log(2 * np.pi))
        log_prob = np.log(np.exp(each.sum(-1)).mean(0))
        return 0.7 * (log_prob * advantage).mean() + data_loss(world, params, rows)

    assert value == pytest.approx(loss(params))
    assert_slope(grads, loss, params, rtol=1e-5)


def test_a_model_of_one_number_falls_by_lambda():
    """x ~ N(θ, 1) whose advantage is x: the loss has slope λ in θ."""
    n, mean = 20_000, lambda theta: jnp.full((1, n, 1), theta)

    def model(theta):
        return SimpleNamespace(
            replace=lambda params: model(params),
            features=lambda state: state,
            moments=lambda state, action: (mean(theta), jnp.ones((1, n, 1))),
            outcome=lambda state, action, x: (state, x[:, 0], jnp.zeros(n)),
        )

    policy = SimpleNamespace(sample=lambda actor, x, key: (x, None))
    learner = make_learner("rambo").replace(
        world=model(0.0), nets=SimpleNamespace(policy=policy)
    )
    kind = type("Alone", (type(learner),), {})
    kind.fit_of_data = lambda self, world, rows: 0.0
    kind.value = lambda self, params, features, action: jnp.zeros(n)
    kind.policy = lambda self, params, features: features
    alone = kind(**vars(learner))
    state = SimpleNamespace(params={"actor": None}, hyper={"adversary": 0.3})
    loss = lambda theta: alone.model_loss(theta, state, None, jnp.zeros((n, 1)), KEY)  # noqa: E731
    slope, _ = jax.jit(jax.grad(loss, has_aux=True))(2.0)
    assert slope == pytest.approx(0.3, rel=0.02)


def test_a_refresh_trains_the_model_and_imagines_with_it():
    keys = {"rambo__model_updates": 40, "rambo__model_learning_rate": 0.01}
    learner = make_learner("rambo", ensemble=True, **keys, **LAYERS)
    state = make_state(learner, adversary=1e-3)
    batch = make_batch(n=16)
    new, _ = jax.jit(learner.refresh)(state, batch, KEY)
    assert new.memory["optimizer"][0].count == 40 and new.memory["rows"].count >= 16
    before, after = (
        data_loss(learner.world, jax.device_get(s.memory["model"]), batch)
        for s in (state, new)
    )
    assert after < before - 1
    assert learner.model(new).params is new.memory["model"]
