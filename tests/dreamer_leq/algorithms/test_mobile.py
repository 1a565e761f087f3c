"""MOBILE and MOBILE* by their formulas, and disagreements that are known."""

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

KEY = jax.random.key(5)
REAL = 3  # rows of the dataset


def exact(name):
    """A learner, state and batch in float64, the gradient, and all that was drawn."""
    with jax.enable_x64(True):
        keys = {f"{name}__real_share": 0.5, f"{name}__samples": 2}
        learner = make_learner(name, jnp.float64, ensemble=True, **keys)
        state = make_state(learner, np.float64, penalty=0.3)
        batch = make_batch(np.float64)
        slope = gradient(learner, state, batch, "critic", KEY)
        drawn = jax.jit(lambda *given: draw(learner, *given, name))(state, batch)
        return learner.world, *jax.device_get((state, batch, slope, drawn))


def draw(learner, state, batch, name):
    """The target's next action; next states and actions of imagined rows, a member of
    MOBILE*'s having one state for all samples.
    """
    actor = state.params["actor"]
    world, sample = learner.world, learner.nets.policy.sample
    value_key = sac.split(KEY)[0]
    after = world.features(batch["next_vector"])
    state_key, action_key = jax.random.split(jax.random.fold_in(value_key, 1))
    start, action = batch["vector"][REAL:], batch["action"][REAL:]
    mean, std = world.moments(start, action)
    shape = (2 if name == "mobile" else 1, *mean.shape)
    noise = jnp.broadcast_to(jax.random.normal(state_key, shape), (2, *mean.shape))
    next_state = start + (mean + std * noise)[..., :-1]
    rows = next_state.reshape(-1, D)
    next_action = sample(actor, world.features(rows), action_key)[0]
    return sample(actor, after, value_key)[0], next_state, next_action


def target_of(world, critics, batch, drawn, ddof):
    """r - 0.3 u, u of imagined rows alone, and (1 - termination) Q(s', a')."""
    after, next_state, next_action = drawn
    q = q_of(world, critics, next_state.reshape(-1, D), next_action).min(0)
    members = q.reshape(next_state.shape[:-1]).mean(0)  # [E, imagined rows]
    u = np.sqrt(((members - members.mean(0)) ** 2).sum(0) / (len(members) - ddof))
    reward = batch["reward"] - 0.3 * np.concatenate([np.zeros(REAL), u])
    next_q = q_of(world, critics, batch["next_vector"], after).min(0)
    return reward, batch["cont"] * next_q


def check(slope, loss, state):
    value, grads = slope
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert is_zero(grads["actor"]) and is_zero(grads["temperature"])


def test_targets_of_imagined_rows_fall_with_the_disagreement():
    world, state, batch, slope, drawn = exact("mobile")
    reward, next_q = target_of(world, state.target["critic"], batch, drawn, ddof=1)
    target = reward + 0.99 * next_q
    assert 0 < (target > 0).sum() < N  # both are there

    def loss(params):
        q = q_of(world, params["critic"], batch["vector"], batch["action"])
        return ((q - np.maximum(target, 0)) ** 2).mean(-1).sum()

    check(slope, loss, state)


def test_mobile_stars_critic_makes_its_own_targets():
    """Three rows are the dataset's; β = ¼ weighs the other four."""
    world, state, batch, slope, drawn = exact("mobile_star")
    reward, next_q = target_of(world, state.params["critic"], batch, drawn, ddof=0)
    target, seen = reward + 0.99 * next_q, (batch["vector"], batch["action"])
    slow = q_of(world, state.target["critic"], *seen)

    def loss(params):
        q = q_of(world, params["critic"], *seen)
        assert len(q) == 1
        each = (0.5 * (q - target) ** 2 + (q - slow) ** 2)[0]
        return 0.75 * each[:REAL].mean() + 0.25 * each[REAL:].mean()

    check(slope, loss, state)


def disagreement(name, members):
    """u of members who are sure of what follows, a state being its own value."""
    members = jnp.float32(members)

    def moments(state, action):
        change = jnp.zeros((len(members), len(state), D + 1))
        return change + members[:, None, None], jnp.zeros_like(change)

    world = SimpleNamespace(
        moments=moments,
        outcome=lambda state, action, sample: (state + sample[..., :-1], None, None),
        features=lambda state: state,
        action_features=lambda action: action,
    )
    policy = SimpleNamespace(sample=lambda actor, x, key: (x[:, :2], None))
    nets = SimpleNamespace(policy=policy, q=lambda critics, x, action: x[:, 0])
    learner = make_learner(name).replace(world=world, nets=nets)
    some = {"actor": None, "critic": None}
    state = SimpleNamespace(params=some, target=some)
    found = learner.inconsistency(state, jnp.zeros((4, D)), jnp.zeros((4, 2)), KEY)
    assert found.shape == (4,)
    return found


def test_disagreements_that_are_known():
    np.testing.assert_allclose(disagreement("mobile", [3] * 5), 0, atol=1e-6)
    one = [0, 0, 0, 0, 5]
    np.testing.assert_allclose(disagreement("mobile", one), np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(disagreement("mobile_star", one), 2, rtol=1e-6)


def test_an_entropys_weight_that_is_held():
    learner = make_learner("mobile", mobile__alpha=0.2)
    assert learner.first_alpha == 0.2 and "temperature" not in learner.trained
    assert make_learner("mobile").first_alpha == 1
