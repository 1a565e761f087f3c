"""LEQ on the ensemble of MLPs with a scalar critic, against NumPy: losses by their
formulas, gradients by differences.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_leq.algorithms.fqe import FQE
from dreamer_leq.algorithms.leq.imagination import Shifts, action_gradients
from dreamer_leq.algorithms.leq.learner import LEQ, Imagined
from dreamer_leq.algorithms.replay import Ring
from dreamer_leq.algorithms.returns import lambda_return
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.nn.optimizer import by_group
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet, MLPEnsemble
from dreamer_leq.world_models.termination import Termination

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, D, A, H = 9, 3, 2, 4
GAMMA, LAM = 0.97, 0.9
GOAL, RADIUS = (0.4, 0.1), 0.9


# --- a world of the real kind ---


def make_config(**keys):
    """The preset of D4RL's locomotion with tiny networks."""
    keys = {name.replace("__", "."): value for name, value in keys.items()}
    given = {
        "ensemble.reward": "model",
        "leq.plain": True,
        "expansion.interval": 0,
        "actor.bc_weight": 0.0,
        "leq.horizon": H,
        "actor.layers": 2,
        "critic.layers": 2,
    } | keys
    return from_presets("d4rl_mujoco", "debug", **given)


def make_world(config, dtype=np.float32, ends=True):
    """A random ensemble in whose middle episodes end."""
    rng = np.random.default_rng(0)
    net = EnsembleNet(config.ensemble, D, A)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda x: 0.35 * rng.normal(size=x.shape), shapes)
    fields = {
        "params": params | {"min_logvar": np.full(4, -6.0)},
        "mean": 0.3 * rng.normal(size=D + A),
        "std": rng.uniform(0.5, 1.5, D + A),
        "reward_scale": 2.0,
        "reward_bias": -0.5,
    }
    fields = jax.tree.map(lambda x: jnp.asarray(x, dtype), fields)
    rule = Termination("goal", GOAL, RADIUS) if ends else Termination("never")
    return MLPEnsemble(**fields, net=net, termination=rule)


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(2)
    batch = {
        "vector": rng.normal(size=(N, D)),
        "next_vector": rng.normal(size=(N, D)),
        "action": rng.uniform(-1, 1, (N, A)),
        "reward": 3 * rng.normal(size=N),
        "cont": rng.random(N) < 0.7,
    }
    return {name: jnp.asarray(x, dtype) for name, x in batch.items()}


def make_learner(optimizer=None, **keys):
    config = make_config(**keys)
    nets = ActorCritic(config.actor, config.critic, A)
    learner = LEQ.create(config, "leq", make_world(config), nets)
    return learner.replace(optimizer=optimizer or optax.sgd(1.0))


def make_fqe(optimizer, **keys):
    config = make_config(**keys)
    nets = ActorCritic(config.actor, config.critic, A)
    learner = FQE.create(config, "fqe", make_world(config), nets)
    optimizers = {"critic": optimizer, "actor": optax.set_to_zero()}
    return learner.replace(optimizer=by_group(optimizers.get))


def random_params(nets, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: nets.init(key, D), jax.random.key(0))
    return jax.tree.map(lambda x: np.float32(0.6 * rng.normal(size=x.shape)), shapes)


def make_some(tau=0.2, **keys):
    """A learner, its state and a batch."""
    learner = make_learner(**keys)
    hyper = {"tau": jnp.float32(tau)}
    state = learner.init(jax.random.key(0), hyper, random_params(learner.nets, 1))
    slow = random_params(learner.nets, 8)["critic"]
    return learner, state.replace(target={"critic": slow}), make_batch()


@functools.cache
def make_rollout(stochastic=False):
    """The rollouts of one update; they depend on no other key."""
    learner, state, batch = make_some(actor__stochastic=stochastic)
    rollout = jax.jit(learner.imagine)(state, batch["vector"], jax.random.key(3))
    assert set(np.unique(rollout.alive)) == {0, 1}
    return rollout


def make_all(tau=0.2, **keys):
    return *make_some(tau, **keys), make_rollout(keys.get("actor__stochastic", False))


# --- the networks in NumPy ---


