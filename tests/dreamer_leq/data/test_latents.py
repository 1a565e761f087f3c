"""Encoding a dataset once: every row is its episode's posterior, and nothing else's."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from dreamer_leq.config import from_presets
from dreamer_leq.data import latent_files, latents, sampling
from dreamer_leq.data.entries import monte_carlo_returns
from dreamer_leq.data.latent_files import LatentFiles, key_of
from dreamer_leq.data.latents import (
    LatentData,
    Reencoding,
    encode_dataset,
    transitions,
)
from dreamer_leq.data.sampling import EpisodeWindows, Transitions
from dreamer_leq.system.devices import ONE_DEVICE
from dreamer_leq.world_models.latent import (
    LatentNet,
    LatentWorldModel,
    ObservationSpec,
)
from dreamer_leq.world_models.rssm import RSSMState
from vd4rl_loader.row_file import RowFile

VECTOR, ACTIONS = 3, 2
LENGTHS = [7, 1, 12, 5, 4, 9, 2]
STATES = ("deter", "stoch")


def make_model(spec, unimix=0.0, **keys):
    """A tiny world model whose samples don't depend on the key: its logits are huge."""
    config = from_presets("debug", **{"latent.unimix": unimix}, **keys)
    net = LatentNet(config.latent, spec)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        names = [part.key for part in path]
        base = 1.0 if names[-1] == "scale" else 0.0
        huge = 1e6 if names[:3] == ["rssm", "posterior", "out"] else 1.0
        return jnp.float32(base + huge * rng.normal(size=leaf.shape) / 2)

    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree_util.tree_map_with_path(draw, shapes)
    return LatentWorldModel(jax.tree.map(jnp.asarray, params), net)


@pytest.fixture(scope="module")
def model():
    return make_model(ObservationSpec(0, VECTOR, ACTIONS))


def make_arrays(lengths=LENGTHS, seed=1):
    """Episodes one after the other, in arrival order."""
    rng, n = np.random.default_rng(seed), sum(lengths)
    is_first = np.concatenate([np.arange(length) == 0 for length in lengths])
    last = np.cumsum(lengths) - 1
    return {
        "vector": np.float32(rng.normal(size=(n, VECTOR))),
        "action": np.float32(rng.uniform(-1, 1, (n, ACTIONS))),
        "reward": np.float32(rng.normal(size=n)),
        "is_first": is_first,
        "is_terminal": np.isin(np.arange(n), last[::2]),
    }


def filtered(model, arrays):
    """Every episode on its own, step by step: deter [N, D], stoch [N, S]."""
    step = jax.jit(lambda *args: model.filter(*args))
    deter, stoch = [], []
    for t in range(len(arrays["action"])):
        names = (*model.net.encoders, "action", "is_first")
        entry = {name: arrays[name][t : t + 1] for name in names}
        if arrays["is_first"][t]:
            state = model.net.rssm.initial(1)
        state = step(state, entry, jax.random.key(t))
        deter.append(state.deter[0])
        stoch.append(state.stoch[0].argmax(-1))
    return np.stack(deter), np.stack(stoch)


# --- encode_dataset -------------------------------------------------------------------


@pytest.mark.parametrize("episodes, steps", [(3, 4), (16, 64), (1, 5), (7, 12)])
def test_every_row_is_the_filtered_state_of_its_episode(model, episodes, steps):
    """Also where neither episodes nor steps fill their groups."""
    arrays, reports = make_arrays(), []
    encoded = encode_dataset(
        model,
        arrays,
        jax.random.key(2),
        episodes=episodes,
        steps=steps,
        report=lambda done, total: reports.append((done, total)),
    )
    deter, stoch = filtered(model, arrays)
    assert encoded["deter"].dtype == np.float32 and encoded["stoch"].dtype == np.uint8
    np.testing.assert_allclose(encoded["deter"], deter, atol=1e-5)
    np.testing.assert_array_equal(encoded["stoch"], stoch)
    assert len(np.unique(stoch)) > 1
    done, totals = zip(*reports, strict=True)
    assert done[-1] == 40 and set(totals) == {40} and list(done) == sorted(done)


