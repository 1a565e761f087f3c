"""Batches over four devices: the numbers of one device, for a part of the work each.

The devices are virtual ones of the CPU, which a process has to be started with: the
test runs this file as a program.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_leq import UserError
from dreamer_leq.algorithms.leq.learner import LEQ
from dreamer_leq.config import from_presets
from dreamer_leq.data.entries import transition_starts
from dreamer_leq.data.latents import Reencoding, encode_dataset
from dreamer_leq.data.sampling import (
    EpisodeWindows,
    Everything,
    Transitions,
    Windows,
    place,
    window_starts,
)
from dreamer_leq.run import build
from dreamer_leq.run.phases import refreshed
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.training import loop
from dreamer_leq.world_models.ensemble_training import EnsembleTraining
from dreamer_leq.world_models.latent import LatentWorldModel, ObservationSpec
from dreamer_leq.world_models.latent_training import WorldModelState, WorldModelTraining
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble

ROOT = Path(__file__).resolve().parents[3]
DEVICES, BATCH, ENTRIES, LENGTH, UPDATES = 4, 64, 300, 4, 3
SPEC = ObservationSpec(0, 11, 3)  # a hopper's
KEYS = {
    "task": "hopper-medium",
    **{f"{phase}.batch": BATCH for phase in ("latent", "ensemble", "leq")},
    **{"latent.optimizer.kind": "adam", "latent.optimizer.eps": 1e-8},
    **{"expansion.starts": BATCH, "bc.critic": "monte_carlo", "leq.return_norm": True},
}
STATES = from_presets("d4rl_mujoco", "debug", **KEYS)
RSSM = from_presets("d4rl_rssm", "debug", **KEYS)
PHASES = ("world_model", "ensemble", "leq", "reencoding")


# --- what a process finds out with its devices


def entries():
    """Three episodes of random numbers."""
    rng = np.random.default_rng(0)
    arrays = {
        "vector": rng.normal(size=(ENTRIES, SPEC.vector_size)),
        "action": rng.uniform(-1, 1, (ENTRIES, SPEC.action_size)),
        "reward": rng.normal(size=ENTRIES),
        "return": rng.normal(size=ENTRIES),
        "is_terminal": rng.random(ENTRIES) < 0.1,
    }
    arrays = {name: np.float32(array) for name, array in arrays.items()}
    return arrays | {"is_first": np.arange(ENTRIES) % 100 == 0}


DATA = entries()


def parameters(init, *sizes):
    """Random numbers in the shapes of `init`: without a beginning's zeros, where
    gradients are rounding errors, and without compiling.
    """
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: init(key, *sizes), jax.random.key(0))
    return jax.tree.map(lambda x: np.float32(0.3 * rng.normal(size=x.shape)), shapes)


def beginning(init, params):
    """`init(params)` with zeros for what isn't in `params`."""
    zeros = lambda x: np.zeros(x.shape, x.dtype)  # noqa: E731
    return jax.tree.map(zeros, jax.eval_shape(init, params)).replace(params=params)


def learned(learner, params):
    """The first state of a learner with these networks."""
    varied = {"tau": jnp.float32(0.3)} if isinstance(learner, LEQ) else {}
    init = lambda p: learner.init(jax.random.key(0), varied, p)  # noqa: E731
    state = beginning(init, params).replace(hyper=varied)
    return state.replace(target={"critic": params["critic"]})


def world_model(devices):
    net, optimizer = build.latent_net(RSSM, SPEC), RSSM.latent.optimizer
    phase = WorldModelTraining(net, build.optimizer(optimizer, 10))
    source, _ = place(DATA, Windows(ENTRIES, BATCH, LENGTH), "device", devices)
    start = lambda p: WorldModelState(p, phase.optimizer.init(p))  # noqa: E731
    return phase, beginning(start, parameters(net.init)), source


def ensemble(devices):
    net = build.ensemble_net(STATES, SPEC)
    phase = EnsembleTraining(net, optax.adam(1e-3))
    starts = transition_starts(DATA["is_first"], DATA["is_terminal"])
    data = DATA | {"train": starts[30:], "holdout": starts[:30]}
    state = jax.jit(phase.init)(jax.random.key(0), data)
    return phase, state, place(data, Everything(), "device", devices)[0]


def learner_of_states(name, devices):
    """Learner, parameters and transitions, against an untrained ensemble."""
    net, size = build.ensemble_net(STATES, SPEC), SPEC.vector_size + SPEC.action_size
    mean, std = np.zeros(size, np.float32), np.ones(size, np.float32)
    scale, bias = np.float32(1), np.float32(0)
    ends = build.termination(STATES)
    model = MLPEnsemble(parameters(net.init), mean, std, scale, bias, net, ends)
    learner = build.learner(STATES, name, model, SPEC.action_size)
    starts = transition_starts(DATA["is_first"], DATA["is_terminal"])
    sampler = Transitions(len(starts), BATCH, ("vector",))
    source, _ = place(DATA | {"transition": starts}, sampler, "device", devices)
    return learner, parameters(learner.networks), source


def leq(devices):
    """From an expanded dataset."""
    learner, params, source = learner_of_states("leq", devices)
    batch = source.sample(jax.random.key(2), learner.refresh_rows)
    state = devices.replicate(learned(learner, params))
    with devices.in_use():
        state, _ = refreshed(1, learner, state, batch, jax.random.key(3))
    return learner, state, source