def relu_net(params, x, norm):
    x = np.float64(x)
    layers = params["trunk"]
    for i in range(2):
        x = x @ np.float64(layers[f"layer{i}"]["kernel"]) + layers[f"layer{i}"]["bias"]
        if norm:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
                x.var(-1, keepdims=True) + 1e-6
            )
            x = x * layers[f"norm{i}"]["scale"] + layers[f"norm{i}"]["bias"]
        x = np.maximum(x, 0)
    return x @ np.float64(layers["out"]["kernel"]) + layers["out"]["bias"]


def symlog(x):
    return np.sign(x) * np.log(1 + np.abs(x))


def seen(world, vector):
    mean, std = np.float64(world.mean)[:D], np.float64(world.std)[:D]
    return symlog((np.float64(vector) - mean) / std)


def value(world, critic, features, action):
    """Q of a raw action, which is standardised too: [...]."""
    mean, std = np.float64(world.mean)[D:], np.float64(world.std)[D:]
    action = symlog((np.float64(action) - mean) / std)
    x = np.concatenate([np.float64(features), action], -1)
    return relu_net(critic, x, norm=True)[..., 0]


def heads(actor, features, low=0.1, high=1.0):
    out = relu_net(actor, features, norm=False)
    std = low + (high - low) / (1 + np.exp(-(out[..., A:] + 2)))
    return out[..., :A], std


def mode(actor, features):
    return np.tanh(heads(actor, features)[0])


def direction(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape), params)


def slope(loss, params, way, h=1e-5):
    """Derivative of `loss` along `way`, by a central difference in float64."""
    at = [
        loss(jax.tree.map(lambda p, v: np.float64(p) + s * h * v, params, way))  # noqa: B023
        for s in (1, -1)
    ]
    return (at[0] - at[1]) / (2 * h)


def along(grads, way):
    parts = jax.tree.map(lambda g, v: (np.float64(g) * v).sum(), grads, way)
    return sum(jax.tree.leaves(parts))


def assert_gradient(grads, loss, params, rel=2e-3):
    size = math.sqrt(sum((np.float64(g) ** 2).sum() for g in jax.tree.leaves(grads)))
    assert size > 1e-3
    for seed in range(4):
        way = direction(params, seed)
        expected = slope(loss, params, way)
        assert along(grads, way) == pytest.approx(expected, rel=rel, abs=rel * size)


# --- returns and the policy's gradient ---


def h_step_returns(reward, cont, q):
    """Sums to the horizon with Q at its end, one rollout after the other."""
    y = np.zeros_like(q)
    for t in range(len(q)):
        for i in range(q.shape[1]):
            discount = 1.0
            for k in range(t, len(reward)):
                y[t, i] += discount * reward[k, i]
                discount *= GAMMA * cont[k, i]
            y[t, i] += discount * q[-1, i]
    return y


def mixed_returns(reward, cont, q, gamma, lam):
    """All n-step returns with their weights λ^n, normalised."""
    y = np.zeros_like(q)
    for t, i in np.ndindex(q.shape):
        total = weights = gain = 0.0
        discount = 1.0
        for n in range(len(q) - t):
            total += lam**n * (gain + discount * q[t + n, i])
            weights += lam**n
            if t + n < len(reward):
                gain += discount * reward[t + n, i]
                discount *= gamma * cont[t + n, i]
        y[t, i] = total / weights
    return y


@pytest.mark.parametrize("horizon", [1, 5])
def test_an_infinite_lambda_is_the_h_step_return(horizon):
    rng = np.random.default_rng(horizon)
    reward, q = rng.normal(size=(horizon, 6)), rng.normal(size=(horizon + 1, 6))
    for cont in (rng.random((horizon, 6)), 1.0 * (rng.random((horizon, 6)) < 0.7)):
        with jax.enable_x64(True):
            actual = lambda_return(
                *map(jnp.asarray, (reward, cont, q)), GAMMA, math.inf
            )
        np.testing.assert_allclose(actual, h_step_returns(reward, cont, q), rtol=1e-12)


def float64_world():
    """The ensemble in float64, with a noisy policy and a critic that are smooth."""
    rng = np.random.default_rng(4)
    model = make_world(make_config(ensemble__members=3, ensemble__elites=3), np.float64)
    to_action, to_q = rng.normal(size=(D, A)), rng.normal(size=(D + A, 5))

    def policy(features, key, shift):
        x = features @ to_action
        x = x + 0.2 * jax.random.normal(key, x.shape)
        return jnp.tanh(x), x, None

    def critic(features, action, shift):
        x = jnp.concatenate([features, model.action_features(action)], -1)
        return jnp.tanh(x @ to_q).sum(-1), None

    return model, policy, critic, make_batch(np.float64)["vector"], jax.random.key(5)


