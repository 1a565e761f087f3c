"""The LEQ update against NumPy: its losses by their formulas, what trains what, and
what stays. Vectors have a scalar critic on an ensemble, pixels DreamerV3's two-hot.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ensemble_learners import (
    GOAL,
    RADIUS,
    A,
    D,
    H,
    N,
    assert_average,
    assert_gradient,
    heads,
    make_batch,
    make_learner,
    mode,
    random_params,
    seen,
    value,
)
from flax import struct
from jax import Array
from worlds import World

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.leq.learner import LEQ, Imagined
from dreamer_leq.algorithms.replay import Ring
from dreamer_leq.algorithms.returns import lambda_return
from dreamer_leq.config import from_presets
from dreamer_leq.data.entries import transition_starts
from dreamer_leq.data.sampling import Transitions
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.nn.distributions import symexp_bins, two_hot_mean

KEY = jax.random.key(3)


# --- state vectors: an ensemble and a scalar critic


def make_some(tau=0.2, **keys):
    """A learner, its state and a batch."""
    learner = make_learner(LEQ, "leq", optax.sgd(1.0), **keys)
    hyper = {"tau": jnp.float32(tau)}
    state = learner.init(jax.random.key(0), hyper, random_params(learner.nets, 1))
    slow = random_params(learner.nets, 8)["critic"]
    return learner, state.replace(target={"critic": slow}), make_batch()


@functools.cache
def make_rollout(stochastic=False):
    """The rollouts of one update; they depend on no other key."""
    learner, state, batch = make_some(actor__stochastic=stochastic)
    rollout = jax.jit(learner.imagine)(state, batch["vector"], KEY)
    assert set(np.unique(rollout.alive)) == {0, 1}
    return rollout


def make_all(tau=0.2, **keys):
    return *make_some(tau, **keys), make_rollout(keys.get("actor__stochastic", False))


def test_the_rollout_is_the_policys_and_the_critics():
    learner, state, batch, rollout = make_all()
    world, params = learner.world, state.params
    features, action = np.asarray(rollout.features), np.asarray(rollout.action)
    expected = seen(world, batch["vector"])
    np.testing.assert_allclose(features[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(action, mode(params["actor"], features), atol=1e-4)
    q = value(world, params["critic"], features, action)
    np.testing.assert_allclose(rollout.q, q, rtol=1e-3, atol=1e-3)
    y = lambda_return(rollout.reward, rollout.cont, rollout.q, 0.997, 0.95)
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
    new, metrics = jax.jit(learner.update)(state, batch, KEY)
    old = state.params["critic"]
    assert metrics["critic_loss"] == pytest.approx(loss(old), rel=1e-3)
    grads = jax.tree.map(lambda p, q: p - np.asarray(q), old, new.params["critic"])
    assert_gradient(grads, loss, old)
    assert_average(new.target["critic"], state.target["critic"], new.params["critic"])
    assert new.hyper["tau"] == state.hyper["tau"] == jnp.float32(tau)


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


# --- its policy


def actor_loss(learner, params, state, batch, rollout):
    return learner.actor_loss(params, state, Imagined(batch, rollout))[0]


def actor_gradient(learner, *given):
    loss = lambda params: actor_loss(learner, params, *given)  # noqa: E731
    return jax.device_get(jax.jit(jax.grad(loss))(given[0].params)["actor"])


def reached_steps(rollout):
    cont = np.float64(rollout.cont)
    return np.stack([cont[:t].prod(0) for t in range(H + 1)])


@pytest.mark.parametrize("conservative", [True, False])
def test_the_policy_follows_the_returns_gradients(conservative):
    """w is tau above Q, 1 - tau below and one half at the horizon; or always so. It is
    divided by the returns' range.
    """
    keys = dict(actor__conservative=conservative, leq__return_norm=True)
    learner, state, batch, rollout = make_all(tau=0.1, **keys)
    memory = state.memory.replace(return_range=jnp.array([-1.0, 3.0]))
    state = state.replace(memory=memory)
    weight = np.where(np.asarray(rollout.returns > rollout.q), 0.1, 0.9)
    weight[-1] = 0.5
    if not conservative:
        weight[:] = 0.5
    weight = weight * reached_steps(rollout) / 4.0
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


# --- its expansion


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


# --- pixels: a two-hot critic


@struct.dataclass
class Smooth(World):
    """s' = tanh(A s + B a); ends for good in a part of the space, or softly."""

    mix: Array
    push: Array
    hard: bool = struct.field(pytree_node=False)

    def step(self, state, action, key):
        s = jnp.tanh(state @ self.mix + action @ self.push)
        reward = 5 * jnp.sin(3 * s).sum(-1)
        soft, hard = jax.nn.sigmoid(2 + 3 * s[:, 0]), (s[:, 1] < 0.6).astype(s.dtype)
        return s, reward, hard if self.hard else soft

    def disagreement(self, state, action):
        return jnp.abs(state[:, 0]) + jnp.square(action).sum(-1)


