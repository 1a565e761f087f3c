"""The LEQ update: its losses in NumPy, what trains what, and what stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax import Array
from worlds import World

from dreamer_leq.algorithms.bc import BC
from dreamer_leq.algorithms.leq.learner import LEQ, Imagined
from dreamer_leq.config import from_presets
from dreamer_leq.data.entries import transition_starts
from dreamer_leq.data.sampling import Resident, Transitions
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.nn.distributions import symexp_bins, two_hot_mean
from dreamer_leq.training.loop import _advance
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, ACTIONS, STATE = 7, 2, 3


# --- worlds ---------------------------------------------------------------------------


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


@struct.dataclass
class Bandit(World):
    """One state, one step; the reward is a function of the action."""

    pay: callable = struct.field(pytree_node=False)

    def step(self, state, action, key):
        return state, self.pay(action), jnp.zeros(len(action))


def make_smooth(hard=False, seed=4):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: jnp.float32(rng.normal(size=shape))  # noqa: E731
    return Smooth(normal(STATE, STATE), normal(ACTIONS, STATE), hard)


# --- learners -------------------------------------------------------------------------


def make_learner(world, optimizer=None, actions=ACTIONS, **keys):
    given = {"actor.bc_weight": 0.0, "leq.plain": True}
    given |= {k.replace("__", "."): v for k, v in keys.items()}
    config = from_presets("debug", **given)
    nets = ActorCritic(config.actor, config.critic, actions)
    learner = LEQ.create(config, "leq", world, nets)
    return learner.replace(optimizer=optimizer or optax.sgd(1.0))


def first_state(learner, params, tau=0.3, slow=None, return_range=(0.0, 0.0)):
    """A state with these networks, and another moving average where there is one."""
    state = learner.init(jax.random.key(0), {"tau": jnp.float32(tau)}, params)
    memory = state.memory.replace(return_range=jnp.float32(return_range))
    target = state.target if slow is None else {"critic": slow}
    return state.replace(target=target, memory=memory)


def actor_loss(learner, params, state, batch, rollout):
    return learner.actor_loss(params, state, Imagined(batch, rollout))[0]


def make_params(learner, features=STATE, seed=1):
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


def make_batch(n=N, seed=2):
    rng = np.random.default_rng(seed)
    uniform = lambda *shape: jnp.float32(rng.uniform(-1, 1, shape))  # noqa: E731
    return {
        "state": uniform(n, STATE),
        "next_state": uniform(n, STATE),
        "action": uniform(n, ACTIONS),
        "reward": 10 * uniform(n),
        "cont": jnp.float32(rng.random(n) < 0.7),
    }


def make_all(hard=False, tau=0.3, **keys):
    """A learner, its state, a batch, and the rollouts of one update. The state's tau
    is not the configuration's.
    """
    learner = make_learner(make_smooth(hard), leq__tau=0.9, **keys)
    slow = make_params(learner, seed=9)["critic"]  # an average that differs
    state, batch = first_state(learner, make_params(learner), tau, slow), make_batch()
    imagine = jax.jit(learner.imagine)
    return learner, state, batch, imagine(state, batch["state"], jax.random.key(3))


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


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


# --- critic ---------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_critic_loss_on_imagined_steps(hard):
    """Expectile-weighted cross entropy plus the pull to the slow critic; each step
    counts gamma^t times the chance to get there.
    """
    learner, state, _, rollout = make_all(hard, tau=0.1, critic__ema_weight=0.7)
    actual = jax.jit(learner.critic_model_loss)(state.params, state, rollout)
    features, action = rollout.features[:-1], rollout.action[:-1]
    logits = learner.nets.critic_out(state.params["critic"], features, action)
    slow = learner.nets.q(state.target["critic"], features, action)
    y, q = np.asarray(rollout.returns)[:-1], np.asarray(rollout.q)[:-1]
    assert 0.1 < (y > q).mean() < 0.9
    loss = np.where(y > q, 0.1, 0.9) * cross_entropy(logits, y)
    loss += 0.7 * cross_entropy(logits, slow)
    cont, expected = np.asarray(rollout.cont), 0.0
    assert not hard or set(np.unique(cont)) == {0, 1}
    for t in range(3):
        reached = learner.gamma**t * cont[:t].prod(0)
        expected += (reached * loss[t]).mean() / 3
    assert actual == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("data_tau", [0.5, 0.2])
def test_critic_loss_on_the_data(data_tau):
    """One-step target with the squashed policy's action; no expectile at 0.5."""
    learner = make_learner(make_smooth(), leq__data_tau=data_tau)
    params = make_params(learner)
    params["actor"]["mean"]["linear"]["bias"] += np.float32([5, -4])  # tanh matters
    slow = make_params(learner, seed=9)["critic"]
    state, batch = first_state(learner, params, slow=slow), make_batch()
    actual, mean_target = jax.jit(learner.critic_data_loss)(params, state, batch)

    mean, _ = learner.nets.actor(params["actor"], batch["next_state"])
    assert np.abs(mean).max() > 3
    q = lambda p, s, a: np.asarray(learner.nets.q(p, s, a), np.float64)  # noqa: E731
    next_q = q(params["critic"], batch["next_state"], np.tanh(mean))
    target = batch["reward"] + learner.gamma * batch["cont"] * next_q
    given = batch["state"], batch["action"]
    logits = learner.nets.critic_out(params["critic"], *given)
    above = target > q(params["critic"], *given)
    loss = np.where(above, data_tau, 1 - data_tau) * cross_entropy(logits, target)
    loss += cross_entropy(logits, q(state.target["critic"], *given))
    assert mean_target == pytest.approx(float(target.mean()), rel=1e-4)
    assert actual == pytest.approx(float(loss.mean()), rel=1e-4)


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
    learner = make_learner(make_smooth(), actions=1, leq__gamma=0.5)
    params = make_params(learner, features=9)
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