def test_several_samples_follow_one_another(model):
    """This model's samples are certain, so that all are alike; one of soft logits draws
    others.
    """
    arrays, key = make_arrays(), jax.random.key(2)
    reports = []
    thrice = dict(samples=3, report=lambda *counts: reports.append(counts))
    encode = partial(encode_dataset, arrays=arrays, key=key, episodes=3, steps=4)
    one, three = encode(model), encode(model, **thrice)
    for name in STATES:
        np.testing.assert_array_equal(three[name], np.concatenate([one[name]] * 3))
    assert reports[-1] == (120, 120)
    soft = make_model(ObservationSpec(0, VECTOR, ACTIONS), unimix=0.9)
    samples = encode(soft, **thrice)["stoch"].reshape(3, 40, -1)
    assert (samples[1] != samples[0]).any() and (samples[2] != samples[1]).any()


def test_nothing_leaks_from_one_episode_to_another(model):
    """A NaN in an episode spoils the rest of this episode alone."""
    arrays = make_arrays()
    arrays["action"][10] = np.nan  # in the third episode, rows 8 to 19
    encoded = encode_dataset(model, arrays, jax.random.key(3), episodes=3, steps=4)
    spoilt = ~np.isfinite(encoded["deter"]).all(1)
    np.testing.assert_array_equal(np.flatnonzero(spoilt), np.arange(10, 20))


def test_the_action_of_a_first_entry_counts_for_nothing(model):
    arrays = make_arrays()
    other = arrays | {"action": arrays["action"].copy()}
    other["action"][arrays["is_first"]] = 0.9
    given = jax.random.key(4)
    first, second = (encode_dataset(model, a, given) for a in (arrays, other))
    np.testing.assert_array_equal(first["deter"], second["deter"])
    later = arrays | {"action": arrays["action"] * 0.5}
    moved = np.abs(encode_dataset(model, later, given)["deter"] - first["deter"]).max(1)
    np.testing.assert_array_equal(moved > 0, ~arrays["is_first"])


def test_no_more_episodes_run_side_by_side_than_there_are(model, monkeypatch):
    """Copies that fill up the group would cost as much as episodes do."""
    sizes, observe = [], latents._observe_all

    def counted(model, state, batch, key):
        sizes.append(len(batch["action"]))
        return observe(model, state, batch, key)

    monkeypatch.setattr(latents, "_observe_all", counted)
    arrays = make_arrays()
    encode_dataset(model, arrays, jax.random.key(5), episodes=16)
    assert set(sizes) == {arrays["is_first"].sum()}


def test_one_posterior_sample_is_kept_and_the_key_draws_it():
    soft = make_model(ObservationSpec(0, VECTOR, ACTIONS), unimix=0.9)
    arrays = make_arrays()
    draws = [encode_dataset(soft, arrays, jax.random.key(i)) for i in (5, 5, 6)]
    np.testing.assert_array_equal(draws[0]["stoch"], draws[1]["stoch"])
    np.testing.assert_array_equal(draws[0]["deter"], draws[1]["deter"])
    assert (draws[0]["stoch"] != draws[2]["stoch"]).mean() > 0.3
    # before the first sample nothing is random
    first = arrays["is_first"]
    np.testing.assert_array_equal(draws[0]["deter"][first], draws[2]["deter"][first])


# --- from windows to transitions ------------------------------------------------------


def numbered_windows(batch=3, steps=4):
    """Entry t of window b carries the number 100 b + t in everything it has."""
    number = 100 * np.arange(batch)[:, None] + np.arange(steps)
    states = RSSMState(
        jnp.float32(number)[..., None] * jnp.ones(2),
        jax.nn.one_hot(number % 5, 5)[..., None, :] * jnp.ones((6, 1)),
    )
    windows = {
        "action": np.float32(number)[..., None] * np.ones(2),
        "reward": np.float32(number) + 0.5,
        "is_terminal": number % 4 == 3,
        "return": np.float32(number) + 0.25,
    }
    return number, states, windows