def make_smooth(hard=False):
    rng = np.random.default_rng(4)
    normal = lambda *shape: jnp.float32(rng.normal(size=shape))  # noqa: E731
    return Smooth(normal(D, D), normal(A, D), hard)


def pixel_learner(world, optimizer=None, actions=A, **keys):
    given = {"actor.bc_weight": 0.0, "leq.plain": True}
    given |= {k.replace("__", "."): v for k, v in keys.items()}
    config = from_presets("debug", **given)
    nets = ActorCritic(config.actor, config.critic, actions)
    learner = LEQ.create(config, "leq", world, nets)
    return learner.replace(optimizer=optimizer or optax.sgd(1.0))


def first_state(learner, params, tau=0.3, slow=None):
    """A state with these networks, and another moving average where there is one."""
    state = learner.init(jax.random.key(0), {"tau": jnp.float32(tau)}, params)
    return state if slow is None else state.replace(target={"critic": slow})


def pixel_params(learner, features=D, seed=1):
    """Random parameters for which values are of size 10, not 1e8."""
    rng, bins = np.random.default_rng(seed), learner.nets.critic_config.bins

    def draw(path, leaf):
        base = 1.0 if path[-1].key == "scale" else 0.0
        wide = 0.05 if leaf.shape[-1:] == (bins,) else 0.5
        return jnp.float32(base + wide * rng.normal(size=leaf.shape))

    shapes = jax.eval_shape(lambda k: learner.nets.init(k, features), jax.random.key(0))
    params = jax.tree_util.tree_map_with_path(draw, shapes)
    for name in params.keys() - {"actor"}:
        near = np.abs(np.arange(bins) - bins // 2) < bins // 8
        params[name]["out"]["linear"]["bias"] += np.float32(np.where(near, 5, -15))
    return params


def pixel_batch():
    rng = np.random.default_rng(2)
    uniform = lambda *shape: jnp.float32(rng.uniform(-1, 1, shape))  # noqa: E731
    return {
        "state": uniform(N, D),
        "next_state": uniform(N, D),
        "action": uniform(N, A),
        "reward": 10 * uniform(N),
        "cont": jnp.float32(rng.random(N) < 0.7),
    }


def pixel_all(hard=False, tau=0.3, **keys):
    """A learner, its state, a batch, and the rollouts of one update. The state's tau
    is not the configuration's.
    """
    learner = pixel_learner(make_smooth(hard), leq__tau=0.9, **keys)
    slow = pixel_params(learner, seed=9)["critic"]  # an average that differs
    state, batch = first_state(learner, pixel_params(learner), tau, slow), pixel_batch()
    imagine = jax.jit(learner.imagine)
    return learner, state, batch, imagine(state, batch["state"], KEY)


def cross_entropy(logits, x):
    """To the two symexp-spaced bins around `x`, in NumPy."""
    logits, x = np.asarray(logits, np.float64), np.asarray(x, np.float64)
    u = np.linspace(-20, 20, 255)
    bins = np.sign(u) * np.expm1(np.abs(u))
    above = np.searchsorted(bins, x, side="right")
    share = (x - bins[above - 1]) / (bins[above] - bins[above - 1])
    top = logits.max(-1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    pick = lambda i: np.take_along_axis(log_p, i[..., None], -1)[..., 0]  # noqa: E731
    return -(1 - share) * pick(above - 1) - share * pick(above)


def test_critic_loss_on_imagined_steps():
    """Expectile-weighted cross entropy plus the pull to the slow critic; each step
    counts gamma^t times the chance to get there.
    """
    learner, state, _, rollout = pixel_all(tau=0.1, critic__ema_weight=0.7)
    actual = jax.jit(learner.critic_model_loss)(state.params, state, rollout)
    features, action = rollout.features[:-1], rollout.action[:-1]
    logits = learner.nets.critic_out(state.params["critic"], features, action)
    slow = learner.nets.q(state.target["critic"], features, action)
    y, q = np.asarray(rollout.returns)[:-1], np.asarray(rollout.q)[:-1]
    assert 0.1 < (y > q).mean() < 0.9
    loss = np.where(y > q, 0.1, 0.9) * cross_entropy(logits, y)
    loss += 0.7 * cross_entropy(logits, slow)
    cont, expected = np.asarray(rollout.cont), 0.0
    for t in range(3):
        reached = learner.gamma**t * cont[:t].prod(0)
        expected += (reached * loss[t]).mean() / 3
    assert actual == pytest.approx(float(expected), rel=1e-4)


def test_the_target_of_a_stored_transition_takes_reward_and_end_from_its_arrival():
    """Entry t holds the reward that came with state t: r_t = 100 + t here."""
    is_first, is_terminal = np.zeros(9, bool), np.zeros(9, bool)
    is_first[[0, 4]], is_terminal[[3]] = True, True
    deter = np.eye(9, dtype=np.float32)
    arrays = {
        "transition": transition_starts(is_first, is_terminal),
        "deter": deter,
        "stoch": np.zeros((9, 1), np.uint8),
        "action": np.float32(np.arange(9))[:, None] / 10,
        "reward": np.float32(100 + np.arange(9)),
        "is_terminal": is_terminal,
    }
    np.testing.assert_array_equal(arrays["transition"], [0, 1, 2, 4, 5, 6, 7])
    batch = Transitions(7, 7, ("deter", "stoch")).gather(arrays, np.arange(7))
    batch |= {"state": batch["deter"], "next_state": batch["next_deter"]}
    learner = pixel_learner(make_smooth(), actions=1, leq__gamma=0.5)
    params = pixel_params(learner, features=9)
    state = first_state(learner, params)
    for i, start in enumerate(arrays["transition"]):
        one = {name: x[i : i + 1] for name, x in batch.items()}
        assert one["action"] == arrays["action"][start + 1]
        s = deter[start + 1][None]
        value = learner.nets.q(
            params["critic"], s, learner.nets.mode(params["actor"], s)
        )
        expected = 101 + start + 0.5 * (start != 2) * value[0]
        _, target = learner.critic_data_loss(params, state, one)
        assert target == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("update", ["dpg", "reinforce", "q", "awr"])
def test_every_loss_trains_its_own_network(update):
    keys = dict(actor__bc_weight=0.5, actor__entropy=0.1, actor__update=update)
    learner, state, batch, rollout = pixel_all(**keys)

    def losses(params):
        return {
            "actor": actor_loss(learner, params, state, batch, rollout),
            "model": learner.critic_model_loss(params, state, rollout),
            "data": learner.critic_data_loss(params, state, batch)[0],
        }

    rows = jax.jit(jax.jacrev(losses))(state.params)
    trained = {
        name: {part for part, grads in row.items() if optax.tree.norm(grads) > 0}
        for name, row in rows.items()
    }
    with_value = {"value"} if update == "reinforce" else set()
    assert trained == {
        "actor": {"actor"} | with_value,
        "model": {"critic"},
        "data": {"critic"},
    }


def test_cloning_in_the_loss_is_a_squared_error_with_its_weight():
    learner, state, batch, rollout = pixel_all(actor__bc_weight=0.4)
    given = state.params, state, Imagined(batch, rollout)
    with_cloning, metrics = learner.actor_loss(*given)
    plain, _ = pixel_learner(make_smooth()).actor_loss(*given)
    action = learner.nets.mode(state.params["actor"], batch["state"])
    expected = float(np.square(action - batch["action"]).sum(-1).mean())
    assert metrics["bc_loss"] == pytest.approx(expected, rel=1e-5)
    assert with_cloning == pytest.approx(float(plain) + 0.4 * expected, rel=1e-4)


def test_cloning_in_the_loss_is_of_the_best_episodes():
    """As before LEQ: without the term they are not even asked for."""
    learner, state, batch, rollout = pixel_all(actor__bc_weight=0.4, bc__best=0.5)
    assert learner.reads == ("rank",)
    assert pixel_learner(make_smooth(), bc__best=0.5).reads == ()
    rank = np.arange(len(batch["action"])) % 4 / 4
    given = state.params, state, Imagined(batch | {"rank": jnp.array(rank)}, rollout)
    loss, metrics = learner.actor_loss(*given)
    plain, _ = pixel_learner(make_smooth()).actor_loss(*given)
    action = learner.nets.mode(state.params["actor"], batch["state"])
    error = np.square(action - batch["action"]).sum(-1)[rank < 0.5]
    assert metrics["bc_loss"] == pytest.approx(float(error.mean()), rel=1e-5)
    assert loss == pytest.approx(float(plain + 0.4 * error.mean()), rel=1e-4)


def test_cloning_in_the_loss_lies_where_members_disagree():
    keys = dict(actor__bc_weight=0.4, actor__bc_weighting="disagreement")
    learner, state, batch, rollout = pixel_all(**keys)
    given = state.params, state, Imagined(batch, rollout)
    loss, metrics = learner.actor_loss(*given)
    plain, _ = pixel_learner(make_smooth()).actor_loss(*given)
    action = learner.nets.mode(state.params["actor"], batch["state"])
    error = np.square(action - batch["action"]).sum(-1)
    doubt = np.abs(batch["state"][:, 0]) + np.square(batch["action"]).sum(-1)
    expected = float((doubt * error).sum() / doubt.sum())
    assert abs(expected - error.mean()) > 0.01
    # what is logged is the distance in all states, which runs can be compared by
    assert metrics["bc_loss"] == pytest.approx(float(error.mean()), rel=1e-5)
    assert loss == pytest.approx(float(plain) + 0.4 * expected, rel=1e-4)


def test_where_nobody_disagrees_all_states_weigh_the_same():
    np.testing.assert_array_equal(losses.share_of(jnp.zeros(3)), np.ones(3))
    weights = losses.share_of(jnp.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(weights, [0, 0.75, 2.25])


# --- REINFORCE


def test_what_comes_after_the_end_trains_nothing():
    learner, state, batch, rollout = pixel_all(True, actor__update="reinforce")
    dead = np.asarray(rollout.alive) == 0
    assert dead[1:].any() and not dead[0].any()

    def spoilt(x):
        x = np.array(x)
        where = dead[: len(x)]
        x[where] = 50 * np.random.default_rng(4).normal(size=x[where].shape)
        return jnp.asarray(x)

    # a step into the end counts; the return before it doesn't hold what follows
    other = jax.tree.map(spoilt, rollout).replace(cont=rollout.cont)

    def losses(params, rollout):
        actor = actor_loss(learner, params, state, batch, rollout)
        return actor, learner.critic_model_loss(params, state, rollout)

    both = jax.jit(jax.jacrev(losses))
    as_was, spoilt_too = both(state.params, rollout), both(state.params, other)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), as_was, spoilt_too
    )


@struct.dataclass
class Bandit(World):
    """One state, one step; the reward is a function of the action."""

    pay: callable = struct.field(pytree_node=False)

    def step(self, state, action, key):
        return state, self.pay(action), jnp.zeros(len(action))


def test_reinforce_on_a_bandit_has_the_analytic_gradient():
    """reward = action; critic and baseline are 0, so that y_0 = share * reward."""
    tau = 0.2
    learner = pixel_learner(
        Bandit(lambda action: action[:, 0]),
        actions=1,
        actor__update="reinforce",
        critic__bins=31,  # only their means matter
        leq__horizon=1,
        leq__tau=tau,
        leq__return_norm=False,
    )
    ones = jnp.ones((40_000, 1))
    params = pixel_params(learner, features=1)
    for name in ("critic", "value"):
        params[name]["out"] = jax.tree.map(np.zeros_like, params[name]["out"])
    for name, bias in [("mean", 0.3), ("std", -2.0)]:
        linear = {"kernel": np.zeros((16, 1)), "bias": np.array([bias])}
        params["actor"][name] = {"linear": jax.tree.map(np.float32, linear)}
    state = first_state(learner, params, tau)
    batch = {"state": ones, "next_state": ones, "action": ones}

    def loss(params, key):
        rollout = learner.imagine(state, ones, key)
        return actor_loss(learner, params, state, batch, rollout)

    grads = jax.jit(jax.grad(loss))(params, jax.random.key(5))["actor"]
    mean, std = (float(x[0, 0]) for x in learner.nets.actor(params["actor"], ones[:1]))
    x = np.linspace(mean - 8 * std, mean + 8 * std, 20_001)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2) / np.sqrt(2 * np.pi) / std
    share = 0.95 / 1.95  # of the reward in y_0
    weighted = np.where(x > 0, tau, 1 - tau) * share * np.tanh(x) * density
    of_mean = np.trapezoid(weighted * (x - mean) / std**2, x)
    of_std = np.trapezoid(weighted * (((x - mean) / std) ** 2 - 1) / std, x)
    of_raw = (std - 0.1) * (1 - (std - 0.1) / 0.9)  # std = 0.9 sigmoid(raw + 2) + 0.1
    steps = 2  # the mean over t = 0, 1; the second has ended
    expected = {"mean": -of_mean / steps, "std": -of_std * of_raw / steps}
    for name, error in [("mean", 0.0006), ("std", 0.0002)]:
        assert abs(expected[name]) > 20 * error  # of sampling
        actual = grads[name]["linear"]["bias"][0]
        assert actual == pytest.approx(expected[name], abs=4 * error), name


