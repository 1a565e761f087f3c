"""TD3+BC by its formulas, at its limits and on a bandit."""

from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    A,
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

from dreamer_leq.algorithms import td3
from dreamer_leq.algorithms.bc import BC


@pytest.fixture(scope="module")
def exact():
    """The learner without noise, a state and a batch in float64, with its gradients."""
    with jax.enable_x64(True):
        keys = {"td3_bc__noise": 0.0, "td3_bc__delay": 1}
        learner = make_learner("td3_bc", jnp.float64, **keys)
        state, batch = (
            make_state(learner, np.float64, alpha=2.5),
            make_batch(np.float64),
        )
        slopes = {n: gradient(learner, state, batch, n) for n in ("critic", "actor")}
        return jax.device_get((state, batch, slopes))


def test_the_critics_learn_from_the_smaller_slow_value(exact):
    """Both: mean (Q_i - y)², summed; the target's policy and critics are averages."""
    state, batch, slopes = exact
    next_state = batch["next_vector"]
    next_action = np.tanh(net(state.target["actor"], next_state))
    next_q = q_values(state.target["critic"], next_state, next_action).min(0)
    target = batch["reward"] + 0.99 * batch["cont"] * next_q

    def loss(params):
        q = q_values(params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    value, grads = slopes["critic"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"])


def test_the_policy_learns_from_the_first_critic(exact):
    """λ is a constant; the distance is a mean over numbers of the action."""
    state, batch, slopes = exact
    seen, critic = batch["vector"], state.params["critic"]
    own = np.tanh(net(state.params["actor"], seen))
    scale = 2.5 / np.abs(q_values(critic, seen, own)[0]).mean()

    def loss(params):
        action = np.tanh(net(params["actor"], seen))
        q = q_values(critic, seen, action)[0]
        return ((action - batch["action"]) ** 2).mean() - scale * q.mean()

    value, grads = slopes["actor"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["critic"])


def test_without_q_it_is_behaviour_cloning():
    """α = 0: the gradient of cloning, which sums over the numbers of an action."""
    learner, batch = make_learner("td3_bc", td3_bc__delay=1), make_batch()
    state = make_state(learner, alpha=0.0)
    section = SimpleNamespace(critic="none", best=1.0)
    cloning = BC(learner.world, learner.nets, None, section, 0.99)
    _, expected = gradient(cloning, state, batch, "bc")
    _, found = gradient(learner, state, batch, "actor")
    same(jax.tree.map(lambda g: A * g, found), expected, 1e-6)


def test_the_policy_waits_with_its_optimiser_and_all_averages():
    learner, batch = make_learner("td3_bc"), make_batch()
    states, told = [make_state(learner, alpha=2.5)], []
    update = jax.jit(learner.update)
    for i in range(3):
        state, metrics = update(states[-1], batch, jax.random.key(i))
        states.append(state)
        told.append(metrics["actor_loss"])
    loss, _ = gradient(
        make_learner("td3_bc", td3_bc__delay=1), states[1], batch, "actor"
    )
    np.testing.assert_allclose(told, [0, 2 * loss, 0], rtol=1e-6)
    first, one, two, three = states

    def slow(state):
        return state.params["actor"], state.opt_state["actor"], state.target

    same(slow(one), slow(first))
    same(slow(three), slow(two))
    counts = [int(state.opt_state["actor"][0].count) for state in states]
    assert counts == [0, 0, 1, 1]
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), slow(two), slow(one))
    assert all(jax.tree.leaves(changed))
    same(
        two.target["critic"],
        jax.tree.map(
            lambda slow, new: 0.995 * slow + 0.005 * new,
            one.target["critic"],
            two.params["critic"],
        ),
        1e-5,
    )
    critics = [state.params["critic"]["trunk"]["out"]["kernel"] for state in states]
    assert all((x != y).any() for x, y in pairwise(critics))


def test_the_rate_of_a_policy_that_waits_falls_over_its_own_updates():
    keys = {"td3_bc__optimizer.schedule": "cosine", "td3_bc__updates": 10}
    for delay, steps in ((1, 10), (2, 5), (20, 1)):
        learner = make_learner("td3_bc", td3_bc__delay=delay, **keys)
        params = make_state(learner, alpha=2.5).params
        grads = jax.tree.map(jnp.ones_like, params)
        state, moves = learner.optimizer.init(params), []
        for _ in range(steps):
            step, state = learner.optimizer.update(grads, state, params)
            moves.append(float(jnp.abs(jax.tree.leaves(step["actor"])[0]).max()))
        last = 0.5 * (1 + np.cos(np.pi * (steps - 1) / steps))
        assert moves[-1] / moves[0] == pytest.approx(last, rel=1e-3)


def test_noise_on_the_target_action_is_cut_off():
    action = jnp.tile(jnp.float32([0.0, 0.9, -0.9]), (4000, 1))
    found = np.asarray(td3.smoothed(action, jax.random.key(0), 0.2, 0.3))
    assert found[:, 0].std() == pytest.approx(0.1765, rel=0.03)
    assert np.abs(found[:, 0]).max() == pytest.approx(0.3)
    assert found[:, 1].max() == 1 and found[:, 1].min() == pytest.approx(0.6)
    assert found[:, 2].min() == -1
    np.testing.assert_array_equal(td3.smoothed(action, jax.random.key(0), 0, 1), action)


# --- a bandit: Q(a) = 2 - (a - 1)², and the data's action is 0


class Bandit:
    """Networks of one number: the action's tanh."""

    def __init__(self, scale=1.0):
        pay = lambda _, features, action: scale * (2 - (action[..., 0] - 1) ** 2)  # noqa: E731
        self.critics = SimpleNamespace(q=lambda *given: jnp.stack([pay(*given)] * 2))

    def mode(self, params, features):
        return jnp.tanh(params) * jnp.ones((len(features), 1))


def bandit_loss(scale=1.0):
    learner = make_learner("td3_bc").replace(nets=Bandit(scale))
    state = SimpleNamespace(hyper={"alpha": 2.5}, params={"critic": None})
    features, data = jnp.zeros((4, 3)), jnp.zeros((4, 1))
    return lambda x: learner.actor_loss({"actor": x}, state, features, data, None)


def test_the_best_action_of_a_bandit():
    loss = bandit_loss()
    slope = jax.jit(jax.grad(lambda x: loss(x)[0]))
    x = jnp.float32(0.0)
    for _ in range(200):
        x = x - 0.1 * slope(x)
    assert jnp.tanh(x) == pytest.approx(0.5784, abs=1e-4)
    assert 2.5 / loss(x)[1]["q_policy"] == pytest.approx(1.372, abs=1e-3)


def test_the_scale_of_rewards_does_not_matter_to_the_policy():
    x = jnp.float32(0.3)
    same(bandit_loss(10.0)(x)[0], bandit_loss()(x)[0], 1e-6)
