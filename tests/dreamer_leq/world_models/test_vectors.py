"""State vectors without a model: what the networks see, and what is left out."""

import jax.numpy as jnp
import numpy as np
import pytest
import report_files as files
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import config as configs
from dreamer_leq.pages.report.page import page
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.world_models.vectors import Vectors
from vd4rl_loader.collection.pointmaze import collect_pointmaze

STATES = np.float32([[1, 5, 2], [3, 5, 0], [5, 5, 4], [7, 5, 2]])


def test_standardised_features():
    """(s - mean) / (std + 0.001); what never changes is 0, and finite."""
    world = Vectors.of(STATES, standardize=True)
    found = world.features(jnp.asarray(STATES))
    expected = (STATES - [4, 5, 2]) / (np.array([5**0.5, 0, 2**0.5]) + 1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert world.feature_size == 3


def test_raw_features_are_the_states():
    world = Vectors.of(STATES, standardize=False)
    np.testing.assert_array_equal(world.features(jnp.asarray(STATES)), STATES)
    np.testing.assert_array_equal(world.action_features(STATES), STATES)


def test_a_batch_holds_the_states_themselves():
    world = Vectors.of(STATES, standardize=True)
    batch = {"vector": STATES[:2], "next_vector": STATES[2:]}
    np.testing.assert_array_equal(world.starts(batch), STATES[:2])
    np.testing.assert_array_equal(world.successors(batch), STATES[2:])
    seen = world.filter(world.initial(2), batch, None)
    np.testing.assert_array_equal(seen, STATES[:2])
    assert world.initial(2).shape == (2, 3)
    np.testing.assert_array_equal(world.decode(seen)["vector"], STATES[:2])


@pytest.mark.parametrize(
    "keys, said",
    [
        ({}, "world_model: leq imagines, not with vectors: give --world_model latent"),
        ({"algorithm": "mobile"}, "not with vectors: give --world_model mlp_ensemble"),
        (
            {"task": "walker_walk-medium", "algorithm": "bc"},
            "world_model: vectors reads state vectors, walker_walk-medium has pixels",
        ),
    ],
)
def test_what_needs_a_model_is_refused(keys, said):
    with pytest.raises(dl.UserError, match=said):
        configs.from_presets("hopper", "debug", world_model="vectors", **keys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    data = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    keys = dict(task="pointmaze-umaze", algorithm="bc", world_model="vectors")
    return write_run(place / "run", data, "maze", **keys).path


def test_a_loaded_run_acts_but_does_not_imagine(folder):
    run = dl.load_run(folder)
    assert run.members == 0
    entries = {"vector": STATES[:3, :2], "action": np.zeros((3, 2), np.float32)}
    latents = run.encode(entries)
    np.testing.assert_array_equal(latents.features, STATES[:3, :2])
    action, _ = run.act(run.initial(), {"vector": STATES[0, :2], "is_first": True})
    assert action.shape == (2,)
    with pytest.raises(
        dl.UserError, match="run has no world model of single steps to imagine with"
    ):
        run.imagine(latents, np.zeros((3, 2)))


def test_a_report_has_no_section_of_a_model(tmp_path):
    folder = files.write_run(tmp_path / "run")
    assert "Is the model lying?" in page(RunFiles(folder))
    keys = dict(world_model="vectors", algorithm="bc", task="hopper-medium")
    configs.save(configs.from_presets("debug", **keys), folder / "config.yaml")
    found = page(RunFiles(folder))
    assert "Is the model lying?" not in found and "Is the value lying?" in found
    assert "BC · state vectors" in found