def test_reinforce_fits_its_baseline_to_q():
    learner, state, batch, rollout = pixel_all(actor__update="reinforce")
    silent = jax.tree.map(np.zeros_like, state.params["value"]["out"])
    value = state.params["value"] | {"out": silent}
    params = state.params | {"value": value}

    def loss(value):
        return actor_loss(learner, params | {"value": value}, state, batch, rollout)

    optimizer = optax.adam(1e-2)

    def step(carry, _):
        value, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(value), opt_state)
        return (optax.apply_updates(value, updates), opt_state), None

    fit = jax.jit(
        lambda v: jax.lax.scan(step, (v, optimizer.init(v)), length=800)[0][0]
    )
    logits = learner.nets.value_out(fit(value), rollout.features)
    baseline = two_hot_mean(logits, symexp_bins())
    np.testing.assert_allclose(baseline, rollout.q, rtol=0.1, atol=0.1)


# --- moving averages and whole updates


def test_slow_critic_starts_as_a_copy():
    learner = pixel_learner(make_smooth())
    state = first_state(learner, jax.tree.map(jnp.asarray, pixel_params(learner)))
    for slow, fast in zip(
        jax.tree.leaves(state.target["critic"]),
        jax.tree.leaves(state.params["critic"]),
        strict=True,
    ):
        np.testing.assert_array_equal(slow, fast)
        assert slow.unsafe_buffer_pointer() != fast.unsafe_buffer_pointer()