def one_by_one(world, perturbation, lam, horizon):
    """Rollout and returns [horizon+1, N] with nothing on the way of the gradient."""
    model, policy, critic, start, key = world
    *keys, last_key = jax.random.split(key, horizon + 1)

    def act(state, key, delta):
        features = model.features(state)
        action = policy(features, key, None)[0] + delta
        return action, critic(features, action, None)[0]

    def step(state, given):
        key, delta = given
        acts, moves = jax.random.split(key)
        action, q = act(state, acts, delta)
        after, reward, cont = model.step(state, action, model.noise(moves, len(q)))
        after = jnp.where(cont[:, None] > 0, after, state)  # nothing follows an end
        return after, (reward, cont, q)

    path = jnp.stack(keys), perturbation[:-1]
    last, (rewards, conts, q) = jax.lax.scan(step, start, path)
    q = [*q, act(last, last_key, perturbation[-1])[1]]
    y = []
    for t in range(horizon + 1):
        weights, total, gain, discount = 0.0, 0.0, 0.0, 1.0
        for n in range(horizon - t + 1):
            weight = lam**n if lam < math.inf else float(n == horizon - t)
            total = total + weight * (gain + discount * q[t + n])
            weights += weight
            if t + n < horizon:
                gain = gain + discount * rewards[t + n]
                discount = discount * GAMMA * conts[t + n]
        y.append(total / weights)
    return jnp.stack(y)


def test_one_pass_is_the_diagonal_of_the_full_jacobian():
    """Of the λ-returns and of the H-step returns."""
    horizon, kinds = 3, (LAM, math.inf)
    with jax.enable_x64(True):
        world = float64_world()
        zero = jnp.zeros((horizon + 1, N, A))

        def returns(perturbation):
            y = [one_by_one(world, perturbation, lam, horizon) for lam in kinds]
            return jnp.stack(y).sum(-1), jnp.stack(y)

        jacobian, y = jax.jit(jax.jacrev(returns, has_aux=True))(zero)
        for i, lam in enumerate(kinds):
            settings = dict(horizon=horizon, gamma=GAMMA, lam=lam)
            one_pass = functools.partial(action_gradients, *world[:3], **settings)
            gradient, rollout, _ = jax.jit(one_pass)(*world[3:], Shifts(zero))
            gradient = gradient.action
            assert gradient.dtype == np.float64
            expected = np.stack([jacobian[i, t, t] for t in range(horizon + 1)])
            np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(rollout.returns, y[i], rtol=1e-10)
            assert np.abs(expected).mean() > 0.01
        alive = np.asarray(rollout.alive)
    assert len(np.unique((alive == 0).sum(0))) > 2  # at different times, some never


# --- the critic ---


