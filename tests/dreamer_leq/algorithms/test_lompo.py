"""LOMPO: its losses against NumPy, and what it takes off imagined rewards."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from learners import assert_slope, is_zero, make_state, net, q_values
from worlds import World

from dreamer_leq.algorithms.lompo import LOMPO
from dreamer_leq.config import from_presets
from dreamer_leq.world_models.latent import LatentWorldModel

A, N = 2, 6
KEY = jax.random.key(3)
TINY = {
    **{"algorithm": "lompo", "lompo.gamma": 0.9, "lompo.noise": 0.0},
    **{"actor.network": "mlp", "actor.layers": 1, "actor.units": 3},
    **{"critic.network": "mlp", "critic.layers": 1, "critic.units": 3},
    **{"critic.output": "scalar", "lompo.real_share": 0.5},
}


@struct.dataclass
class Sums(World):
    """An action is added to the state; its first number is the reward. Two members
    find a state likely as its first two numbers say.
    """

    @staticmethod
    def initial(n):
        return jnp.zeros((n, 3))

    @staticmethod
    def pack(state):
        return {"state": state}

    def step(self, state, action, noise):
        after = state.at[:, :A].add(action)
        return after, action[:, 0], 1 + 0 * action[:, 0]

    @staticmethod
    def log_probs(state):
        return state[:, :2].T


def make_learner(dtype=np.float32):
    config = from_presets("demo", "debug", **TINY)
    nets = LOMPO.nets_of(config, "lompo", A, dtype)
    return LOMPO.create(config, "lompo", Sums(), nets)


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(2)
    numbers = {
        "state": rng.normal(size=(N, 3)),
        "next_state": rng.normal(size=(N, 3)),
        "action": rng.uniform(-1, 1, (N, A)),
        "reward": rng.normal(size=N),
        "cont": np.arange(N) % 3 > 0,
    }
    return {name: jnp.asarray(x, dtype) for name, x in numbers.items()}


def test_losses_and_gradients():
    with jax.enable_x64(True):
        learner = make_learner(np.float64)
        state = make_state(learner, np.float64, penalty=0.0)
        batch = make_batch(np.float64)

        def losses(params, state, batch):
            return learner.losses(params, state, batch, KEY)[0]

        slopes = jax.jit(jax.jacrev(losses))(state.params, state, batch)
        slopes, state, batch = jax.device_get((slopes, state, batch))
    policy = lambda actor, x: np.tanh(net(actor, x))  # noqa: E731
    after = batch["next_state"]
    next_action = policy(state.params["actor"], after)
    next_q = q_values(state.target["critic"], after, next_action).min(0)
    target = batch["reward"] + 0.9 * batch["cont"] * next_q

    def critic_loss(critic):
        q = q_values(critic, batch["state"], batch["action"])
        return ((q - target) ** 2).mean(-1).sum()

    def actor_loss(actor):
        action = policy(actor, batch["state"])
        return -q_values(state.params["critic"], batch["state"], action).min(0).mean()

    assert_slope(slopes["critic"]["critic"], critic_loss, state.params["critic"])
    assert_slope(slopes["actor"]["actor"], actor_loss, state.params["actor"])
    assert is_zero(slopes["actor"]["critic"]) and is_zero(slopes["critic"]["actor"])


@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_imagined_rewards_fall_with_what_members_find_differently_likely(penalty):
    """r - λ std_j log p_j(z'), the successor's, population standard deviation."""
    learner, batch = make_learner(), make_batch()
    state = make_state(learner, penalty=penalty)
    new, _ = jax.jit(learner.refresh)(state, batch, KEY)
    ring = new.memory["rows"]
    rows = jax.tree.map(lambda x: np.asarray(x[: ring.count]), ring.states)
    assert ring.count == 2 * N
    apart = np.abs(rows["next_state"][:, 0] - rows["next_state"][:, 1]) / 2
    expected = rows["action"][:, 0] - penalty * apart
    np.testing.assert_allclose(rows["reward"], expected, rtol=1e-5, atol=1e-6)
    own = np.tanh(net(state.params["actor"], rows["state"]))
    np.testing.assert_allclose(rows["action"], own, rtol=1e-4, atol=1e-5)


def test_how_likely_members_find_a_state():
    """The sum over latents of the logarithm of its class's probability."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5))  # [E, N, S, C]
    stoch = np.eye(5)[rng.integers(0, 5, (3, 4))]
    rssm = SimpleNamespace(priors=lambda params, deter: jnp.float32(logits))
    world = LatentWorldModel({"rssm": None}, SimpleNamespace(rssm=rssm))
    found = world.log_probs(SimpleNamespace(deter=None, stoch=jnp.float32(stoch)))
    expected = (logits * stoch).sum((-2, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
