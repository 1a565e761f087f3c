"""LEQ in worlds whose values and best actions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax import Array
from worlds import World

from dreamer_leq.algorithms.leq.learner import LEQ
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic


def train(world, optimizer, make_batch, updates, *, features, actions, **keys):
    """A function of tau that trains a learner and gives it back with its last state.

    Two-hot keeps means with any number of bins: 31 are enough, and quick.
    """
    keys = {"actor.bc_weight": 0.0, "critic.bins": 31} | keys
    config = from_presets("debug", **keys)
    nets = ActorCritic(config.actor, config.critic, actions)
    learner = LEQ.create(config, "leq", world, nets).replace(optimizer=optimizer)

    def run(tau):
        def body(i, state):
            data_key, key = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
            return learner.update(state, make_batch(data_key), key)[0]

        params = nets.init(jax.random.key(1), features)
        state = learner.init(jax.random.key(1), {"tau": tau}, params)
        return jax.lax.fori_loop(0, updates, body, state).params

    return nets, run


# --- values of a stochastic chain -----------------------------------------------------


@struct.dataclass
class Chain(World):
    """One-hot states; the action changes nothing. A step into the last one ends all."""

    moves: Array  # [S, S] probability of s' in s
    reward: Array  # [S] of s'

    def step(self, state, action, key):
        after = jax.random.categorical(key, jnp.log(state @ self.moves))
        after = jax.nn.one_hot(after, len(self.reward))
        return after, after @ self.reward, 1 - after[:, -1]


MOVES = np.array([[0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0.6, 0.4, 0.0]])
REWARD, GOES_ON, GAMMA = np.array([1.0, 4.0, 0.0]), np.array([1, 1, 0]), 0.9
TAUS = [0.2, 0.35, 0.5]


def expectile_values(tau):
    """Fixed point of Q(s) = tau-expectile of r(s') + gamma cont(s') Q(s')."""
    q = np.zeros(3)
    for _ in range(500):
        target = REWARD + GAMMA * GOES_ON * q
        for _ in range(100):
            weight = MOVES * np.where(target > q[:, None], tau, 1 - tau)
            q = (weight * target).sum(1) / weight.sum(1)
    return q


def learned_values(horizon, updates=600, n=300):
    """Q of the chain's states for the grid of tau, learned in imagination: [3, 3]."""
    start = jax.nn.one_hot(jnp.arange(n) % 3, 3)
    unused = {"action": jnp.zeros((n, 1)), "reward": jnp.zeros(n), "cont": jnp.zeros(n)}
    nets, run = train(
        Chain(jnp.float32(MOVES), jnp.float32(REWARD)),
        optax.adam(optax.cosine_decay_schedule(1e-2, updates)),
        lambda key: {"state": start, "next_state": start, **unused},
        updates,
        features=3,
        actions=1,
        **{"leq.beta": 1.0, "leq.gamma": GAMMA, "leq.horizon": horizon},
        **{"critic.ema_weight": 0.0},
    )
    params, state = jax.jit(jax.vmap(run))(jnp.array(TAUS)), jnp.eye(3)
    values = lambda p: nets.q(p["critic"], state, nets.mode(p["actor"], state))  # noqa: E731
    return np.asarray(jax.vmap(values)(params))


def test_expectile_values_at_one_half_solve_the_linear_equations():
    exact = np.linalg.solve(np.eye(3) - MOVES * GAMMA * GOES_ON, MOVES @ REWARD)
    np.testing.assert_allclose(expectile_values(0.5), exact, rtol=1e-6)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_chain_with_known_values(horizon):
    """One half recovers Q within 3 %; smaller tau stays below, the lower the smaller.
    With one step, every tau has a known answer: it is met within 0.1.
    """
    exact = np.stack([expectile_values(tau) for tau in TAUS])
    assert (np.diff(exact, axis=0) > 1).all()  # what is at stake
    learned = learned_values(horizon)
    np.testing.assert_allclose(learned[-1], exact[-1], rtol=0.03)
    assert (np.diff(learned, axis=0) > 1).all()
    if horizon == 1:
        np.testing.assert_allclose(learned, exact, atol=0.1)


# --- the best action of a bandit ------------------------------------------------------

BEST = np.float32([0.4, -0.3])


@struct.dataclass
class Bandit(World):
    """One state, one step, a reward that is best at one action."""

    def pay(self, action):
        return 3 - 4 * jnp.square(action - BEST).sum(-1)

    def step(self, state, action, key):
        return state, self.pay(action), jnp.zeros(len(action))


def test_the_policy_finds_the_best_action_of_a_bandit():
    """The gradient comes through reward and critic alike, as y_0 holds both."""
    n, world = 64, Bandit()
    ones, ends = jnp.ones((n, 1)), jnp.zeros(n)

    def make_batch(key):
        action = jax.random.uniform(key, (n, 2), minval=-1.0)
        known = {"state": ones, "next_state": ones, "cont": ends}
        return known | {"action": action, "reward": world.pay(action)}

    nets, run = train(
        world,
        optax.adam(5e-3),
        make_batch,
        800,
        features=1,
        actions=2,
        **{"leq.beta": 0.5, "leq.horizon": 1},
    )
    params = jax.jit(run)(0.5)
    action = nets.mode(params["actor"], ones[:1])[0]
    np.testing.assert_allclose(action, BEST, atol=0.08)
    value = nets.q(params["critic"], ones[:1], BEST[None])[0]
    assert value == pytest.approx(3, abs=0.5)