def test_the_rollout_is_the_policys_and_the_critics():
    learner, state, batch, rollout = make_all()
    world, params = learner.world, state.params
    features, action = np.asarray(rollout.features), np.asarray(rollout.action)
    expected = seen(world, batch["vector"])
    np.testing.assert_allclose(features[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(action, mode(params["actor"], features), atol=1e-4)
    q = value(world, params["critic"], features, action)
    np.testing.assert_allclose(rollout.q, q, rtol=1e-3, atol=1e-3)
    given = (np.float64(x) for x in (rollout.reward, rollout.cont, rollout.q))
    y = mixed_returns(*given, 0.997, 0.95)
    np.testing.assert_allclose(rollout.returns, y, rtol=1e-3, atol=1e-4)


def critic_loss(learner, state, batch, rollout, tau, beta, gamma):
    """Spec's L as a function of the critic alone; targets and weights are numbers."""
    world, old = learner.world, state.params["critic"]
    features = np.float64(rollout.features)[:-1]
    action = np.float64(rollout.action)[:-1]
    y = np.float64(rollout.returns)[:-1]
    weight = np.where(y > value(world, old, features, action), tau, 1 - tau)
    cont = np.float64(rollout.cont)
    reached = np.stack([gamma**t * cont[:t].prod(0) for t in range(H)])
    data = seen(world, batch["vector"]), np.float64(batch["action"])
    after = seen(world, batch["next_vector"])
    next_q = value(world, old, after, mode(state.params["actor"], after))
    target = np.float64(batch["reward"]) + gamma * np.float64(batch["cont"]) * next_q
    slow = [
        value(world, state.target["critic"], *x) for x in ((features, action), data)
    ]

    def loss(critic):
        q, q_data = value(world, critic, features, action), value(world, critic, *data)
        return (
            (1 - beta) * 0.5 * ((target - q_data) ** 2).mean()
            + beta * (reached * weight * (y - q) ** 2).sum() / (H * N)
            + (1 - beta) * ((slow[1] - q_data) ** 2).mean()
            + beta * (reached * (slow[0] - q) ** 2).sum() / (H * N)
        )

    return loss


def test_an_update_descends_the_papers_critic_loss():
    """One step of rate 1 is the gradient; nothing of the policy's loss is in it."""
    tau = 0.2
    learner, state, batch, rollout = make_all(tau)
    assert learner.config.beta == 0.25 and learner.gamma == 0.997
    share = np.asarray(rollout.returns > rollout.q)[:-1].mean()
    assert 0.1 < share < 0.9
    loss = critic_loss(learner, state, batch, rollout, tau, 0.25, 0.997)
    new, metrics = jax.jit(learner.update)(state, batch, jax.random.key(3))
    old = state.params["critic"]
    assert metrics["critic_loss"] == pytest.approx(loss(old), rel=1e-3)
    grads = jax.tree.map(lambda p, q: p - np.asarray(q), old, new.params["critic"])
    assert_gradient(grads, loss, old)
    expected = jax.tree.map(
        lambda s, p: 0.995 * s + 0.005 * np.asarray(p),
        state.target["critic"],
        new.params["critic"],
    )
    jax.tree.map(
        lambda s, e: np.testing.assert_allclose(s, e, rtol=1e-5, atol=1e-6),
        new.target["critic"],
        expected,
    )


def test_the_expectile_can_be_taken_on_the_data_too():
    """Ablation: instead of the factor of one half, tau or 1 - tau."""
    learner, state, batch, _ = make_all(leq__data_tau=0.2)
    loss, mean_target = jax.jit(learner.critic_data_loss)(state.params, state, batch)
    world, params = learner.world, state.params
    after = seen(world, batch["next_vector"])
    next_q = value(world, params["critic"], after, mode(params["actor"], after))
    target = np.asarray(batch["reward"]) + 0.997 * np.asarray(batch["cont"]) * next_q
    data = seen(world, batch["vector"]), batch["action"]
    q = value(world, params["critic"], *data)
    slow = value(world, state.target["critic"], *data)
    weight = np.where(target > q, 0.2, 0.8)
    expected = (weight * (target - q) ** 2 + (slow - q) ** 2).mean()
    assert loss == pytest.approx(expected, rel=1e-3)
    assert mean_target == pytest.approx(target.mean(), rel=1e-3)


# --- the policy ---


def actor_gradient(learner, state, batch, rollout):
    def loss(params):
        return learner.actor_loss(params, state, Imagined(batch, rollout))[0]

    return jax.device_get(jax.jit(jax.grad(loss))(state.params)["actor"])


def reached_steps(rollout):
    cont = np.float64(rollout.cont)
    return np.stack([cont[:t].prod(0) for t in range(H + 1)])


@pytest.mark.parametrize("conservative", [True, False])
def test_the_policy_follows_the_returns_gradients(conservative):
    """w is tau above Q, 1 - tau below and one half at the horizon; or always so."""
    keys = dict(actor__conservative=conservative)
    learner, state, batch, rollout = make_all(tau=0.1, **keys)
    weight = np.where(np.asarray(rollout.returns > rollout.q), 0.1, 0.9)
    weight[-1] = 0.5
    if not conservative:
        weight[:] = 0.5
    weight = weight * reached_steps(rollout)
    features, g = np.float64(rollout.features), np.float64(rollout.gradient)

    def loss(actor):
        return -(weight * (g * mode(actor, features)).sum(-1)).mean()

    grads = actor_gradient(learner, state, batch, rollout)
    assert_gradient(grads, loss, state.params["actor"])


def test_a_stochastic_policy_is_reparameterised_and_keeps_its_entropy():
    keys = dict(actor__stochastic=True, actor__entropy=0.3)
    learner, state, batch, rollout = make_all(tau=0.1, **keys)
    features, g = np.float64(rollout.features), np.float64(rollout.gradient)
    old_mean, old_std = heads(state.params["actor"], features)
    noise = (np.float64(rollout.pre_tanh) - old_mean) / old_std
    assert 0.6 < noise.std() < 1.4
    np.testing.assert_allclose(rollout.action, np.tanh(rollout.pre_tanh), atol=1e-5)
    weight = np.where(np.asarray(rollout.returns > rollout.q), 0.1, 0.9)
    weight[-1] = 0.5
    alive = reached_steps(rollout)

    def loss(actor):
        mean, std = heads(actor, features)
        x = mean + std * noise
        slope = 1 / np.cosh(x) ** 2  # of tanh
        log_prob = -0.5 * noise**2 - np.log(std) - 0.5 * np.log(2 * np.pi)
        log_prob = (log_prob - np.log(slope)).sum(-1)
        policy = -weight * (g * np.tanh(x)).sum(-1)
        return (alive * (policy + 0.3 * log_prob)).mean()

    grads = actor_gradient(learner, state, batch, rollout)
    assert_gradient(grads, loss, state.params["actor"])


def test_maximising_the_immediate_value():
    learner, state, batch, rollout = make_all(actor__update="q")
    world, critic = learner.world, state.params["critic"]
    features, alive = np.float64(rollout.features), reached_steps(rollout)

    def loss(actor):
        q = value(world, critic, features, mode(actor, features))
        return -(alive * q).mean()

    grads = actor_gradient(learner, state, batch, rollout)
    assert_gradient(grads, loss, state.params["actor"])


@pytest.mark.parametrize("temperature", [1.5, 150.0])
def test_advantage_weighted_cloning(temperature):
    """exp of the data action's advantage over the policy's, at most 100."""
    keys = dict(actor__update="awr", actor__awr_temperature=temperature)
    learner, state, batch, rollout = make_all(**keys)
    world, critic = learner.world, state.params["critic"]
    features, action = seen(world, batch["vector"]), np.float64(batch["action"])
    own = mode(state.params["actor"], features)
    advantage = value(world, critic, features, action)
    advantage = advantage - value(world, critic, features, own)
    assert advantage.min() < 0 < advantage.max()
    weight = np.minimum(np.exp(temperature * advantage), 100)
    assert temperature < 2 or (weight == 100).any()

    def loss(actor):
        return (weight * ((mode(actor, features) - action) ** 2).sum(-1)).mean()

    grads = actor_gradient(learner, state, batch, rollout)
    assert_gradient(grads, loss, state.params["actor"])


@pytest.mark.parametrize("update", ["dpg", "q", "awr"])
def test_no_policy_loss_trains_the_critic(update):
    learner, state, batch, rollout = make_all(actor__update=update)

    def loss(params):
        return learner.actor_loss(params, state, Imagined(batch, rollout))[0]

    grads = jax.jit(jax.grad(loss))(state.params)["critic"]
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))


