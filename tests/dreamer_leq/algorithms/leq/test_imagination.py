"""Imagined rollouts against a plain loop; one backward pass against the Jacobian."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_learners import make_batch, make_config, make_ensemble
from flax import struct
from jax import Array

from dreamer_leq.algorithms.leq.imagination import Shifts, action_gradients, roll
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)

N, ACTIONS, GAMMA, LAM = 9, 2, 0.97, 0.9


@struct.dataclass
class Toy:
    """s' = tanh(A s + B a + noise), with a termination of either kind."""

    mix: Array  # [S, S]
    push: Array  # [A, S]
    ending: str = struct.field(pytree_node=False)  # soft or hard
    members: int = struct.field(pytree_node=False, default=1)
    bounded = True

    def noise(self, key, n):
        return key

    def step(self, state, action, key):
        noise = 0.1 * jax.random.normal(key, state["s"].shape)
        s = jnp.tanh(state["s"] @ self.mix + action @ self.push + noise)
        reward = jnp.sin(3 * s).sum(-1) - jnp.square(action).sum(-1)
        cont = {
            "soft": jax.nn.sigmoid(2 + 3 * s[:, 0] * s[:, 1]),
            "hard": (s[:, 0] + s[:, 1] < 1.2).astype(s.dtype),
        }[self.ending]
        return {"s": s}, reward, cont

    def features(self, state):
        return jnp.concatenate([state["s"], jnp.square(state["s"])], -1)

    def action_features(self, action):
        return action


def make_heads(model, features, rng):
    """A noisy nonlinear policy and a critic, in float64."""
    to_action = rng.normal(size=(features, ACTIONS))
    to_q = rng.normal(size=(features + ACTIONS, 5))

    def policy(features, key, shift):
        x = features @ to_action
        x = x + 0.2 * jax.random.normal(key, x.shape)
        return jnp.tanh(x), x, None

    def critic(features, action, shift):
        x = jnp.concatenate([features, model.action_features(action)], -1)
        return jnp.tanh(x @ to_q).sum(-1), None

    return policy, critic


def make_toy(ending, seed=0):
    """A toy world with policy, critic and starts, in float64."""
    rng = np.random.default_rng(seed)
    toy = Toy(jnp.array(rng.normal(size=(3, 3))), rng.normal(size=(ACTIONS, 3)), ending)
    start = {"s": jnp.array(rng.uniform(-1, 1, (N, 3)))}
    return toy, *make_heads(toy, 6, rng), start, jax.random.key(seed)


def make_members():
    """The ensemble of MLPs, in float64."""
    config = make_config(ensemble__members=3, ensemble__elites=3)
    model = make_ensemble(config, np.float64)
    policy, critic = make_heads(model, 3, np.random.default_rng(4))
    start = make_batch(np.float64)["vector"]
    return model, policy, critic, start, jax.random.key(5)


def make_latent():
    """The real world model and networks at a tiny size, with random parameters."""
    config = from_presets("debug", **{"latent.members": 3})
    net = LatentNet(config.latent, ObservationSpec(0, 3, ACTIONS))
    nets = ActorCritic(config.actor, config.critic, ACTIONS)
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        wide = 0.03 if leaf.shape[-1:] == (255,) else 0.4  # q of about 1, not 1e6
        return jnp.float32(base + wide * rng.normal(size=leaf.shape))

    init = lambda key: (net.init(key), nets.init(key, net.features))  # noqa: E731
    shapes = jax.eval_shape(init, jax.random.key(0))
    params, agent = jax.tree_util.tree_map_with_path(draw, shapes)

    def policy(features, key, shift):
        mean, std = nets.actor(agent["actor"], features)
        pre_tanh = mean + std * jax.random.normal(key, mean.shape)
        return jnp.tanh(pre_tanh), pre_tanh, None

    critic = lambda f, a, shift: (nets.q(agent["critic"], f, a), None)  # noqa: E731
    model = LatentWorldModel(params, net)
    deter = rng.normal(size=(N, net.config.deter)).astype(np.float32)
    stoch = rng.integers(0, 4, (N, net.config.stoch))
    start = model.unpack(jnp.asarray(deter), jnp.asarray(stoch))
    return model, policy, critic, start, jax.random.key(2)


def n_step_returns(reward, cont, q, horizon, lam):
    """y_t as the weighted sum of all n-step returns, [H+1, N]; with an infinite λ the
    longest.
    """
    y = []
    for t in range(horizon + 1):
        total, weights = 0.0, 0.0
        for n in range(horizon - t + 1):
            alive, g = 1.0, 0.0
            for k in range(t, t + n):
                g = g + GAMMA ** (k - t) * alive * reward[k]
                alive = alive * cont[k]
            g = g + GAMMA**n * alive * q[t + n]
            weight = float(n == horizon - t) if math.isinf(lam) else lam**n
            total, weights = total + weight * g, weights + weight
        y.append(total / weights)
    return jnp.stack(y)