def test_the_returns_range_is_a_slow_average_that_starts_at_zero():
    learner = pixel_learner(make_smooth())
    returns = np.random.default_rng(7).normal(size=(4, 50)).astype(np.float32) * 20
    low, high = np.percentile(returns, [5, 95])
    track, average = jax.jit(learner.track_returns), jnp.zeros(2)
    for k in range(1, 301):
        average = track(average, jnp.asarray(returns))
        if k in (1, 10, 300):
            scale = float(learner.return_scale(average))
            expected = max(1.0, (1 - 0.99**k) * (high - low))
            assert scale == pytest.approx(expected, rel=1e-4)
    assert float(learner.return_scale(jnp.array([2.0, 2.5]))) == 1.0
    unscaled = pixel_learner(make_smooth(), leq__return_norm=False)
    assert float(unscaled.return_scale(jnp.array([0.0, 100.0]))) == 1.0


def test_an_update_uses_and_keeps_the_range_of_its_own_returns():
    learner, state, batch, rollout = pixel_all(leq__return_norm_decay=0.5)
    memory = state.memory.replace(return_range=jnp.array([-100.0, 100.0]))
    state = state.replace(memory=memory)
    after, metrics = jax.jit(learner.update)(state, batch, KEY)
    low, high = np.percentile(rollout.returns, [5, 95])
    expected = [-50 + 0.5 * low, 50 + 0.5 * high]
    np.testing.assert_allclose(after.memory.return_range, expected, rtol=1e-4)
    assert metrics["return_scale"] == pytest.approx(expected[1] - expected[0], rel=1e-4)
