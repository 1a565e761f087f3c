"""MAC by its formulas, in the imagination of a model of chunks, and on a line whose
values are known.
"""

from dataclasses import replace

import chunk_worlds as worlds
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chunk_worlds import STEPS
from learners import (
    A,
    N,
    assert_slope,
    gradient,
    is_zero,
    make_batch,
    make_learner,
    make_state,
    net,
    q_values,
)

from dreamer_leq.world_models.imagine import imagine

NAMES = ("flow", "actor", "value", "critic")
KEY = jax.random.key(0)  # that of `gradient`
GAMMA = 0.99


def make_mac(dtype=np.float32, **keys):
    learner = make_learner("mac", jnp.dtype(dtype), **keys)
    return learner.replace(world=worlds.random_model(dtype, GAMMA))


def chunks_batch(dtype=np.float32):
    rng = np.random.default_rng(4)
    actions = jnp.asarray(rng.uniform(-1, 1, (N, STEPS, A)), dtype)
    return make_batch(dtype) | {"actions": actions}


@pytest.fixture(scope="module")
def exact():
    """A state, a batch, what is drawn and imagined in float64, and the gradients."""
    with jax.enable_x64(True):
        learner, batch = make_mac(np.float64), chunks_batch(np.float64)
        state = make_state(learner, np.float64)
        slopes = {name: gradient(learner, state, batch, name) for name in NAMES}
        flow_key, noise_key, path_key = jax.random.split(KEY, 3)
        start_key, time_key = jax.random.split(flow_key)
        keys = {"start": start_key, "noise": noise_key}
        size = (N, STEPS * A)
        drawn = {name: jax.random.normal(key, size) for name, key in keys.items()}
        drawn["time"] = jax.random.uniform(time_key, (N, 1))
        drawn["features"] = learner.world.features(batch["vector"])

        @jax.jit
        def imagined(params, start):
            act = lambda f, key: learner.chunk(params, f, key, 2)  # noqa: E731
            return imagine(learner.world, act, start, path_key, 2)

        path = imagined(state.params, batch["vector"])
        return jax.device_get((state, batch, slopes, drawn, path))


def beside(*parts):
    return np.concatenate(parts, -1)


def check(exact, name, loss):
    """The loss is as given, by its own network alone."""
    state, _, slopes, *_ = exact
    value, grads = slopes[name]
    assert value == pytest.approx(loss(state.params))
    assert_slope(grads, loss, state.params)
    assert all(is_zero(grads[other]) for other in set(NAMES) - {name})


def test_the_flow_learns_whole_chunks(exact):
    _, batch, _, drawn, _ = exact
    t, noise, chunk = drawn["time"], drawn["start"], batch["actions"].reshape(N, -1)
    x = beside(drawn["features"], (1 - t) * noise + t * chunk, t)

    def loss(params):
        return ((net(params["flow"], x) - (chunk - noise)) ** 2).mean()

    check(exact, "flow", loss)


def test_one_step_learns_what_the_flow_makes_of_noise(exact):
    state, _, _, drawn, _ = exact
    seen, noise, flow = drawn["features"], drawn["noise"], state.params["flow"]
    half = noise + net(flow, beside(seen, noise, np.zeros((N, 1)))) / 2
    whole = half + net(flow, beside(seen, half, np.full((N, 1), 0.5))) / 2

    def loss(params):
        action = net(params["actor"], beside(seen, noise))
        return ((action - whole.clip(-1, 1)) ** 2).mean()

    check(exact, "actor", loss)


def test_v_learns_what_chunks_bring_until_the_last(exact):
    """Two chunks: r_0 + Γ c_0 (r_1 + Γ c_1 V̄(s_2)) in s_0, the rest of it in s_1."""
    state, _, _, _, path = exact
    slow = net(state.target["value"], path.features[2])[:, 0]
    later = path.reward[1] + GAMMA**STEPS * path.cont[1] * slow
    returns = [path.reward[0] + GAMMA**STEPS * path.cont[0] * later, later]
    assert (path.cont < 0.9).any()

    def loss(params):
        v = net(params["value"], path.features[:2])[..., 0]
        errors = (v - np.stack(returns)) ** 2
        return (errors[0] + path.cont[0] * errors[1]).mean() / 2

    check(exact, "value", loss)


