"""CQL by its formulas, with known candidates, and without its term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    A,
    N,
    assert_slope,
    gradient,
    is_zero,
    make_batch,
    make_learner,
    make_state,
    net,
    q_values,
    same,
)

from dreamer_leq.algorithms import sac
from dreamer_leq.nn.distributions import tanh_normal_log_prob

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def exact():
    """A state and a batch in float64, all that was drawn, and the gradients."""
    with jax.enable_x64(True):
        learner = make_learner("cql", jnp.float64)
        state = make_state(learner, np.float64, weight=2.0)
        batch = make_batch(np.float64)
        target_key, _, own_key = sac.split(KEY)
        seen = batch["vector"], batch["next_vector"]
        drawn = jax.jit(learner.candidates)(state, *seen, own_key)
        sample = jax.jit(learner.nets.policy.sample)
        after, _ = sample(state.params["actor"], seen[1], target_key)
        names = ("critic", "actor", "temperature")
        slopes = {n: gradient(learner, state, batch, n, KEY) for n in names}
        return jax.device_get((state, batch, drawn, after, slopes))


def test_critics_are_low_at_candidates_and_right_at_the_data(exact):
    """All candidates in s; the target is without entropy."""
    state, batch, (actions, log_probs), after, slopes = exact
    next_q = q_values(state.target["critic"], batch["next_vector"], after).min(0)
    target = batch["reward"] + 0.99 * batch["cont"] * next_q

    def loss(params):
        critic, seen = params["critic"], batch["vector"]
        q = q_values(critic, seen, batch["action"])
        others = np.stack([q_values(critic, seen, a) for a in actions], 1)
        spread = np.log(np.exp(others - log_probs).sum(1))
        gap = (spread - q).mean(-1).sum()
        return ((q - target) ** 2).mean(-1).sum() + 2 * gap

    value, grads = slopes["critic"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"]) and is_zero(grads["temperature"])


def test_the_policy_seeks_soft_values_and_an_entropy_of_minus_a(exact):
    """α log π - min Q of a reparameterised action; -log α (mean log π - A)."""
    state, batch, _, _, slopes = exact
    alpha, seen = np.exp(state.params["temperature"]["log"]), batch["vector"]
    with jax.enable_x64(True):
        noise = jax.random.normal(sac.split(KEY)[1], (N, A), jnp.float64)
        noise = np.asarray(noise)

    def sampled(actor):
        mean, log_std = np.split(net(actor, seen), 2, -1)
        log_std = log_std.clip(-5, 2)
        x = mean + np.exp(log_std) * noise
        slope = np.log(1 / np.cosh(x) ** 2)
        each = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - slope
        return np.tanh(x), each.sum(-1)

    def loss(params):
        action, log_prob = sampled(params["actor"])
        q = q_values(state.params["critic"], seen, action).min(0)
        return (alpha * log_prob - q).mean()

    value, grads = slopes["actor"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    surplus = sampled(state.params["actor"])[1].mean() - A
    slope = float(slopes["temperature"][1]["temperature"]["log"])
    assert slope == pytest.approx(-surplus)


def test_only_the_temperature_follows_the_entropy(exact):
    state, _, _, _, slopes = exact
    value, grads = slopes["temperature"]
    slope = float(grads["temperature"]["log"])
    assert value == pytest.approx(slope * float(state.params["temperature"]["log"]))
    assert is_zero(grads["actor"]) and is_zero(grads["critic"])
    assert is_zero(slopes["actor"][1]["critic"])
    assert is_zero(slopes["actor"][1]["temperature"])


def test_candidates_are_three_kinds_with_their_densities(exact):
    _, _, (actions, log_probs), _, _ = exact
    assert actions.shape == (6, N, A) and log_probs.shape == (6, N)
    np.testing.assert_allclose(log_probs[:2], -A * np.log(2), rtol=1e-6)
    assert np.abs(actions).max() <= 1 and len(np.unique(actions)) == actions.size


def test_the_term_of_a_critic_that_says_nothing():
    """Q = 0: log 30 + A log 2 with 30 uniform candidates, not log 3 + A log 2."""
    learner = make_learner("cql", cql__samples=10)
    state = make_state(learner, weight=1.0)
    nothing = jax.tree.map(jnp.zeros_like, state.params["critic"])
    actions, log_probs = jnp.zeros((30, N, A)), jnp.full((30, N), -A * jnp.log(2.0))
    features = make_batch()["vector"]
    given = nothing, features, actions, log_probs, jnp.zeros((2, N))
    gap = jax.jit(learner.conservative_gap)(*given)
    np.testing.assert_allclose(gap, np.log(30) + A * np.log(2), rtol=1e-6)
    assert np.log(30) + 3 * np.log(2) == pytest.approx(5.481, abs=1e-3)  # hopper's


def test_without_its_term_it_is_sac():
    """Weight 0: the critics learn the Bellman error alone."""
    learner, batch = make_learner("cql"), make_batch()
    state = make_state(learner, weight=0.0)
    _, grads = gradient(learner, state, batch, "critic", KEY)

    def plain(params, state, batch):
        after = batch["next_vector"]
        next_q, _ = learner.next_value(state, after, sac.split(KEY)[0])
        target = batch["reward"] + 0.99 * batch["cont"] * next_q
        given = params["critic"], batch["vector"], batch["action"]
        return jnp.square(learner.nets.critics.q(*given) - target).mean(-1).sum()

    expected = jax.jit(jax.grad(plain))(state.params, state, batch)
    same(grads, jax.device_get(expected), 1e-5)


def test_densities_of_the_policy():
    with jax.enable_x64(True):
        learner = make_learner("cql", jnp.float64)
        state = make_state(learner, np.float64, weight=1.0)
        given = state.params["actor"], make_batch(np.float64)["vector"]
        action, log_prob = jax.jit(learner.nets.policy.sample)(*given, KEY)
        mean, std = learner.nets.policy._heads(*given)
        expected = tanh_normal_log_prob(mean, std, jnp.arctanh(action))
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


@pytest.fixture(scope="module")
def lagrangian(exact):
    """AntMaze's form of the same networks: gradients while cloning, and later."""
    with jax.enable_x64(True):
        keys = {"cql__threshold": 0.3, "cql__cloning": 5}
        learner = make_learner("cql", jnp.float64, **keys)
        state = make_state(learner, np.float64, weight=2.0)
        state = state.replace(params=state.params | exact[0].params)
        batch = make_batch(np.float64)
        names = ("critic", "multiplier", "actor")

        @jax.jit
        def all_of(state):
            def losses(params):
                found, metrics = learner.losses(params, state, batch, KEY)
                return jnp.stack([found[name] for name in names]), metrics["gap"]

            values, gap = losses(state.params)
            return values, gap, jax.jacrev(losses, has_aux=True)(state.params)[0]

        found = [all_of(state.replace(step=jnp.asarray(step))) for step in (4, 5)]
        return jax.device_get((state, batch, found))


