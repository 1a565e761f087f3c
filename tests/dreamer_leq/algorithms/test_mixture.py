"""Batches of the dataset's rows and of imagined ones: what fills the ring, what is
drawn from it, and what the algorithms are without it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from learners import D, make_batch, make_learner, make_state

from dreamer_leq.algorithms.cql import Conservative
from dreamer_leq.algorithms.sac import SAC

KEY = jax.random.key(5)


@struct.dataclass
class Counting:
    """A state's first number counts steps, the second says how many there are; rewards
    are actions, and standard deviations the steps.
    """

    feature_size = D

    def initial(self, n):
        return jnp.zeros((n, D))

    def pack(self, state):
        return {"vector": state}

    def starts(self, batch):
        return batch["vector"]

    def features(self, state):
        return state

    def noise(self, key, n):
        return key

    def step(self, state, action, noise):
        after = state.at[:, 0].add(1.0)
        return after, action[:, 0], jnp.float32(after[:, 0] != state[:, 1])

    def uncertainty(self, state, action):
        return state[:, 0] * (D + 1) ** 0.5


@pytest.fixture(scope="module")
def ring():
    """After rollouts of at most 3 steps in episodes of 1, 2, 3 and 9."""
    keys = {"mopo__rollouts__horizon": 3, "mopo__real_share": 0.3}
    learner = make_learner("mopo", **keys).replace(world=Counting())
    state = make_state(learner, penalty=0.1)
    start = np.zeros((4, D), np.float32)
    start[:, 1], start[:, 2] = [1, 2, 3, 9], np.arange(4)
    refresh = jax.jit(learner.refresh)
    state, _ = refresh(state, {"vector": jnp.asarray(start)}, KEY)
    return learner, state


def test_rows_are_the_transitions_up_to_an_end(ring):
    rows = ring[1].memory["rows"]
    assert rows.count == 1 + 2 + 3 + 3
    rows = {k: np.asarray(x)[: int(rows.count)] for k, x in rows.states.items()}
    steps, ends, who = rows["vector"].T
    expected = [(i, t) for i, n in enumerate([1, 2, 3, 3]) for t in range(n)]
    assert sorted(zip(who.tolist(), steps.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(rows["next_vector"][:, 0], steps + 1)
    np.testing.assert_array_equal(rows["cont"], steps + 1 != ends)
    penalty = 0.1 * steps * np.sqrt(D + 1)
    np.testing.assert_allclose(rows["reward"], rows["action"][:, 0] - penalty, 1e-5)
    assert len(np.unique(rows["action"], axis=0)) == len(rows["action"])


def test_a_batch_begins_with_the_datasets_share(ring):
    learner, state = ring
    batch = make_batch(n=10) | {"vector": jnp.full((10, D), -1.0)}
    mixed = learner.prepare(state, batch, KEY)[1]
    assert {len(x) for x in mixed.values()} == {10}
    np.testing.assert_array_equal(mixed["reward"][:3], batch["reward"][:3])
    assert (mixed["vector"][:3] == -1).all() and (mixed["vector"][3:] >= 0).all()
    known = {tuple(x) for x in np.asarray(state.memory["rows"].states["action"])}
    assert {tuple(x) for x in np.asarray(mixed["action"][3:])} <= known


class Hard(SAC):
    """Without entropy in its targets."""

    soft = False


LIMITS = {"mopo": SAC, "mobile": Hard, "combo": Conservative}


@pytest.mark.parametrize("name", LIMITS)
def test_with_the_dataset_alone_nothing_is_imagined(name):
    """Real share 1 is the model-free algorithm, operation by operation."""
    keys = {f"{name}__real_share": 1.0, "mobile__positive": False}
    learner = make_learner(name, **keys)
    plain = LIMITS[name](**vars(learner))
    assert learner.refresh_every == 0
    state = make_state(learner, penalty=1.0, weight=1.0).replace(memory=None)
    given = state, make_batch(), KEY
    found, expected = (
        str(jax.make_jaxpr(kind.update)(*given)) for kind in (learner, plain)
    )
    assert found == expected
