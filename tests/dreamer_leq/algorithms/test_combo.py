"""COMBO by its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    assert_slope,
    gradient,
    make_batch,
    make_learner,
    make_state,
    q_values,
)

from dreamer_leq.algorithms import sac

KEY = jax.random.key(5)


def test_critics_are_low_in_all_states_and_high_at_the_datasets_actions():
    """Three of seven rows are the dataset's; all have a target."""
    with jax.enable_x64(True):
        learner = make_learner("combo", jnp.float64, combo__real_share=0.5)
        state = make_state(learner, np.float64, weight=2.0)
        batch = make_batch(np.float64)
        value, grads = gradient(learner, state, batch, "critic", KEY)

        @jax.jit
        def draw(state, batch):
            target_key, _, own_key = sac.split(KEY)
            seen = batch["vector"], batch["next_vector"]
            sample = learner.nets.policy.sample
            after = sample(state.params["actor"], seen[1], target_key)[0]
            return after, learner.candidates(state, *seen, own_key)

        drawn = jax.device_get((state, batch, *draw(state, batch)))
    state, batch, after, (actions, log_probs) = drawn
    next_q = q_values(state.target["critic"], batch["next_vector"], after).min(0)
    target = batch["reward"] + 0.99 * batch["cont"] * next_q

    def loss(params):
        critic, seen = params["critic"], batch["vector"]
        q = q_values(critic, seen, batch["action"])
        others = np.stack([q_values(critic, seen, a) for a in actions], 1)
        pressed = np.log(np.exp(others - log_probs).sum(1)).mean(-1)
        gap = (pressed - q[:, :3].mean(-1)).sum()
        return ((q - target) ** 2).mean(-1).sum() + 2 * gap

    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
