"""Training of the ensemble against a second account of its rules in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.data.entries import training_data
from dreamer_leq.world_models.ensemble_training import (
    EnsembleTraining,
    abstract_best,
    elites,
    standardisation,
)
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet
from dreamer_leq.world_models.termination import Termination
from vd4rl_loader.states import RewardTransform, StateDataset
from vd4rl_loader.states.dataset import StateSpec

D, A = 2, 1
STILL = optax.sgd(0.0)

# compiled once for all phases of the same sizes
init = jax.jit(EnsembleTraining.init)
update = jax.jit(EnsembleTraining.update)
end_epoch = jax.jit(EnsembleTraining.end_epoch)


def make_dataset(lengths=(30, 50, 20), seed=0, draw=None):
    """Episodes of so many transitions, random or as `draw` makes (s', r) of (s, a)."""
    rng = np.random.default_rng(seed)
    n = sum(lengths) + len(lengths)
    offsets = np.cumsum([0, *(t + 1 for t in lengths)])
    is_first, is_last = np.zeros(n, bool), np.zeros(n, bool)
    is_first[offsets[:-1]] = is_last[offsets[1:] - 1] = True
    vector, reward = rng.normal(3, 2, (n, D)), rng.normal(size=n)
    action = rng.uniform(-1, 1, (n, A))
    action[is_first] = reward[is_first] = 0
    if draw:
        for i in np.flatnonzero(~is_first):
            vector[i], reward[i] = draw(rng, vector[i - 1], action[i])
    return StateDataset(
        vector=np.float32(vector),
        action=np.float32(action),
        reward=np.float32(reward),
        is_first=is_first,
        is_last=is_last,
        is_terminal=is_last & (rng.random(n) < 0.5),
        offsets=offsets,
        spec=StateSpec("d4rl", D, A),
        source_bytes=0,
    )


def make_training(optimizer=None, dataset=None, **keys):
    """The phase, its data on the device, and the state it begins with."""
    keys = {"ensemble." + name: value for name, value in keys.items()}
    c = from_presets("debug", **keys).ensemble
    net = EnsembleNet(c, D, A)
    phase = EnsembleTraining(net, optimizer or STILL)
    dataset = dataset or make_dataset()
    data = training_data(dataset, c.holdout, c.holdout_share, 7)
    data = jax.tree.map(jnp.asarray, data)
    return phase, data, init(phase, jax.random.key(1), data)


def transition(dataset, i):
    """(s, a) and [s' - s, r] of entry i and the one after it."""
    change = np.float64(dataset.vector[i + 1]) - dataset.vector[i]
    x = np.concatenate([dataset.vector[i], dataset.action[i + 1]], -1)
    return np.float64(x), np.concatenate([change, dataset.reward[i + 1][..., None]], -1)


# --- split and standardisation ---


@pytest.mark.parametrize("steps, held", [(99, 19), (6000, 1000), (3, 1)])
def test_a_fifth_but_at_most_a_thousand_is_held_out(steps, held):
    dataset = make_dataset([steps // 3] * 3)
    data = training_data(dataset, 1000, 0.2, 0)
    train, holdout = data["train"], data["holdout"]
    assert len(holdout) == held
    rows = np.concatenate([train, holdout])
    expected = np.flatnonzero(~dataset.is_last)
    np.testing.assert_array_equal(np.sort(rows), expected)
    assert not dataset.is_first[rows + 1].any()


def test_the_split_is_random_and_the_seeds():
    dataset = make_dataset([1000])
    first, again, other = (
        training_data(dataset, 1000, 0.2, seed)["holdout"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < 100
    assert 400 < first.mean() < 600 and first.min() < 50 and first.max() > 950


def test_the_model_sees_raw_rewards():
    dataset = make_dataset()
    data = training_data(dataset, 1000, 0.2, 0)
    np.testing.assert_array_equal(data["reward"], dataset.reward)


def test_inputs_are_standardised_by_the_training_transitions_alone():
    dataset = make_dataset()
    _, data, state = make_training(dataset=dataset)
    dataset.vector[:, 0] = 4.0
    rows = np.asarray(data["holdout"])
    dataset.vector[rows, 1] += 1e3
    data |= {"vector": jnp.asarray(dataset.vector)}
    mean, std = standardisation(data)
    x, _ = transition(dataset, np.asarray(data["train"]))
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(std, [1.0, *x.std(0)[1:]], rtol=1e-4)
    assert np.ptp(state.best.std) > 0.1  # and those of `init` are the data's


@pytest.mark.parametrize("value", [0.0, 0.3, -1.25, 1e4, 1e-4, "a last bit"])
def test_a_number_that_never_changes_keeps_its_unit(value):
    dataset = make_dataset([3000])
    if value == "a last bit":  # as other arithmetic would have left it
        bit = np.nextafter(np.float32(0.3), np.float32(1))
        value = np.where(np.arange(3001) % 2, np.float32(0.3), bit)
    dataset.vector[:, 0] = value
    dataset.action[:, 0] = 0.3  # of a motor that nobody uses
    _, data, _ = make_training(dataset=dataset)
    mean, std = standardisation(data)
    np.testing.assert_allclose(mean[0], np.mean(value), rtol=1e-6)
    assert std[0] == 1 and std[D] == 1 and (std[1:D] > 1.5).all()


def test_small_changes_of_large_numbers_are_changes():
    dataset = make_dataset([3000])
    change = np.random.default_rng(0).normal(0, 0.1, 3001)
    dataset.vector[:, 0] = 1000 + change
    _, data, _ = make_training(dataset=dataset)
    mean, std = standardisation(data)
    np.testing.assert_allclose(std[0], change.std(), rtol=0.02)
    np.testing.assert_allclose(mean[0], 1000, rtol=1e-5)


# --- bootstrap and epochs ---


def test_every_member_draws_its_own_bootstrap_with_replacement():
    dataset = make_dataset([1500])
    _, data, state = make_training(dataset=dataset, members=4, elites=2)
    train, order = np.asarray(data["train"]), np.asarray(state.order)
    assert order.shape == (4, len(train)) == (4, 1200)
    assert np.isin(order, train).all()
    counts = np.stack([np.isin(train, row) for row in order])
    # 1 - 1/e of all rows, each member with others
    np.testing.assert_allclose(counts.mean(1), 1 - np.exp(-1), atol=0.04)
    assert np.abs(np.corrcoef(counts) - np.eye(4)).max() < 0.12
    times = [(row[:, None] == train).sum(0) for row in order]
    np.testing.assert_allclose(np.var(times, axis=1), 1.0, atol=0.2)


def test_epochs_shuffle_what_was_drawn_once_each_member_for_itself():
    phase, data, state = make_training(members=3)
    # the same rows for all, so that equal shuffles would be seen
    state = state.replace(order=jnp.tile(state.order[:1], (3, 1)))
    before = np.asarray(state.order)
    orders = []
    for epoch in range(3):
        state, _ = end_epoch(phase, state, data, jax.random.key(epoch))
        orders.append(np.asarray(state.order))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.sort(before))
    rows = np.concatenate([before[:1], *orders])
    assert len(np.unique(rows, axis=0)) == len(rows)
    same = (rows[:, None] == rows[None]).mean(-1)
    assert (same - np.eye(len(rows))).max() < 0.2


def test_an_epoch_takes_every_batch_of_the_order_in_turn():
    dataset = make_dataset()
    phase, data, state = make_training(optax.sgd(1e-3), dataset, batch=16, members=3)
    assert phase.updates_per_epoch(state.order.shape[1]) == 80 // 16
    mean, std = (np.asarray(x) for x in (state.best.mean, state.best.std))
    for i in range(5):
        rows = np.asarray(state.order)[:, 16 * i : 16 * (i + 1)]
        x, target = transition(dataset, rows)
        before = phase.net.predict(state.params, np.float32((x - mean) / std))
        state, metrics = update(phase, state, data, jax.random.key(0))
        error = (np.asarray(before[0]) - target) ** 2
        assert metrics["mse"] == pytest.approx(error.mean(), rel=1e-4)
        fit = error * np.exp(-before[1]) + before[1]
        assert metrics["nll"] == pytest.approx(float(fit.mean()), rel=1e-4)
    state, _ = end_epoch(phase, state, data, jax.random.key(0))
    assert state.position == 0


def test_fewer_transitions_than_a_batch_are_one_batch():
    phase, data, state = make_training(dataset=make_dataset([10]), batch=64)
    assert (phase.batch(8), phase.updates_per_epoch(8)) == (8, 1)
    state, metrics = update(phase, state, data, jax.random.key(0))
    assert np.isfinite(metrics["loss"])


# --- validation and early stopping ---


def test_validation_is_the_squared_error_of_the_mean_in_raw_units():
    dataset = make_dataset()
    phase, data, state = make_training(dataset=dataset)
    state, metrics = end_epoch(phase, state, data, jax.random.key(0))
    x, target = transition(dataset, np.asarray(data["holdout"]))
    x = np.float32((x - state.best.mean) / state.best.std)
    mean, _ = phase.net.predict(state.params, jnp.broadcast_to(x, (3, *x.shape)))
    expected = ((np.asarray(mean) - target) ** 2).mean((1, 2))
    np.testing.assert_allclose(state.best.error, expected, rtol=1e-4)
    assert metrics["holdout_error"] == pytest.approx(expected.mean(), rel=1e-4)


def still_life():
    """Nothing changes and nothing is paid: a member's error is its prediction's."""
    dataset = make_dataset(draw=lambda rng, s, a: (s, 0.0))
    dataset.vector[:] = dataset.vector[:1]
    return dataset


def predicting(params, error, bounds):
    """Members that predict the same whatever they see, with these errors."""
    params = jax.tree.map(jnp.zeros_like, params)
    bias = params["layers"][-1]["bias"]
    value = jnp.float32(np.sqrt(error))[:, None, None]
    params["layers"][-1]["bias"] = bias.at[..., : D + 1].set(value)
    # something in another layer that only the same epoch has
    params["layers"][0]["bias"] += value
    return params | {"min_logvar": jnp.full(D + 1, -5.0 - bounds)}


def numpy_early_stopping(errors, patience):
    """Records, the epochs they are from, and how many epochs there were."""
    best, since = [1e10] * errors.shape[1], [None] * errors.shape[1]
    quiet = 0
    for epoch, row in enumerate(errors):
        improved = False
        for member, error in enumerate(row):
            if (best[member] - error) / best[member] > 0.01:
                best[member], since[member], improved = error, epoch, True
        quiet = 0 if improved else quiet + 1
        if quiet == patience:
            break
    return np.array(best), since, epoch + 1


@pytest.mark.parametrize("seed", range(4))
def test_early_stopping_and_snapshots(seed):
    rng = np.random.default_rng(seed)
    # falls that are now above, now below one percent, and ever rarer
    falls = rng.normal(0.012, 0.004, (60, 3))
    falls[rng.random((60, 3)) < np.linspace(0.3, 1, 60)[:, None]] = -0.002
    errors = 2.0 * np.cumprod(1 - falls, 0) * [1.0, 1.5, 0.7]
    best, since, epochs = numpy_early_stopping(errors, patience=5)
    assert 5 < epochs < 60 and len({*since}) > 1

    phase, data, state = make_training(dataset=still_life(), patience=5, members=3)
    done = 0
    while not phase.finished(state):
        given = predicting(state.params, errors[done], bounds=done)
        state, metrics = end_epoch(
            phase, state.replace(params=given), data, jax.random.key(done)
        )
        np.testing.assert_allclose(
            metrics["holdout_error"], errors[done].mean(), rtol=1e-4
        )
        done += 1
    assert done == epochs
    np.testing.assert_allclose(state.best.error, best, rtol=1e-4)
    layers = state.best.params["layers"]
    for member, epoch in enumerate(since):
        value = np.sqrt(errors[epoch, member])
        for kept in (layers[0]["bias"], layers[-1]["bias"][..., : D + 1]):
            np.testing.assert_allclose(kept[member], value, rtol=1e-5)
    # the bounds of the log-variance are the last ones, not those of any record
    bounds = state.best.params["min_logvar"]
    np.testing.assert_allclose(bounds, -5.0 - (epochs - 1), rtol=1e-6)


def test_training_goes_on_from_the_last_parameters_not_the_best():
    phase, data, state = make_training(dataset=still_life(), members=3)
    for error in (1.0, 2.0):
        given = predicting(state.params, np.full(3, error), 0)
        state, _ = end_epoch(
            phase, state.replace(params=given), data, jax.random.key(0)
        )
    last = np.asarray(state.params["layers"][-1]["bias"])[..., : D + 1]
    np.testing.assert_allclose(last, np.sqrt(2.0), rtol=1e-6)
    np.testing.assert_allclose(state.best.error, 1.0, rtol=1e-5)
    assert state.stale == 1


def test_elites_are_the_members_with_the_smallest_records():
    phase, _, state = make_training(members=7, elites=5)
    error = np.float32([0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.4])
    best = state.best.replace(
        error=jnp.asarray(error),
        params=state.best.params | {"max_logvar": jnp.arange(3.0)},
    )
    rule = Termination("never")
    model = elites(best, phase.net, rule, RewardTransform(2.5, -1.0))
    assert model.members == 5
    kept, given = model.params["layers"][1], best.params["layers"][1]
    chosen = {
        int(np.flatnonzero((given["kernel"] == one).all((1, 2)))[0])
        for one in kept["kernel"]
    }
    assert chosen == {0, 1, 3, 4, 6}
    np.testing.assert_array_equal(model.params["max_logvar"], [0, 1, 2])
    np.testing.assert_array_equal(model.mean, state.best.mean)
    np.testing.assert_array_equal(model.std, state.best.std)
    assert (model.reward_scale, model.reward_bias) == (2.5, -1.0)
    assert model.termination == rule
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), abstract_best(phase.net))
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), best)