# --- policy ---------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_policy_gradient_is_the_expectile_weighted_sum_of_its_own_actions(hard):
    """With respect to the last bias, through a = tanh(x + bias)."""
    learner, state, batch, rollout = make_all(hard, tau=0.2)
    memory = state.memory.replace(return_range=jnp.array([-1.0, 3.0]))
    state = state.replace(memory=memory)

    def loss(params):
        return actor_loss(learner, params, state, batch, rollout)

    actual = jax.jit(jax.grad(loss))(state.params)["actor"]["mean"]["linear"]["bias"]
    g, action = float64((rollout.gradient, rollout.action))
    weight = np.where(np.asarray(rollout.returns > rollout.q), 0.2, 0.8)
    weight[-1] = 0.5  # y_H = Q_H is neither above nor below
    cont = np.asarray(rollout.cont)
    alive = np.stack([cont[:t].prod(0) for t in range(4)])
    weight = (weight * alive / 4.0)[..., None]  # the returns' range is 4
    expected = -(weight * g * (1 - action**2)).mean((0, 1))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize("update", ["dpg", "reinforce"])
def test_what_comes_after_the_end_trains_nothing(update):
    learner, state, batch, rollout = make_all(True, actor__update=update)
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


@pytest.mark.parametrize("update", ["dpg", "reinforce"])
def test_every_loss_trains_its_own_network(update):
    keys = dict(actor__bc_weight=0.5, actor__entropy=0.1, actor__update=update)
    learner, state, batch, rollout = make_all(**keys)

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


def test_reinforce_on_a_bandit_has_the_analytic_gradient():
    """reward = action; critic and baseline are 0, so that y_0 = share * reward."""
    tau = 0.2
    learner = make_learner(
        Bandit(lambda action: action[:, 0]),
        actions=1,
        actor__update="reinforce",
        critic__bins=31,  # only their means matter
        leq__horizon=1,
        leq__tau=tau,
        leq__return_norm=False,
    )
    ones = jnp.ones((40_000, 1))
    params = make_params(learner, features=1)
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
    learner, state, batch, rollout = make_all(actor__update="reinforce")
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
        lambda v: jax.lax.scan(step, (v, optimizer.init(v)), length=400)[0][0]
    )
    logits = learner.nets.value_out(fit(value), rollout.features)
    baseline = two_hot_mean(logits, symexp_bins())
    np.testing.assert_allclose(baseline, rollout.q, rtol=0.1, atol=0.1)


# --- moving averages ------------------------------------------------------------------


