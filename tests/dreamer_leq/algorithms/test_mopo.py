"""MOPO's penalty where it is known."""

import jax
import jax.numpy as jnp
import numpy as np
from learners import make_learner, make_state

from dreamer_leq.world_models.mlp_ensemble import EnsembleNet


def penalty(*log_variances):
    """That of a hopper's model, whose members have these log-variances everywhere."""
    learner = make_learner("mopo", ensemble=True, ensemble__layers=1)
    net = EnsembleNet(learner.world.net.config, 11, 3)
    params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(0)))
    bias = params["layers"][-1]["bias"]  # [E, 1, 2 (D + 1)], means first
    bias = bias.at[..., 12:].set(jnp.array(log_variances)[:, None, None])
    params["layers"][-1]["bias"] = bias
    bounds = {"min_logvar": jnp.full(12, -10.0), "max_logvar": jnp.full(12, 0.5)}
    moments = dict(mean=jnp.zeros(14), std=jnp.ones(14))
    world = learner.world.replace(params=params | bounds, net=net, **moments)
    learner = learner.replace(world=world)
    state = make_state(make_learner("mopo"), penalty=3.0)
    given = jnp.zeros((2, 11)), jnp.zeros((2, 3)), jnp.ones(2)
    return (1 - learner.imagined_reward(state, *given)) / 3


def test_the_penalty_is_the_largest_members_deviation():
    """Over 12 numbers, bounded as the ensemble bounds its log-variance."""
    np.testing.assert_allclose(penalty(0, -20, -20), 2.733, rtol=1e-3)
    np.testing.assert_allclose(penalty(-20, -20, -20), 0.0233, rtol=1e-2)