def test_q_learns_what_the_first_chunk_brings(exact):
    state, _, _, drawn, path = exact
    after = net(state.params["value"], path.features[1])[:, 0]
    target = path.reward[0] + GAMMA**STEPS * path.cont[0] * after

    def loss(params):
        q = q_values(params["critic"], drawn["features"], path.action[0])
        return ((q[0] - target) ** 2).mean()

    check(exact, "critic", loss)


def test_the_best_of_the_candidates_is_taken():
    """Its first action alone is played; and the values are of what may begin so."""
    learner = make_mac()
    state, features = make_state(learner), make_batch()["vector"]
    params, count = state.params, 3
    assert learner.config.acting_samples == count
    chunks = learner.candidates(params, features, KEY, count)
    assert chunks.shape == (count, N, STEPS * A)
    q = np.stack([q_values(params["critic"], features, one)[0] for one in chunks])
    best = np.asarray(chunks)[q.argmax(0), np.arange(N)]
    assert len(set(q.argmax(0))) > 1
    found = learner.chunk(params, features, KEY, count)
    np.testing.assert_allclose(found, best, rtol=1e-5)
    action = learner.policy(params, features, KEY)
    np.testing.assert_allclose(action, best[:, :A], rtol=1e-5)
    np.testing.assert_allclose(
        learner.value(params, features, action), q.max(0), rtol=1e-3, atol=1e-5
    )


def test_without_a_key_it_acts_the_same_way():
    learner = make_mac()
    state, features = make_state(learner), make_batch()["vector"]
    once, again = (learner.policy(state.params, features) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_it_learns_which_of_two_ways_along_a_line_pays():
    """Chunks of three equal actions, 0.8 or -0.8; a reward of s' + a / 2. Going on with
    actions of the mean m changes s by 0.1 m in each step, so that V is the sum of a
    geometric series.
    """
    keys = {"actor__units": 32, "critic__units": 32, "actor__layers": 2}
    keys |= {"mac__gamma": 0.8, "mac__flow_steps": 5, "critic__ema_decay": 0.9}
    keys |= {"mac__samples": 8, "mac__acting_samples": 16, "mac__horizon": 4}
    learner, world = make_learner("mac", **keys), worlds.linear_model(gamma=0.8)
    nets, updates = learner.nets, 600
    policy = replace(nets.policy, action_size=STEPS)
    learner = learner.replace(
        nets=replace(nets, policy=policy),
        world=world,
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, updates)),
    )
    kinds = np.where(np.arange(48) % 2 == 0, 0.8, -0.8)
    actions = jnp.float32(np.broadcast_to(kinds[:, None, None], (48, STEPS, 1)))
    vector = jnp.float32(np.random.default_rng(0).uniform(-0.5, 0.5, (48, 1)))
    batch = {"vector": vector, "actions": actions, "action": actions[:, 0]}
    batch |= {"reward": jnp.zeros(48), "cont": jnp.ones(48)}

    @jax.jit
    def train():
        state = learner.init(jax.random.key(1), {}, {})

        def body(i, state):
            return learner.update(state, batch, jax.random.fold_in(KEY, i))[0]

        params = jax.lax.fori_loop(0, updates, body, state).params
        act = lambda f, key: learner.chunk(params, f, key, 8)  # noqa: E731
        taken = imagine(world, act, vector, KEY, 10).action
        value = nets.critics.one.mean(params["value"], vector)
        return taken, value, learner.candidates(params, vector, KEY, 16)

    taken, value, every = jax.device_get(train())
    assert (every[..., 0] < 0).mean() == pytest.approx(1 / 2, abs=0.1)
    assert (taken > 0.5).mean() > 0.9
    ahead = vector + taken.mean() * (0.1 * (1 + np.arange(400)) + 0.5)
    expected = (0.8 ** np.arange(400) * ahead).sum(1)
    np.testing.assert_allclose(value, expected, atol=0.5)
    assert expected.std() > 1