def test_slow_critic_starts_as_a_copy():
    learner = make_learner(make_smooth())
    state = first_state(learner, jax.tree.map(jnp.asarray, make_params(learner)))
    for slow, fast in zip(
        jax.tree.leaves(state.target["critic"]),
        jax.tree.leaves(state.params["critic"]),
        strict=True,
    ):
        np.testing.assert_array_equal(slow, fast)
        assert slow.unsafe_buffer_pointer() != fast.unsafe_buffer_pointer()


def test_the_returns_range_is_a_slow_average_that_starts_at_zero():
    learner = make_learner(make_smooth())
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


def test_without_return_norm_the_scale_is_one():
    learner = make_learner(make_smooth(), leq__return_norm=False)
    assert float(learner.return_scale(jnp.array([0.0, 100.0]))) == 1.0


# --- a whole update -------------------------------------------------------------------


@functools.cache
def one_update():
    """A learner, the state before and after an update, its rollout and metrics."""
    keys = dict(leq__beta=0.2, critic__ema_decay=0.9, leq__return_norm_decay=0.5)
    learner, state, batch, rollout = make_all(**keys)
    memory = state.memory.replace(return_range=jnp.array([-100.0, 100.0]))
    state = state.replace(memory=memory)
    after, metrics = jax.jit(learner.update)(state, batch, jax.random.key(3))
    return learner, state, after, batch, rollout, metrics


def test_critic_loss_weighs_imagination_and_data_with_beta():
    learner, state, _, batch, rollout, metrics = one_update()
    model = learner.critic_model_loss(state.params, state, rollout)
    data = learner.critic_data_loss(state.params, state, batch)[0]
    expected = 0.2 * float(model) + 0.8 * float(data)
    assert metrics["critic_loss"] == pytest.approx(expected, rel=1e-5)


def test_slow_critic_follows_the_updated_critic():
    _, state, after, *_ = one_update()
    moved = optax.tree.sub(after.params["critic"], state.params["critic"])
    assert optax.tree.norm(moved["out"]) > 0.1
    jax.tree.map(
        lambda slow, old, new: np.testing.assert_allclose(
            slow, 0.9 * old + 0.1 * new, atol=1e-6
        ),
        after.target["critic"],
        state.target["critic"],
        after.params["critic"],
    )


def test_an_update_uses_and_keeps_the_range_of_its_own_returns():
    _, _, after, _, rollout, metrics = one_update()
    low, high = np.percentile(rollout.returns, [5, 95])
    expected = [-50 + 0.5 * low, 50 + 0.5 * high]
    np.testing.assert_allclose(after.memory.return_range, expected, rtol=1e-4)
    assert metrics["return_scale"] == pytest.approx(expected[1] - expected[0], rel=1e-4)


def test_tau_stays_what_it_is():
    _, state, after, *_ = one_update()
    assert after.hyper["tau"] == state.hyper["tau"] == jnp.float32(0.3)


def test_a_grid_of_tau_by_vmap_equals_single_runs():
    learner = make_learner(make_smooth(), optax.sgd(0.1))
    batch, start = make_batch(), first_state(learner, make_params(learner))
    assert learner.config.tau is None  # it varies: the state has it
    taus = jnp.array([0.1, 0.4, 0.8])
    update = lambda state: learner.update(state, batch, jax.random.key(5))  # noqa: E731
    grid = jax.vmap(lambda tau: start.replace(hyper={"tau": tau}))(taus)
    together = jax.jit(jax.vmap(update))(grid)
    single = jax.jit(update)
    for i, tau in enumerate(taus):
        jax.tree.map(
            lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-3, atol=1e-5),
            together,
            single(start.replace(hyper={"tau": tau})),
        )
    spread = jax.tree.map(lambda x: float(np.ptp(x, 0).max()), together[0].params)
    assert min(max(jax.tree.leaves(spread[name])) for name in spread) > 1e-3


# --- behaviour cloning ----------------------------------------------------------------


def cloning(optimizer, critic):
    config = from_presets("debug", **{"bc.critic": critic})
    nets = ActorCritic(config.actor, config.critic, ACTIONS)
    return BC.create(config, "bc", make_smooth(), nets).replace(optimizer=optimizer)