def plain_loop(world, horizon, perturbation, lam=LAM):
    """What `roll` does, one step after the other, with nothing on the gradient."""
    model, policy, critic, state, key = world
    keys = jax.random.split(key, horizon + 1)
    record = {
        name: [] for name in ["features", "action", "pre_tanh", "reward", "cont", "q"]
    }
    for t in range(horizon + 1):
        # the last action needs no second key, its step is not made
        both = jax.random.split(keys[t]) if t < horizon else [keys[t]]
        features = model.features(state)
        action, pre_tanh, _ = policy(features, both[0], None)
        action = action + perturbation[t]
        now = dict(features=features, action=action, pre_tanh=pre_tanh)
        now["q"] = critic(features, action, None)[0]
        if t < horizon:
            noise = model.noise(both[1], N)
            after, now["reward"], now["cont"] = model.step(state, action, noise)
            if not model.bounded:  # nothing follows an end
                after = jnp.where(now["cont"][:, None] > 0, after, state)
            state = after
        for name, x in now.items():
            record.setdefault(name, []).append(x)
    arrays = {name: jnp.stack(x) for name, x in record.items()}
    y = n_step_returns(arrays["reward"], arrays["cont"], arrays["q"], horizon, lam)
    return arrays | {"returns": y}


def settings(horizon, lam=LAM):
    return dict(horizon=horizon, gamma=GAMMA, lam=lam)


def no_shifts(horizon):
    return Shifts(jnp.zeros((horizon + 1, N, ACTIONS)))


def full_jacobian(world, horizon, lam=LAM):
    """dy_t/da_t' for all pairs: [H+1, H+1, N, A]; samples don't touch each other. Also
    the loop.
    """

    def returns(perturbation):
        found = plain_loop(world, horizon, perturbation, lam)
        return found["returns"].sum(1), found

    zero = jnp.zeros((horizon + 1, N, ACTIONS))
    jacobian, found = jax.jit(jax.jacrev(returns, has_aux=True))(zero)
    return np.asarray(jacobian), found


def one_pass(world, horizon, lam=LAM):
    given = settings(horizon, lam)
    gradients = functools.partial(action_gradients, *world[:3], **given)
    gradient, rollout, _ = jax.jit(gradients)(*world[3:], no_shifts(horizon))
    return np.asarray(gradient.action), rollout


def diagonal(jacobian):
    return np.stack([jacobian[t, t] for t in range(len(jacobian))])


@pytest.mark.parametrize(
    ("make", "horizon", "lam"),
    [
        (functools.partial(make_toy, "soft"), 3, LAM),
        (functools.partial(make_toy, "soft"), 1, LAM),
        (functools.partial(make_toy, "hard", 4), 4, LAM),
        (make_members, 2, LAM),
        (make_members, 3, math.inf),
    ],
)
def test_one_pass_is_the_diagonal_of_the_full_jacobian(make, horizon, lam):
    with jax.enable_x64(True):
        world = make()
        gradient, rollout = one_pass(world, horizon, lam)
        jacobian, loop = full_jacobian(world, horizon, lam)
        alive = np.asarray(rollout.alive)
    assert gradient.dtype == np.float64
    expected = diagonal(jacobian)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-10)
    assert np.abs(expected).mean() > 0.01
    for name, x in loop.items():
        np.testing.assert_allclose(getattr(rollout, name), x, rtol=1e-10, atol=1e-12)
    cont = np.asarray(loop["cont"])
    reached = [cont[:t].prod(0) for t in range(horizon + 1)]
    np.testing.assert_allclose(alive, reached, rtol=1e-10)
    if horizon > 2 and set(np.unique(cont)) == {
        0,
        1,
    }:  # some end, at different times, and some don't
        ended = (alive == 0).sum(0)
        assert 0 in ended and len(np.unique(ended)) > 2
    elif horizon > 2:  # what is left out is not small: all returns see all actions
        assert np.abs(jacobian).mean((2, 3)).min() > 0.05


def test_one_pass_through_the_latent_world_model():
    world = make_latent()
    gradient, _ = one_pass(world, 2)
    expected = diagonal(full_jacobian(world, 2)[0])
    scale = np.abs(expected).max((1, 2), keepdims=True)
    assert scale.min() > 1e-3
    np.testing.assert_allclose(gradient / scale, expected / scale, atol=2e-4)


def test_the_price_is_one_backward_pass():
    toy, policy, critic, start, key = make_toy("soft")

    def flops(function):
        cost = jax.jit(function).lower(start, key).compile().cost_analysis()
        return cost["flops"]

    args, given = (toy, policy, critic), settings(8)
    forward = flops(lambda s, k: roll(*args, s, k, Shifts(), **given)[0].returns)
    gradient = flops(
        lambda s, k: action_gradients(*args, s, k, no_shifts(8), **given)[0]
    )
    assert gradient < 4 * forward


def test_without_shifts_it_is_the_same_rollout():
    with jax.enable_x64(True):
        world = make_toy("hard")
        run = jax.jit(functools.partial(roll, *world[:3], **settings(4)))
        rollout, _ = run(*world[3:], Shifts())
        _, expected = one_pass(world, 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        rollout,
        expected,
    )


@struct.dataclass
class Exploding(Toy):
    """Ends at once, and what it imagines after that grows 1e15 times a step."""

    bounded = False

    def step(self, state, action, key):
        s = jnp.where(state["s"] > 1, 1e15 * state["s"] ** 2, state["s"] + 2)
        return {"s": s}, s.sum(-1) * action.sum(-1), jnp.zeros(len(s), s.dtype)


def test_what_is_imagined_after_an_end_stays_finite_and_so_do_gradients():
    toy, policy, critic, start, key = make_toy("hard")
    world = Exploding(toy.mix, toy.push, "hard"), policy, critic, start, key
    gradient, rollout = one_pass(world, 6)
    assert np.isfinite(gradient).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(rollout))
    assert np.abs(gradient[0]).min() > 0