# --- expansion ---


def test_an_expansion_makes_room_for_the_last_ones_and_imagination_starts_there():
    key = jax.random.key(0)
    learner, state, batch = make_some(expansion__interval=0)
    np.testing.assert_array_equal(learner.starts(state, batch, key), batch["vector"])
    keys = dict(expansion__interval=10, expansion__length=3, expansion__retain=2)
    learner, state, batch = make_some(**keys, expansion__starts=N)
    traced = []
    grow = jax.jit(lambda *args: traced.append(1) or learner.refresh(*args)[0])
    state = grow(state, batch, key)
    assert state.memory.expanded.states.shape == (2 * 3 * N, D)
    assert N <= state.memory.expanded.count <= 3 * N
    kept = np.asarray(state.memory.expanded.states)[: int(state.memory.expanded.count)]
    np.testing.assert_array_equal(kept[:N], batch["vector"])
    ended = np.hypot(*(kept[N:, :2] - GOAL).T) < RADIUS
    assert len(ended) and not ended.any()
    starts = np.asarray(learner.starts(state, batch, key))
    assert starts.shape == (N, D)
    assert (starts[:, None] == kept).all(-1).any(1).all()
    assert len(np.unique(starts, axis=0)) > 2
    other = np.asarray(learner.starts(state, batch, jax.random.key(1)))
    assert (starts != other).any()
    for step in range(3):
        state = grow(state, batch, jax.random.key(step))
    assert state.memory.expanded.states.shape == (2 * 3 * N, D)
    assert len(traced) == 1