def reencoding(devices):
    """LEQ on latents, from windows in host memory that are encoded in the update."""
    net = build.latent_net(RSSM, SPEC)
    model = LatentWorldModel(parameters(net.init), net)
    learner = build.learner(RSSM, "leq", model, SPEC.action_size)
    params = parameters(learner.networks)
    starts = window_starts(DATA["is_first"], LENGTH)
    sampler = EpisodeWindows(len(starts), BATCH // 4, LENGTH)
    source, _ = place(DATA | {"starts": starts}, sampler, "host", devices)
    return Reencoding(learner), learned(learner, params), source


def measured(phase, state, source, devices):
    """Metrics after each update, the last state, and one device's operations."""
    key = jax.random.key(4)
    feed = source.feed(key, 0)
    state, phase = devices.replicate((state, phase))
    with devices.in_use():
        data, _ = feed.data(0, 1)
        updates = partial(loop._updates, feed.read)
        metrics = jax.eval_shape(updates, phase, data, state, key, 0)[1]
        totals = {name: jnp.zeros(()) for name in metrics}
        args = (phase, data, state, devices.replicate(totals), key)
        advance = loop._advance.lower(feed.read, *args, 0, 1).compile()
        found = []
        for step in range(UPDATES):
            data, _ = feed.data(step, 1)
            state, totals = advance(phase, data, state, totals, key, step, 1)
            found.append({name: float(x) for name, x in totals.items()})
    feed.close()
    whole = all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
    flat = [np.ravel(x) for x in jax.tree.leaves(jax.device_get(state))]
    last = np.concatenate(flat).astype(float).tolist()
    return found, last, advance.cost_analysis()["flops"], whole


def encoded(devices):
    net = build.latent_net(RSSM, SPEC)
    model = LatentWorldModel(parameters(net.init), net)
    sizes = dict(episodes=2, steps=20)  # fewer episodes than devices
    latents = encode_dataset(model, DATA, jax.random.key(5), **sizes, devices=devices)
    return {name: array.astype(float).tolist() for name, array in latents.items()}


def main():
    jax.config.update("jax_disable_most_optimizations", True)
    count = jax.device_count()
    devices = Devices.of({"data": count}) if count > 1 else ONE_DEVICE
    found = {name: measured(*globals()[name](devices), devices) for name in PHASES}
    print(json.dumps(found | {"encoded": encoded(devices)}))


# --- and what it should


def started(count):
    """A process with so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count="
    environment = {"XLA_FLAGS": f"{flags}{count}", "PYTHONPATH": str(ROOT)}
    environment = os.environ | environment
    command, pipe = [sys.executable, __file__], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe)


@pytest.fixture(scope="module")
def found():
    """By name, what one device and what four have measured."""
    both = [started(count) for count in (1, DEVICES)]  # side by side
    alone, together = (json.loads(p.communicate(timeout=300)[0]) for p in both)
    return {name: (alone[name], together[name]) for name in alone}


@pytest.mark.parametrize("phase", PHASES)
def test_losses_are_those_of_one_device(found, phase):
    (alone, *_), (together, *_) = found[phase]
    assert len(alone) == len(together) == UPDATES
    for one, four in zip(alone, together, strict=True):
        assert four == pytest.approx(one, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("phase", PHASES)
def test_so_is_all_that_is_trained(found, phase):
    (_, alone, *_), (_, together, *_) = found[phase]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("phase", PHASES)
def test_every_device_does_a_part_of_the_work(found, phase):
    (*_, alone, _), (*_, together, _) = found[phase]
    assert together < 0.32 * alone  # the optimiser's are not divided


@pytest.mark.parametrize("phase", PHASES)
def test_every_device_has_the_whole_state(found, phase):
    assert found[phase][1][-1]


def test_latents_are_those_of_one_device(found):
    alone, together = found["encoded"]
    np.testing.assert_allclose(together["deter"], alone["deter"], atol=1e-5)
    assert together["stoch"] == alone["stoch"]


# --- without a mesh, and without enough devices


def test_random_numbers_do_not_depend_on_the_devices():
    """What everything above rests on: JAX's default."""
    assert jax.config.jax_threefry_partitionable


def test_one_device_leaves_arrays_as_they_are():
    x = {"a": jnp.ones(3)}
    assert ONE_DEVICE.replicate(x)["a"] is x["a"]
    assert ONE_DEVICE.local(x) is x
    assert Devices.of({}) == ONE_DEVICE and ONE_DEVICE.count == 1
    assert np.arange(6)[ONE_DEVICE.rows(6)].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_mesh_of_one_is_a_mesh():
    devices = Devices.of({"data": 1})
    x = devices.replicate({"a": np.ones(3)})["a"]
    assert x.sharding.mesh == devices.mesh
    assert devices.local(x).sharding == jnp.ones(3).sharding


def test_too_few_devices_are_refused():
    there = jax.device_count()
    with pytest.raises(UserError) as refusal:
        Devices.of({"data": there + 1})
    assert f"needs {there + 1} devices, there are {there}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


if __name__ == "__main__":
    main()
