"""The model of chunks by its formulas, on a linear system, and in a run's folder."""

import chunk_worlds as worlds
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chunk_worlds import STEPS
from learners import A, D, N, assert_slope, net
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import config as configs
from dreamer_leq.commands.analysis import analyse
from dreamer_leq.pages.report.page import page
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.world_models.chunks import ChunkTraining, ChunkWeights
from dreamer_leq.world_models.imagine import imagine
from dreamer_leq.world_models.vectors import Vectors
from vd4rl_loader.collection.pointmaze import collect_pointmaze

GAMMA = 0.9


def heads(params, features, chunk):
    """What the networks say, in NumPy."""
    x = np.concatenate([features, chunk], -1)
    return (net({"trunk": params[k]}, x) for k in ("change", "reward", "end"))


def make_batch(dtype=np.float64):
    rng = np.random.default_rng(1)
    batch = {
        "vector": rng.normal(size=(N, D)),
        "next_vector": rng.normal(size=(N, D)),
        "actions": rng.uniform(-1, 1, (N, STEPS, A)),
        "rewards": rng.normal(size=(N, STEPS)),
    }
    ends = np.zeros((N, STEPS), bool)
    ends[0, 0] = ends[1, 1] = ends[2, 2] = ends[3] = True
    found = {name: jnp.asarray(x, dtype) for name, x in batch.items()}
    return found | {"ends": jnp.asarray(ends)}


def test_a_step_sums_what_comes_before_an_end():
    model, batch = worlds.random_model(gamma=GAMMA), make_batch(np.float32)
    state, chunk = batch["vector"], batch["actions"].reshape(N, -1)
    after, reward, cont = jax.jit(model.step)(state, chunk, model.noise(None, N))
    w = model.weights
    features = (state - w.states.mean) / w.states.std
    change, rewards, logits = heads(w.params, features, chunk)
    on = 1 / (1 + np.exp(logits))
    expected = (
        rewards[:, 0]
        + GAMMA * on[:, 0] * rewards[:, 1]
        + GAMMA**2 * on[:, 0] * on[:, 1] * rewards[:, 2]
    )
    np.testing.assert_allclose(reward, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cont, on.prod(1), rtol=1e-4)
    np.testing.assert_allclose(after, state + w.change * change, rtol=1e-4, atol=1e-5)
    assert model.steps == STEPS and not model.disagreement(state, chunk).any()


def test_the_loss_leaves_out_what_comes_after_an_end():
    """Rewards and ends of steps up to the first end, the change of all."""
    with jax.enable_x64(True):
        model, batch = worlds.random_model(np.float64), make_batch()
        training = ChunkTraining(model.net, optax.adam(1e-3))
        gradient = jax.jit(jax.value_and_grad(training.loss, has_aux=True))
        (value, _), grads = jax.device_get(
            gradient(model.weights.params, model.weights, batch)
        )
        w, batch = jax.device_get((model.weights, batch))
    ends = np.float64(batch["ends"])
    features = (batch["vector"] - w.states.mean) / w.states.std
    counts = np.ones((N, STEPS))
    counts[[0, 0, 1, 3, 3], [1, 2, 2, 1, 2]] = 0

    def loss(params):
        found = heads(params, features, np.reshape(batch["actions"], (N, -1)))
        change, rewards, logits = found
        wanted = (batch["next_vector"] - batch["vector"]) / w.change
        entropy = np.log1p(np.exp(logits)) - ends * logits
        errors = (rewards - batch["rewards"]) ** 2 + entropy
        return ((change - wanted) ** 2).mean() + (counts * errors).mean()

    assert value == pytest.approx(loss(w.params))
    assert_slope(grads, loss, w.params)


def test_chunks_of_a_linear_system_are_its_single_steps():
    """Two chunks of three steps in imagination, and six steps by hand."""
    model, rng = worlds.linear_model(gamma=GAMMA), np.random.default_rng(0)
    start, actions = rng.normal(size=(4, 1)), rng.uniform(-1, 1, (2, 3, 4, 1))
    chunks = jnp.float32(actions.swapaxes(1, 2).reshape(2, 4, 3))
    path = imagine(model, chunks, jnp.float32(start), jax.random.key(0), 2)
    state = start
    for i in range(2):
        gained = np.zeros(4)
        for k in range(3):
            state = state + 0.1 * actions[i, k]
            gained += GAMMA**k * (state + actions[i, k] / 2)[:, 0]
        np.testing.assert_allclose(path.reward[i], gained, rtol=1e-5)
        np.testing.assert_allclose(path.state[i + 1], state, rtol=1e-5)
    np.testing.assert_allclose(path.alive, 1.0)


def test_it_learns_a_system_with_ends():
    """s' = s + Σ a, rewards a, and an end where the first action is positive."""
    model = worlds.chunk_net(size=1, actions=1, steps=2, units=32)
    training = ChunkTraining(model, optax.adam(1e-2))
    rng = np.random.default_rng(0)
    state, actions = rng.normal(size=(256, 1)), rng.uniform(-1, 1, (256, 2, 1))
    batch = {"vector": state, "actions": actions, "rewards": actions[..., 0]}
    batch["next_vector"] = state + actions.sum(1)
    batch = {name: jnp.float32(x) for name, x in batch.items()}
    ends = np.stack([actions[:, 0, 0] > 0, np.zeros(256)], 1)
    batch["ends"] = jnp.asarray(ends, bool)
    states = Vectors.of(np.float32(state), True)

    @jax.jit
    def train(key):
        first = training.init(key, states, jnp.ones(1))
        body = lambda i, state: training.update(state, batch, None)[0]  # noqa: E731
        return jax.lax.fori_loop(0, 300, body, first)

    trained = train(jax.random.key(0)).weights
    _, errors = training.loss(trained.params, trained, batch)
    assert errors["change_loss"] < 0.01 and errors["reward_loss"] < 0.01
    assert errors["end_loss"] < 0.1
    assert isinstance(trained, ChunkWeights)


# --- in a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    data = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    keys = dict(task="pointmaze-umaze")
    return write_run(place / "run", data, "maze", "mac", **keys)


def test_a_loaded_run_acts_with_single_actions(run):
    loaded = dl.load_run(run.path)
    assert loaded.members == 0  # that imagine single steps
    vector = np.float32([[1.0, 2.0], [3.0, 4.0]])
    entries = {"vector": vector, "action": np.zeros((2, 2), np.float32)}
    latents = loaded.encode(entries)
    seen = {"vector": vector[0], "is_first": True}
    first, memory = loaded.act(loaded.initial(), seen)
    second, _ = loaded.act(memory, seen)
    assert first.shape == second.shape == (2,) and (first != second).any()
    assert loaded.value(latents).shape == loaded.value(latents, vector * 0).shape
    with pytest.raises(dl.UserError, match="no world model"):
        loaded.imagine(latents, np.zeros((2, 2)))


def test_a_report_asks_it_for_no_single_steps(run):
    analyse(run, None, print)
    found = page(RunFiles(run.path))
    assert "Is the model lying?" not in found
    assert "MAC · model of action chunks" in found


def test_it_is_a_model_for_chunks_alone():
    said = "leq imagines, not with chunks: give --world_model latent or --world_model"
    with pytest.raises(dl.UserError, match=said):
        configs.from_presets("hopper", "debug", world_model="chunks")
    said = "mac imagines, not with mlp_ensemble: give --world_model chunks"
    with pytest.raises(dl.UserError, match=said):
        configs.from_presets("hopper", "debug", algorithm="mac")