def test_starts_are_drawn_with_no_key_of_the_rollout(monkeypatch):
    learner, state, batch = make_some()
    used = []
    monkeypatch.setattr(
        Ring, "sample", lambda self, key, n: used.append(key) or batch["vector"]
    )
    memory = state.memory.replace(expanded=Ring.empty(batch["vector"], 4))
    state = state.replace(memory=memory)
    key = jax.random.key(3)
    learner.starts(state, batch, key)
    drawn = [np.asarray(jax.random.key_data(k)) for k in used]
    others = np.asarray(jax.random.key_data(jax.random.split(key, H + 1)))
    assert len(drawn) == 1
    assert not (others == drawn[0]).all(-1).any()
    assert (np.asarray(jax.random.key_data(key)) != drawn[0]).any()


# --- fitted Q evaluation ---


def test_fqe_evaluates_the_cloned_policy():
    """No factor of one half here; the target is the old critic at the policy's
    action.
    """
    phase = make_fqe(optax.sgd(1.0))
    world, nets = phase.world, phase.nets
    params, batch = random_params(nets, 1), make_batch()
    slow = random_params(nets, 8)["critic"]
    state = phase.init(jax.random.key(0), {}, jax.tree.map(jnp.asarray, params))
    jax.tree.map(
        np.testing.assert_array_equal, state.target["critic"], params["critic"]
    )
    new, metrics = jax.jit(phase.update)(
        state.replace(target={"critic": slow}), batch, jax.random.key(0)
    )
    old = params["critic"]
    data = seen(world, batch["vector"]), np.float64(batch["action"])
    after = seen(world, batch["next_vector"])
    next_q = value(world, old, after, mode(params["actor"], after))
    target = np.asarray(batch["reward"]) + 0.997 * np.asarray(batch["cont"]) * next_q
    held = value(world, slow, *data)

    def fit(critic):
        return ((value(world, critic, *data) - target) ** 2).mean()

    def loss(critic):
        return fit(critic) + ((value(world, critic, *data) - held) ** 2).mean()

    assert metrics["critic_loss"] == pytest.approx(fit(old), rel=1e-3)
    grads = jax.tree.map(lambda p, q: p - np.asarray(q), old, new.params["critic"])
    assert_gradient(grads, loss, old)
    jax.tree.map(np.testing.assert_array_equal, new.params["actor"], params["actor"])
    jax.tree.map(
        lambda t, s, c: np.testing.assert_allclose(
            t, 0.995 * s + 0.005 * np.asarray(c), rtol=1e-4, atol=1e-6
        ),
        new.target["critic"],
        slow,
        new.params["critic"],
    )


def test_fqe_on_a_chain_finds_the_policys_values():
    """Three states in a row, reward 1 for the last step: γ², γ, 1, and 0 after."""
    phase = make_fqe(optax.adam(1e-2), leq__gamma=0.5, critic__ema_weight=0.0)
    world, nets = phase.world, phase.nets
    params = jax.tree.map(jnp.asarray, random_params(nets, 1))
    line = np.float32(np.arange(4.0)[:, None] * [1.0, -0.5, 0.3])
    before = world.features(line)
    action = nets.mode(params["actor"], before)
    batch = {
        "vector": line[:3],
        "next_vector": line[1:],
        "action": action[:3],
        "reward": np.float32([0, 0, 1]),
        "cont": np.float32([1, 1, 0]),
    }
    train = jax.jit(
        lambda state: jax.lax.fori_loop(
            0, 600, lambda _, s: phase.update(s, batch, None)[0], state
        )
    )
    critic = train(phase.init(jax.random.key(0), {}, params)).params["critic"]
    q = nets.q(critic, before[:3], world.action_features(action[:3]))
    np.testing.assert_allclose(q, [0.25, 0.5, 1.0], atol=0.02)
