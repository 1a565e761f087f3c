"""FQL by its formulas, at its limits, and on bandits whose answers are known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
)

NAMES = ("critic", "flow", "actor")
KEY = jax.random.key(0)  # that of `gradient`


@pytest.fixture(scope="module")
def exact():
    """A state, a batch and what is drawn in float64, with the learner's gradients."""
    with jax.enable_x64(True):
        learner = make_learner("fql", jnp.float64)
        state = make_state(learner, np.float64, alpha=3.0)
        batch = make_batch(np.float64)
        slopes = {name: gradient(learner, state, batch, name) for name in NAMES}
        least = learner.replace(config=replace(learner.config, next_q="min"))
        slopes["least"] = gradient(least, state, batch, "critic")
        next_key, flow_key, noise_key = jax.random.split(KEY, 3)
        start_key, time_key = jax.random.split(flow_key)
        drawn = {"next": next_key, "start": start_key, "noise": noise_key}
        drawn = {k: jax.random.normal(key, (N, A)) for k, key in drawn.items()}
        drawn["time"] = jax.random.uniform(time_key, (N, 1))
        return jax.device_get((state, batch, slopes, drawn))


def beside(*parts):
    return np.concatenate(parts, -1)


def check(exact, name, loss, network):
    """The loss is as given, by its own network alone."""
    state, _, slopes, _ = exact
    value, grads = slopes[name]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert all(is_zero(grads[other]) for other in set(NAMES) - {network})


@pytest.mark.parametrize("name", ["critic", "least"])
def test_the_critics_learn_from_the_policys_next_action(exact, name):
    """Their slow values' mean or the least, at π(s', z) cut off at ±1."""
    state, batch, _, drawn = exact
    seen = batch["next_vector"]
    action = net(state.params["actor"], beside(seen, drawn["next"]))
    assert (np.abs(action) > 1).any() and (np.abs(action) < 1).any()
    slow = q_values(state.target["critic"], seen, action.clip(-1, 1))
    next_q = slow.min(0) if name == "least" else slow.mean(0)
    target = batch["reward"] + 0.99 * batch["cont"] * next_q

    def loss(params):
        q = q_values(params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    check(exact, name, loss, "critic")


def test_the_flow_learns_which_way_the_noise_has_to_go(exact):
    _, batch, _, drawn = exact
    t, noise, action = drawn["time"], drawn["start"], batch["action"]
    x = (1 - t) * noise + t * action

    def loss(params):
        found = net(params["flow"], beside(batch["vector"], x, t))
        return ((found - (action - noise)) ** 2).mean()

    check(exact, "flow", loss, "flow")


def test_the_policy_learns_from_the_flow_and_from_q(exact):
    """Two steps of Euler's, at t = 0 and 1/2; Q at the action cut off at ±1."""
    state, batch, _, drawn = exact
    seen, noise, flow = batch["vector"], drawn["noise"], state.params["flow"]
    half = noise + net(flow, beside(seen, noise, np.zeros((N, 1)))) / 2
    whole = half + net(flow, beside(seen, half, np.full((N, 1), 0.5))) / 2
    assert (np.abs(whole) > 1).any()

    def loss(params):
        action = net(params["actor"], beside(seen, noise))
        q = q_values(state.params["critic"], seen, action.clip(-1, 1)).mean(0)
        return 3 * ((action - whole.clip(-1, 1)) ** 2).mean() - q.mean()

    check(exact, "actor", loss, "actor")


# --- a bandit whose data have two kinds of actions: -0.6 twice as often as 0.6

MODES = jnp.float32([[-0.6], [-0.6], [0.6]])


@pytest.fixture(scope="module")
def bandit():
    """Trains on `MODES`, which pay 0, 0 and 1, at several α side by side: flow, and the
    policies' actions for the same noise, [α, samples].
    """
    sizes = {"actor.units": 32, "actor.layers": 2, "fql.flow_steps": 10}
    keys = {k.replace(".", "__"): v for k, v in sizes.items()}
    learner = make_learner("fql", fql__gamma=0.5, critic__units=16, **keys)
    nets = replace(learner.nets, policy=replace(learner.nets.policy, action_size=1))
    rates = optax.cosine_decay_schedule(5e-3, 1500)
    learner = learner.replace(nets=nets, optimizer=optax.adam(rates))
    here = jnp.zeros((120, 3))
    batch = {"vector": here, "next_vector": here, "action": jnp.tile(MODES, (40, 1))}
    batch |= {"reward": (batch["action"][:, 0] > 0) * 1.0, "cont": jnp.zeros(120)}

    def train(alpha):
        state = learner.init(jax.random.key(1), {"alpha": alpha}, {})

        def body(i, state):
            return learner.update(state, batch, jax.random.fold_in(KEY, i))[0]

        params = jax.lax.fori_loop(0, 1500, body, state).params
        seen, policy = jnp.zeros((2000, 3)), learner.nets.policy
        noise = policy.noise(seen, jax.random.key(7))
        flow = policy.flow.action(params["flow"], seen, noise, 10)[:, 0]
        action = learner.policy(params, seen, jax.random.key(7))[:, 0]
        calm = learner.policy(params, seen[:1])[0, 0]
        return flow, action, calm, policy.out(params["actor"], seen[:1], noise[:1] * 0)

    found = jax.jit(jax.vmap(train))(jnp.float32([0.0, 1000.0]))
    return jax.device_get(found)


def test_the_flow_has_both_kinds_of_actions_as_often_as_the_data(bandit):
    flow = bandit[0][1]
    near = [np.abs(flow - mode) < 0.15 for mode in (-0.6, 0.6)]
    assert np.logical_or(*near).mean() > 0.9
    assert near[0].mean() == pytest.approx(2 / 3, abs=0.07)
    assert flow.mean() == pytest.approx(-0.2, abs=0.06)
    assert flow.std() == pytest.approx(0.32**0.5, abs=0.06)


def test_near_the_flow_the_policy_is_the_flow(bandit):
    """α = 1000: the same action for the same noise, and for both kinds."""
    flow, action = bandit[0][1], bandit[1][1]
    assert np.abs(flow - action).mean() < 0.05
    assert min((action > 0.4).mean(), (action < -0.4).mean()) > 0.2


def test_far_from_the_flow_the_policy_maximises_q(bandit):
    """α = 0: one action for all noise, and the one that pays or beyond it."""
    assert bandit[1][0].min() > 0.5


def test_without_a_key_the_action_is_that_for_no_noise(bandit):
    _, _, calm, out = bandit
    np.testing.assert_allclose(calm, out.clip(-1, 1)[:, 0, 0], rtol=1e-5)


def test_candidates_are_actions_of_each_state():
    learner = make_learner("fql")
    state, features = make_state(learner, alpha=1.0), make_batch()["vector"]
    policy, actor = learner.nets.policy, state.params["actor"]
    several = policy.sample(actor, features, KEY, 5)
    assert several.shape == (5, N, A) and np.abs(several).max() <= 1
    noise = policy.noise(features, KEY, 5)
    one = policy.out(actor, features, noise[3]).clip(-1, 1)
    np.testing.assert_allclose(several[3], one, rtol=1e-5)
    q = learner.value(state.params, features, several)
    each = q_values(state.params["critic"], features, several[3]).mean(0)
    np.testing.assert_allclose(q[3], each, rtol=1e-4, atol=1e-5)
