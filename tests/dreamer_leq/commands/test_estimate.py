"""What an estimate is made of, and says in words."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dreamer_leq import config as configs
from dreamer_leq.commands.estimate import open_split, sentence
from dreamer_leq.run import build
from dreamer_leq.world_models.latent import ObservationSpec

FQE = {"value": -59.5, "low": -61.0, "high": -58.0, "drift": 0.2, "residual": -1.25}
FOUND = {
    "episodes": 12,
    "fqe": FQE | {"converged": True},
    "calibration": {"bias": -3.0},
    "critic": -62.5,
    "data_return": -91.7,
    "data_received": -34.1,
}


def test_what_was_received_is_told_from_what_is_assumed():
    text = sentence(FOUND)
    assert "worth -59.5 (-61.0 … -58.0)" in text and "give or take 1.2 by" in text
    assert "they received -34.1, and -57.6 is assumed behind where they were" in text
    whole = sentence(FOUND | {"data_return": -34.1})
    assert "received -34.1. Its own critic says -62.5" in whole and "3.0 below" in whole


@pytest.mark.parametrize("value", [25.1, 1e9])
def test_a_fit_that_has_not_converged_has_no_interval(value):
    fqe = FQE | {"converged": False, "value": value, "low": None, "high": None}
    text = sentence(FOUND | {"fqe": fqe | {"drift": 241.6}})
    assert "is not known" in text and "has not converged" in text and "…" not in text
    assert f"it says {value:.1f}, and would still move by about +241.6" in text


EPISODES, LENGTH = 6, 5


@pytest.fixture
def dataset():
    """Episodes of a vector and an action, without ends."""
    rng, n = np.random.default_rng(0), EPISODES * LENGTH
    return SimpleNamespace(
        vector=rng.normal(size=(n, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        reward=np.ones(n, np.float32),
        is_first=np.arange(n) % LENGTH == 0,
        is_terminal=np.zeros(n, bool),
    )


@pytest.mark.parametrize("samples", [1, 3])
def test_samples_of_an_episode_are_not_further_episodes(tmp_path, dataset, samples):
    given = {"logdir": str(tmp_path), "encoding.samples": samples}
    config = configs.from_presets("debug", **given)
    net = build.latent_net(config, ObservationSpec(0, 3, 2))
    world = build.latent_world_model(config, net.init(jax.random.key(0)), net)
    facts = SimpleNamespace(rewards=lambda dataset: dataset.reward)
    folder = SimpleNamespace(config=config, facts=facts)
    _, split = open_split(folder, world, dataset, lambda text: None)
    steps = LENGTH - 1
    assert split.first.tolist() == [True, *[False] * (steps - 1)]  # of one held out
    assert len(split.held_out["reward"]) == steps
    assert len(split.fit.arrays["transition"]) == (EPISODES - 1) * steps
    assert len(split.fit.arrays["deter"]) == EPISODES * LENGTH