def test_a_multiplier_holds_the_term_at_its_threshold(lagrangian, exact):
    """α' Σ_i (w g_i - 0.3) for the critics; α' itself rises with the mean of that."""
    state, _, ((values, gap, grads), _) = lagrangian
    multiplier = np.exp(state.params["multiplier"]["log"])
    fit = exact[-1]["critic"][0] - 2 * 2 * gap  # what is not the term
    surplus = 2 * gap - 0.3
    assert values[0] == pytest.approx(fit + multiplier * 2 * surplus)
    assert values[1] == pytest.approx(-multiplier * surplus)
    slopes = grads["multiplier"]["log"]
    assert slopes[0] == 0 and slopes[2] == 0
    assert slopes[1] == pytest.approx(-multiplier * surplus)
    assert is_zero(jax.tree.map(lambda g: g[1], grads["critic"]))


def test_the_policy_begins_with_cloning(lagrangian, exact):
    """α log π - log π(a) of the data's action in the first five updates."""
    state, batch, ((early, _, grads), (late, _, late_grads)) = lagrangian
    value, expected = exact[-1]["actor"]
    assert late[2] == pytest.approx(value)
    same(jax.tree.map(lambda g: g[2], late_grads["actor"]), expected["actor"], 1e-9)

    seen, alpha = batch["vector"], np.exp(state.params["temperature"]["log"])
    with jax.enable_x64(True):
        noise = np.asarray(jax.random.normal(sac.split(KEY)[1], (N, A), jnp.float64))

    def density(params, x=None):
        mean, log_std = np.split(net(params["actor"], seen), 2, -1)
        log_std = log_std.clip(-5, 2)
        x = mean + np.exp(log_std) * noise if x is None else x
        each = -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std
        return (each - 0.5 * np.log(2 * np.pi) + 2 * np.log(np.cosh(x))).sum(-1)

    def loss(params):
        data = density(params, np.arctanh(batch["action"]))
        return (alpha * density(params) - data).mean()

    assert early[2] == pytest.approx(loss(state.params))
    assert_slope(jax.tree.map(lambda g: g[2], grads), loss, state.params)
