"""The imagined rollout of a world whose every number is known."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dreamer_leq.world_models.imagine import imagine

N, H = 3, 4
START = jnp.array([[0.0, 1.0], [5.0, 2.0], [9.0, 3.0]])


@struct.dataclass
class Walk:
    """s' = s + a + 10 member, r = sum of s', cont = 1/2; features are twice the state.
    Noise is a number in [0, 1) that `step` adds in place of a member's.
    """

    def features(self, state):
        return 2 * state

    def noise(self, key, n):
        return jax.random.uniform(key, (n, 1))

    def step(self, state, action, noise):
        return self._to(state + action + noise)

    def member_step(self, state, action, noise, member):
        return self._to(state + action + 10 * member)

    def _to(self, after):
        return after, after.sum(-1), jnp.full(len(after), 0.5)


def test_given_actions_of_one_member():
    action = jax.random.normal(jax.random.key(0), (H, N, 2))
    found = imagine(Walk(), action, START, jax.random.key(1), H, member=2)
    expected = START + jnp.cumsum(action + 20, 0)
    np.testing.assert_array_equal(found.state[0], START)
    np.testing.assert_allclose(found.state[1:], expected, rtol=1e-6)
    np.testing.assert_array_equal(found.features, 2 * found.state)
    np.testing.assert_array_equal(found.action, action)
    np.testing.assert_allclose(found.reward, expected.sum(-1), rtol=1e-6)
    assert found.cont.shape == (H, N) and found.state.shape == (H + 1, N, 2)


def test_it_has_ended_as_often_as_its_steps_say():
    found = imagine(Walk(), jnp.zeros((H, N, 2)), START, jax.random.key(1), H)
    np.testing.assert_array_equal(found.alive[:, 1], 0.5 ** np.arange(H + 1))


def test_a_policy_sees_features_and_keys_of_its_own():
    seen = lambda features, key: features / 2  # noqa: E731
    found = imagine(Walk(), seen, START, jax.random.key(1), H, member=0)
    np.testing.assert_allclose(found.state[-1], START * 2**H, rtol=1e-6)

    def drawn(features, key):
        return jax.random.uniform(key, features.shape)

    found = imagine(Walk(), drawn, START, jax.random.key(1), H)
    noise = found.state[1:] - found.state[:-1] - found.action
    draws = np.concatenate([found.action, noise[..., :1]], -1)
    assert len(np.unique(draws.round(5))) == draws.size  # no number comes twice
    again = imagine(Walk(), drawn, START, jax.random.key(1), H)
    np.testing.assert_array_equal(again.state, found.state)