def test_a_transition_has_the_action_and_reward_that_arrived_with_its_successor():
    number, states, windows = numbered_windows()
    flat = jax.device_get(transitions(states, windows))
    before, after = number[:, :-1].ravel(), number[:, 1:].ravel()
    expected = {
        "deter": before[:, None] * np.ones(2),
        "stoch": (before % 5)[:, None] * np.ones(6),
        "return": before + 0.25,
        "next_deter": after[:, None] * np.ones(2),
        "next_stoch": (after % 5)[:, None] * np.ones(6),
        "action": after[:, None] * np.ones(2),
        "reward": after + 0.5,
        "cont": 1.0 - (after % 4 == 3),
    }
    assert set(flat) == set(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(flat[name], x, err_msg=name)


def test_without_returns_none_are_made():
    _, states, windows = numbered_windows()
    del windows["return"]
    assert "return" not in transitions(states, windows)


def test_transitions_of_windows_are_those_of_the_stored_latents(model):
    """Two ways to the same batch: encode again, or gather what was stored."""
    arrays = make_arrays([5, 5, 5])
    encoded = encode_dataset(model, arrays, jax.random.key(7))
    returns = {"return": np.arange(15, dtype=np.float32)}
    stored = arrays | encoded | returns
    windows = {name: x.reshape(3, 5, *x.shape[1:]) for name, x in stored.items()}
    stored["transition"] = np.flatnonzero(~arrays["is_first"][1:])
    gathered = Transitions(12, 12, STATES).gather(stored, np.arange(12))
    one_hot = jax.nn.one_hot(windows["stoch"], 4)
    flat = transitions(RSSMState(jnp.asarray(windows["deter"]), one_hot), windows)
    assert set(flat) == set(gathered)
    for name, x in flat.items():
        np.testing.assert_array_equal(x, gathered[name], err_msg=name)


# --- phases and sources ---------------------------------------------------------------


@struct.dataclass
class Recorder:
    """A phase that hands out what it was given."""

    world: LatentWorldModel

    def update(self, state, batch, key):
        return (batch, jax.random.key_data(key)), {"updates": state + 1}


def test_a_phase_that_encodes_again_sees_what_it_would_be_given_by_hand(model):
    arrays, steps = make_arrays([12] * 3), 6
    inside = lambda x: x.reshape(3, 12, *x.shape[1:])[:, 3 : 3 + steps]  # noqa: E731
    windows = jax.tree.map(inside, arrays)
    windows["return"] = np.random.default_rng(8).normal(size=(3, steps))
    assert not windows["is_first"].any()
    update = jax.jit(Reencoding(Recorder(model)).update)
    (batch, key), metrics = update(4, windows, jax.random.key(9))
    assert metrics == {"updates": 5}

    # by hand: every window is filtered as an episode of its own
    episodes = {k: np.concatenate(list(x)) for k, x in windows.items()}
    episodes["is_first"] = np.tile(np.arange(steps) == 0, 3)
    deter, stoch = filtered(model, episodes)
    by_window = lambda x: jnp.asarray(x.reshape(3, steps, -1))  # noqa: E731
    states = RSSMState(by_window(deter), jax.nn.one_hot(by_window(stoch), 4))
    expected = transitions(states, windows)
    assert set(batch) == set(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(batch[name], x, atol=1e-5, err_msg=name)
    assert not np.array_equal(key, jax.random.key_data(jax.random.key(9)))


@pytest.fixture(scope="module")
def image_model():
    keys = {"data.image_size": 16, "latent.image": "patch", "latent.mults": (1, 2)}
    return make_model(ObservationSpec(16, 0, ACTIONS), **keys)


def make_dataset():
    arrays = make_arrays()
    rng = np.random.default_rng(10)
    arrays["image"] = rng.integers(0, 256, (40, 16, 16, 3), np.uint8)
    return SimpleNamespace(**arrays)


REWARD = np.random.default_rng(12).normal(size=40).astype(np.float32)  # LEQ's view


def make_data(model, log):
    key, dataset = jax.random.key(11), make_dataset()
    return LatentData(model, dataset, REWARD, key, 4, 0.9, "auto", log)


def test_latents_are_encoded_once_and_only_when_asked_for(image_model):
    log = []
    data, phase = make_data(image_model, log.append), Recorder(image_model)
    assert data.phase(phase) is phase and not log
    sources = [data.source(batch, ("return",)) for batch in (5, 9)]
    assert sum("encoded 40 entries" in line for line in log) == 1
    assert [source.sampler for source in sources] == [
        Transitions(33, 5, STATES, 1, 0.9),
        Transitions(33, 9, STATES, 1, 0.9),
    ]
    arrays = sources[0].arrays
    assert "image" not in arrays and sources[1].arrays["deter"] is arrays["deter"]
    dataset = make_dataset()
    deter, stoch = filtered(image_model, vars(dataset))
    np.testing.assert_allclose(arrays["deter"], deter, atol=1e-5)
    np.testing.assert_array_equal(arrays["stoch"], stoch)
    np.testing.assert_array_equal(arrays["reward"], REWARD)
    assert (dataset.reward != REWARD).all()
    returns = monte_carlo_returns(REWARD, dataset.is_first, dataset.is_terminal, 0.9)
    np.testing.assert_array_equal(arrays["return"], returns)


def test_each_sample_of_the_latents_has_its_own_transitions(image_model):
    log = []
    one, data = (make_data(image_model, log.append) for _ in range(2))
    data.samples = 3
    source, single = (x.source(4, ("return", "rank")) for x in (data, one))
    assert any("encoded 120 entries" in line for line in log)
    assert source.sampler.transitions == 3 * 33
    for name in ("deter", "stoch", "action", "reward", "return", "rank"):
        thrice = np.concatenate([single.arrays[name]] * 3)
        np.testing.assert_array_equal(source.arrays[name], thrice)
    starts = np.asarray(source.arrays["transition"]).reshape(3, 33)
    assert (starts - starts[:1] == np.arange(0, 120, 40)[:, None]).all()


def test_returns_are_there_for_who_reads_them(image_model):
    data = make_data(image_model, log=lambda line: None)
    assert "return" not in data.source(4).arrays
    assert "return" in data.source(4, ("return",)).arrays


def test_where_latents_fit_nowhere_observations_are_encoded_again(
    image_model, monkeypatch
):
    """40 entries of 68 bytes don't fit into 1000; what is left goes to host memory."""
    monkeypatch.setattr(latents, "host_budget", lambda: 1000)
    log = []
    data, phase = make_data(image_model, log.append), Recorder(image_model)
    assert data.phase(phase) == Reencoding(phase)
    source = data.source(batch=10)
    assert isinstance(source.sampler, EpisodeWindows)
    assert (source.sampler.batch, source.sampler.length) == (4, 4)  # 4 * 3 >= 10
    assert len(log) == 1 and "encoded again" in log[0]
    feed = source.feed(jax.random.key(12), 0)
    chunk, _ = feed.data(0, 1)
    batch = feed.read(chunk, jax.random.key(12), 0)
    feed.close()
    # of 5 episodes that are long enough, with 4, 9, 2, 1 and 6 windows
    assert batch["image"].shape == (4, 4, 16, 16, 3)
    assert not np.asarray(batch["is_first"])[:, 1:].any()
    assert source.sampler.starts == len(source.arrays["starts"]) == 22


# --- on disk --------------------------------------------------------------------------


def kept_data(model, folder, log, dataset=None):
    key, dataset = jax.random.key(11), dataset or make_dataset()
    return LatentData(
        model, dataset, REWARD, key, 4, 0.9, "auto", log, ONE_DEVICE, folder
    )


@pytest.fixture
def no_memory(monkeypatch):
    """For nothing but the disk; every row is long enough to be read from there."""
    monkeypatch.setattr(latents, "host_budget", lambda: 1000)
    monkeypatch.setattr(sampling, "device_budget", lambda: 1000)
    monkeypatch.setattr(sampling, "SECTOR", 1)
    monkeypatch.setattr(latent_files, "_SECONDS_BETWEEN_RECORDS", 0.0)


def test_several_samples_are_kept_on_disk(image_model, tmp_path, no_memory):
    log = []
    data = kept_data(image_model, tmp_path / "latents", log.append)
    data.samples = 2
    source = data.source(8)
    assert any("encoded 80 entries" in line for line in log)
    every = np.arange(80)
    for name, one in zip(
        STATES, filtered(image_model, vars(make_dataset())), strict=True
    ):
        twice = np.concatenate([one, one])
        np.testing.assert_allclose(source.arrays[name][every], twice, atol=1e-5)


def test_latents_that_fit_into_no_memory_are_kept_on_disk(
    image_model, tmp_path, no_memory
):
    """The same as in memory, and gone when the phases are over."""
    log = []
    data = kept_data(image_model, tmp_path / "latents", log.append)
    phase = Recorder(image_model)
    assert data.phase(phase) is phase
    source = data.source(8, ("return",))
    assert {type(source.arrays[name]) for name in STATES} == {RowFile}
    assert "kept in" in log[0] and "on disk, read ahead" in log[-1]
    deter, stoch = filtered(image_model, vars(make_dataset()))
    every = np.arange(40)
    np.testing.assert_allclose(source.arrays["deter"][every], deter, atol=1e-5)
    np.testing.assert_array_equal(source.arrays["stoch"][every], stoch)
    batch = source.sampler.gather(source.arrays, np.arange(33))
    moved = np.abs(batch["next_deter"] - batch["deter"]).max(1)
    assert batch["deter"].shape == (33, 16) and (moved > 0).all()
    data.finish()
    assert not (tmp_path / "latents").exists()


@pytest.mark.parametrize("stop, reached", [(5, 0), (20, 8), (30, 25)])
def test_the_encoding_goes_on_where_it_was_interrupted(
    model, tmp_path, no_memory, stop, reached
):
    """At a group of two episodes, which begin at 0, 8, 25 and 38; those of another
    world model are made anew.
    """
    arrays, kinds = make_arrays(), latents.latent_kinds(model, 40)
    encode = partial(encode_dataset, model, arrays, jax.random.key(7), episodes=2)
    whole, reports = encode(steps=4), []

    def killed(done, total):
        if done > stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(steps=4, report=killed, files=LatentFiles(tmp_path, kinds, "model"))
    files = LatentFiles(tmp_path, kinds, "model")
    assert files.entries == reached
    report = lambda done, total: reports.append(done)  # noqa: E731
    found = encode(steps=4, report=report, files=files)
    assert reached < reports[0] <= reached + 8 and reports[-1] == 40
    for name in STATES:
        np.testing.assert_array_equal(found[name], whole[name])
    assert LatentFiles(tmp_path, kinds, "model").entries == 40
    assert LatentFiles(tmp_path, kinds, "another").entries == 0


def test_what_is_left_of_latents_may_be_anything(model, tmp_path):
    kinds = latents.latent_kinds(model, 40)
    LatentFiles(tmp_path, kinds, "model").record(40)
    record = (tmp_path / "encoded.json").read_text()
    RowFile.created(tmp_path / "deter.npy", (7, 2))
    assert LatentFiles(tmp_path, kinds, "model").entries == 0
    for text in ("", "[]", "{}", '{"key": "model"}', record[:-3]):
        (tmp_path / "encoded.json").write_text(text)
        assert LatentFiles(tmp_path, kinds, "model").entries == 0


def test_another_world_model_has_another_key(model):
    key = jax.random.key(1)
    changed = jax.tree.map(lambda x: x + (x == x.max()), model.params)
    keys = [
        key_of(model, key),
        key_of(model, jax.random.key(2)),
        key_of(LatentWorldModel(changed, model.net), key),
    ]
    assert len(set(keys)) == 3 and key_of(model, key) == keys[0]


def test_a_disk_without_room_is_not_begun_to_be_filled(
    image_model, tmp_path, no_memory, monkeypatch
):
    usage = SimpleNamespace(free=1 << 20)
    monkeypatch.setattr(latent_files.shutil, "disk_usage", lambda path: usage)
    data = kept_data(image_model, tmp_path / "latents", print)
    phase = Recorder(image_model)
    assert data.phase(phase) == Reencoding(phase)
    assert not (tmp_path / "latents").exists()
