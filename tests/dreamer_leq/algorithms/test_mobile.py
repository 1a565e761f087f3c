"""MOBILE by its formulas, and its disagreement where it is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    D,
    N,
    assert_slope,
    gradient,
    is_zero,
    make_batch,
    make_learner,
    make_state,
    q_of,
)

from dreamer_leq.algorithms import sac
from dreamer_leq.algorithms.mobile import inconsistency

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(5)
REAL = 3  # rows of the dataset


@pytest.fixture(scope="module")
def exact():
    """A learner, state and batch in float64, the gradient, and all that was drawn."""
    with jax.enable_x64(True):
        keys = {"mobile__real_share": 0.5, "mobile__samples": 2}
        learner = make_learner("mobile", jnp.float64, ensemble=True, **keys)
        state = make_state(learner, np.float64, penalty=0.3)
        batch = make_batch(np.float64)
        slope = gradient(learner, state, batch, "critic", KEY)
        drawn = jax.jit(draw, static_argnums=0)(_Still(learner), state, batch)
        return learner, *jax.device_get((state, batch, slope, drawn))


class _Still:
    """A static argument."""

    def __init__(self, learner):
        self.learner = learner


def draw(still, state, batch):
    """The target's next action; next states and actions of imagined rows."""
    learner, actor = still.learner, state.params["actor"]
    world, sample = learner.world, learner.nets.policy.sample
    value_key = sac.split(KEY)[0]
    after = world.features(batch["next_vector"])
    state_key, action_key = jax.random.split(jax.random.fold_in(value_key, 1))
    start, action = batch["vector"][REAL:], batch["action"][REAL:]
    mean, std = world.moments(start, action)
    noise = jax.random.normal(state_key, (2, *mean.shape), mean.dtype)
    next_state = start + (mean + std * noise)[..., :-1]
    rows = next_state.reshape(-1, D)
    next_action = sample(actor, world.features(rows), action_key)[0]
    return sample(actor, after, value_key)[0], next_state, next_action


def test_targets_of_imagined_rows_fall_with_the_disagreement(exact):
    learner, state, batch, (value, grads), (after, next_state, next_action) = exact
    world, slow = learner.world, state.target["critic"]
    q = q_of(world, slow, next_state.reshape(-1, D), next_action).min(0)
    members = q.reshape(next_state.shape[:-1]).mean(0)  # [E, imagined rows]
    assert members.shape == (3, N - REAL)
    u = np.sqrt(((members - members.mean(0)) ** 2).sum(0) / 2)
    reward = batch["reward"] - 0.3 * np.concatenate([np.zeros(REAL), u])
    next_q = q_of(world, slow, batch["next_vector"], after).min(0)
    target = reward + 0.99 * batch["cont"] * next_q
    assert 0 < (target > 0).sum() < N  # both are there
    target = np.maximum(target, 0)

    def loss(params):
        q = q_of(world, params["critic"], batch["vector"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"]) and is_zero(grads["temperature"])


def disagreement(members, ddof):
    """u of members who are sure of what follows, a state being its own value."""
    members = jnp.float32(members)

    def moments(state, action):
        change = jnp.zeros((len(members), len(state), D + 1))
        return change + members[:, None, None], jnp.zeros_like(change)

    world = SimpleNamespace(
        moments=moments,
        outcome=lambda state, sample: (state + sample[..., :-1], None, None),
        features=lambda state: state,
        action_features=lambda action: action,
    )
    policy = SimpleNamespace(sample=lambda actor, x, key: (x[:, :2], None))
    nets = SimpleNamespace(policy=policy, q=lambda critics, x, action: x[:, 0])
    learner = make_learner("mobile").replace(world=world, nets=nets)
    state = SimpleNamespace(params={"actor": None})
    found = inconsistency(
        learner, state, None, jnp.zeros((4, D)), jnp.zeros((4, 2)), KEY, ddof
    )
    assert found.shape == (4,)
    return found


def test_disagreements_that_are_known():
    np.testing.assert_allclose(disagreement([3] * 5, 1), 0, atol=1e-6)
    np.testing.assert_allclose(disagreement([0, 0, 0, 0, 5], 1), np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(disagreement([0, 0, 0, 0, 5], 0), 2, rtol=1e-6)


def test_an_entropys_weight_that_is_held():
    learner = make_learner("mobile", mobile__alpha=0.2)
    assert learner.first_alpha == 0.2 and "temperature" not in learner.trained
    assert make_learner("mobile").first_alpha == 1