def test_cloning_brings_policy_and_critic_to_the_data():
    data = make_batch(64)
    data["action"] = jnp.tanh(data["state"][:, :2] * 2)
    data["return"] = 20 * data["state"][:, 0] + 5 * data["action"][:, 1]
    learner = cloning(optax.adam(1e-2), "monte_carlo")
    phase = learner

    def step(state, _):
        return phase.update(state, data, jax.random.key(0))

    start = phase.init(jax.random.key(0), {}, make_params(learner))
    run = jax.jit(lambda state: jax.lax.scan(step, state, length=400))
    state, metrics = run(start)
    assert metrics["bc_loss"][-1] < 0.05 * metrics["bc_loss"][0]
    assert metrics["critic_loss"][-1] < 0.6 * metrics["critic_loss"][0]
    q = learner.nets.q(state.params["critic"], data["state"], data["action"])
    assert np.corrcoef(q, data["return"])[0, 1] > 0.95
    np.testing.assert_allclose(metrics["return"], data["return"].mean(), rtol=1e-4)


def test_cloning_alone_leaves_the_critic():
    learner = cloning(optax.sgd(0.1), "none")
    params = make_params(learner)
    start = learner.init(jax.random.key(0), {}, params)
    update = jax.jit(learner.update)
    state, metrics = update(start, make_batch(), jax.random.key(0))
    jax.tree.map(
        np.testing.assert_array_equal, state.params["critic"], params["critic"]
    )
    assert optax.tree.norm(optax.tree.sub(state.params["actor"], params["actor"])) > 0
    assert "critic_loss" not in metrics


def test_cloning_in_the_leq_loss_is_a_squared_error_with_its_weight():
    learner, state, batch, rollout = make_all(actor__bc_weight=0.4)
    given = state.params, state, Imagined(batch, rollout)
    with_cloning, metrics = learner.actor_loss(*given)
    plain, _ = make_learner(make_smooth()).actor_loss(*given)
    action = learner.nets.mode(state.params["actor"], batch["state"])
    expected = float(np.square(action - batch["action"]).sum(-1).mean())
    assert metrics["bc_loss"] == pytest.approx(expected, rel=1e-5)
    assert with_cloning == pytest.approx(float(plain) + 0.4 * expected, rel=1e-4)


# --- against the real world model -----------------------------------------------------


def test_the_world_model_is_the_same_bit_for_bit_after_updates():
    config = from_presets("debug")
    net = LatentNet(config.latent, ObservationSpec(0, 4, ACTIONS))
    rng = np.random.default_rng(11)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    draw = lambda x: jnp.float32(0.3 * rng.normal(size=x.shape))  # noqa: E731
    model = LatentWorldModel(jax.tree.map(draw, shapes), net)
    before = jax.device_get(model.params)
    learner = make_learner(model, optax.sgd(1e-2))
    arrays = {
        "transition": jnp.arange(20),
        "deter": jnp.float32(rng.normal(size=(21, net.config.deter))),
        "stoch": jnp.asarray(rng.integers(0, 4, (21, 4)).astype(np.uint8)),
        "action": jnp.float32(rng.uniform(-1, 1, (21, ACTIONS))),
        "reward": jnp.float32(rng.normal(size=21)),
        "is_terminal": jnp.zeros(21, bool),
    }
    feed = Resident(arrays, Transitions(20, 6, ("deter", "stoch")))
    params = jax.tree.map(jnp.asarray, make_params(learner, net.features))
    started = jax.device_get(params)
    first = first_state(learner, params)
    names = jax.eval_shape(
        lambda key: learner.update(first, feed.read(arrays, key, 0), key)[1],
        jax.random.key(0),
    )
    totals = {name: jnp.zeros(()) for name in names}
    state, totals = _advance(
        feed.read,
        learner,
        arrays,
        first,
        totals,
        jax.random.key(1),
        0,
        3,
    )
    jax.tree.map(np.testing.assert_array_equal, model.params, before)
    assert all(np.isfinite(x) for x in totals.values())
    for name in ("actor", "critic"):
        change = optax.tree.sub(jax.device_get(state.params[name]), started[name])
        assert optax.tree.norm(change) > 0
