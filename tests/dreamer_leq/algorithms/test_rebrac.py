"""ReBRAC by its formulas, and where it is TD3+BC."""

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

from dreamer_leq.data.entries import extra_arrays, transition_starts
from dreamer_leq.data.sampling import Transitions

WEIGHTS = dict(actor_weight=0.3, critic_weight=0.7)


@pytest.fixture(scope="module")
def exact():
    """The learner without noise, a state and a batch in float64, with its gradients."""
    with jax.enable_x64(True):
        keys = {"rebrac__noise": 0.0, "rebrac__delay": 1}
        learner = make_learner("rebrac", jnp.float64, **keys)
        state = make_state(learner, np.float64, **WEIGHTS)
        batch = make_batch(np.float64)
        slopes = {n: gradient(learner, state, batch, n) for n in ("critic", "actor")}
        return jax.device_get((state, batch, slopes))


def test_the_target_is_less_far_from_the_datas_next_action(exact):
    """β_2 times the squared distance, summed over numbers of the action."""
    state, batch, slopes = exact
    next_state = batch["next_vector"]
    next_action = np.tanh(net(state.target["actor"], next_state))
    next_q = q_values(state.target["critic"], next_state, next_action).min(0)
    distance = ((next_action - batch["next_action"]) ** 2).sum(-1)
    target = batch["reward"] + 0.99 * batch["cont"] * (next_q - 0.7 * distance)

    def loss(params):
        q = q_values(params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    value, grads = slopes["critic"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"])


def test_the_policy_learns_from_the_least_critic(exact):
    """λ is a constant; the distance is a sum over numbers of the action."""
    state, batch, slopes = exact
    seen, critic = batch["vector"], state.params["critic"]

    def q_of(actor):
        action = np.tanh(net(actor, seen))
        return q_values(critic, seen, action).min(0), action

    scale = 1 / np.abs(q_of(state.params["actor"])[0]).mean()

    def loss(params):
        q, action = q_of(params["actor"])
        distance = ((action - batch["action"]) ** 2).sum(-1)
        return (0.3 * distance - scale * q).mean()

    value, grads = slopes["actor"]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["critic"])


def test_without_its_own_terms_it_is_td3_bc():
    """β_1 = 1 / (α A), β_2 = 0 and no norm, where both critics are the same."""
    mine = make_learner("rebrac", critic__layer_norm=False, rebrac__delay=1)
    theirs, batch = make_learner("td3_bc", td3_bc__delay=1), make_batch()
    state = make_state(theirs, alpha=2.5)
    twins = jax.tree.map(lambda x: jnp.stack([x[0]] * 2), state.params["critic"])
    state = state.replace(params=state.params | {"critic": twins})
    hyper = dict(actor_weight=1 / (2.5 * A), critic_weight=0.0)
    own = state.replace(hyper={name: jnp.float32(x) for name, x in hyper.items()})
    for name, factor in (("critic", 1.0), ("actor", 2.5)):
        expected, theirs_grads = gradient(theirs, state, batch, name)
        found, grads = gradient(mine, own, batch, name)
        assert factor * found == pytest.approx(expected, rel=1e-5)
        same(jax.tree.map(lambda g, f=factor: f * g, grads), theirs_grads, 1e-5)


def test_a_norm_of_one_unit_leaves_nothing():
    """Its critic is a constant: the norm is over the layer's units."""
    keys = {"critic__units": 1, "critic__layers": 1}
    learner, batch = make_learner("rebrac", **keys), make_batch()
    state = make_state(learner, **WEIGHTS)
    q = jax.jit(learner.value)(state.params, batch["vector"], batch["action"])
    np.testing.assert_allclose(q, q[0], rtol=1e-6)


def test_the_next_action_is_of_the_same_episode():
    """Rows whose episode was cut off there are left out; at terminals any will do."""
    learner = make_learner("rebrac")
    first = np.array([1, 0, 0, 1, 0, 0, 1, 0, 0], bool)
    terminal = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0], bool)
    action = np.arange(9.0, dtype=np.float32)[:, None]
    entries = dict(action=action, is_first=first, is_terminal=terminal)
    arrays = entries | dict(reward=np.zeros(9), vector=action)
    extra = extra_arrays(arrays, learner.reads, 0.9)
    starts = transition_starts(first, terminal, learner.reads)
    sampler = Transitions(len(starts), 1, ("vector",))
    arrays = arrays | extra | {"transition": starts}
    batch = sampler.gather(arrays, np.arange(len(starts)))
    np.testing.assert_array_equal(batch["vector"][:, 0], [0, 1, 3, 6])
    np.testing.assert_array_equal(batch["action"][:, 0], [1, 2, 4, 7])
    inside = batch["cont"] > 0
    np.testing.assert_array_equal(batch["next_action"][inside, 0], [2, 5, 8])