# --- learned ends ---


def test_the_learned_end_is_fitted_to_the_successors_flags():
    dataset = make_dataset([4] * 30)
    _, data, state = make_training(dataset=dataset)
    c = from_presets("debug", **{"ensemble.termination": "learned"}).ensemble
    phase = EnsembleTraining(EnsembleNet(c, D, A), STILL)
    shapes = jax.eval_shape(phase.net.init, jax.random.key(0))["termination"]
    rng = np.random.default_rng(0)
    ends = jax.tree.map(lambda x: np.float32(0.1 * rng.normal(size=x.shape)), shapes)
    state = state.replace(params=state.params | {"termination": ends})
    _, metrics = update(phase, state, data, jax.random.key(0))
    after = np.asarray(state.order)[0, : phase.batch(96)] + 1
    x = (dataset.vector[after] - state.best.mean[:D]) / state.best.std[:D]
    logit = np.float64(phase.net.terminal_logit(state.params, jnp.asarray(x)))
    p = 1 / (1 + np.exp(-logit))
    ended = dataset.is_terminal[after]
    assert 0.05 < ended.mean() < 0.5
    expected = -np.where(ended, np.log(p), np.log(1 - p)).mean()
    assert metrics["termination_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["loss"] > metrics["nll"]


def make_walks(ends):
    """Walks of which `ends` says, of (s, a), whether a step is an end; they go on."""
    dataset = make_dataset([100] * 20)
    before, after = (dataset.vector[:-1], dataset.action[1:, 0])
    terminal = np.append(False, ends(before, after)) & ~dataset.is_first
    return dataclasses.replace(dataset, is_terminal=terminal)


def departing(s, a):
    """An end that the successor, which is random here, says nothing about."""
    return s[:, 0] + 2 * a > 4.5


def learning_ends(ends, updates):
    """The ensemble of a task without a rule after so many updates on `make_walks`."""
    _, data, _ = make_training(dataset=make_walks(ends))
    net = EnsembleNet(from_presets("debug").ensemble, D, A, learns_ends=True)
    phase = EnsembleTraining(net, optax.adam(2e-3))
    state = init(phase, jax.random.key(1), data)
    for i in range(updates):
        state, _ = update(phase, state, data, jax.random.key(0))
        if i % phase.updates_per_epoch(1600) == 0:
            state, _ = end_epoch(phase, state, data, jax.random.key(i))
    state, _ = end_epoch(phase, state, data, jax.random.key(updates))
    return elites(state.best, net, Termination("learned"), RewardTransform(1.0, 0.0))


def test_ends_of_a_task_without_a_rule_are_learned_from_state_and_action():
    model = learning_ends(departing, 250)
    rng = np.random.default_rng(9)
    s, a = rng.normal(3, 2, (500, D)), rng.uniform(-1, 1, (500, A))
    noise = model.noise(jax.random.key(4), 500)
    _, _, cont = model.step(s, a, noise)
    assert set(np.unique(cont)) == {0.0, 1.0}
    assert ((cont == 0) == departing(s, a[:, 0])).mean() > 0.96
    np.testing.assert_array_equal(model.member_step(s, a, noise, 1)[2], cont)


def test_data_without_an_end_have_none_anywhere():
    model = learning_ends(lambda s, a: np.zeros(len(s), bool), 3)
    rng = np.random.default_rng(9)
    s, a = 1e4 * rng.normal(size=(500, D)), rng.uniform(-1, 1, (500, A))
    assert model.step(s, a, model.noise(jax.random.key(4), 500))[2].all()


# --- a system that is known ---

SWING = np.array([[0.9, 0.3], [-0.3, 0.9]])
PUSH, PAY = np.array([0.5, -0.2]), np.array([0.3, -0.7])
NOISE, REWARD_NOISE = np.array([0.1, 0.3]), 0.2


def linear(rng, s, a):
    reward = PAY @ s + 0.5 * a[0] + REWARD_NOISE * rng.normal()
    return SWING @ s + PUSH * a[0] + NOISE * rng.normal(size=D), reward


@pytest.fixture(scope="module")
def linear_system():
    """An ensemble trained on it for some epochs, whole."""
    phase, data, state = make_training(
        optax.adam(2e-3),
        make_dataset([100] * 40, draw=linear),
        members=4,
        elites=3,
        units=24,
        batch=128,
    )
    epoch = phase.updates_per_epoch(state.order.shape[1])
    key = jax.random.key(0)

    @jax.jit
    def train(state):
        def one_update(state, _):
            return phase.update(state, data, key)[0], None

        def one(state, key):
            state, _ = jax.lax.scan(one_update, state, None, epoch)
            return phase.end_epoch(state, data, key)

        return jax.lax.scan(one, state, jax.random.split(key, 30))

    state, metrics = train(state)
    rule = Termination("never")
    return elites(state.best, phase.net, rule, RewardTransform(1.0, 0.0)), metrics


def probes(n=200):
    rng = np.random.default_rng(9)
    s, a = rng.normal(size=(n, D)), rng.uniform(-1, 1, (n, A))
    mean = s @ SWING.T + a * PUSH, s @ PAY + 0.5 * a[:, 0]
    return np.float32(s), np.float32(a), mean


def test_a_linear_gaussian_system_is_recovered(linear_system):
    model, metrics = linear_system
    s, a, (successor, reward) = probes()
    x = (np.concatenate([s, a], -1) - model.mean) / model.std
    x = jnp.broadcast_to(x, (3, *x.shape))
    mean, logvar = model.net.predict(model.params, x)
    for member in range(3):
        off = np.asarray(mean[member, :, :D]) + s - successor
        assert np.sqrt((off**2).mean(0)).max() < 0.06
        off = np.asarray(mean[member, :, D]) - reward
        assert np.sqrt((off**2).mean()) < 0.06
    noise = np.exp(0.5 * np.asarray(logvar)).mean((0, 1))
    np.testing.assert_allclose(noise, [*NOISE, REWARD_NOISE], rtol=0.2)
    floor = (np.square(NOISE).sum() + REWARD_NOISE**2) / 3
    assert metrics["best_holdout_error"][-1] == pytest.approx(floor, rel=0.15)


def test_its_steps_are_the_systems(linear_system):
    model, _ = linear_system
    s, a, (successor, reward) = probes(50)
    keys = jax.random.split(jax.random.key(4), 400)
    step = lambda key: model.step(s, a, model.noise(key, 50))  # noqa: E731
    steps = jax.jit(jax.vmap(step))(keys)
    np.testing.assert_allclose(steps[0].mean(0), successor, atol=0.2)
    np.testing.assert_allclose(steps[1].mean(0), reward, atol=0.2)
    spread = np.asarray(steps[0]).std(0).mean(0)
    np.testing.assert_allclose(spread, NOISE, rtol=0.2)
    assert np.asarray(steps[1]).std(0).mean() == pytest.approx(REWARD_NOISE, rel=0.2)
