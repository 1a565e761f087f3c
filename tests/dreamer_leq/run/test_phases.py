"""Phases of a run, without a dataset."""

from contextlib import nullcontext
from types import SimpleNamespace

import jax
import pytest

from dreamer_leq import config as configs
from dreamer_leq.run import build
from dreamer_leq.run.phases import LearnerPhase
from dreamer_leq.world_models.latent import ObservationSpec


class Data:
    """Counts how often the dataset would be encoded."""

    def __init__(self, world):
        self.world, self.sources = world, 0

    def phase(self, learner):
        return learner

    def source(self, *wanted):
        self.sources += 1
        return SimpleNamespace(on_device=True)


@pytest.mark.parametrize("interval", [0, 250])
def test_data_are_not_encoded_before_a_batch_is_wanted(interval):
    """Nor at all where a phase that refreshes is over already."""
    config = configs.from_presets("demo", "debug", **{"expansion.interval": interval})
    net = build.latent_net(config, ObservationSpec(32, 0, 6))
    data = Data(build.latent_world_model(config, None, net))
    run = SimpleNamespace(
        config=config,
        facts=SimpleNamespace(action_size=6),
        phase=lambda name, phase, source, updates: SimpleNamespace(
            name=name, phase=phase, source=source
        ),
        breaking_off=lambda what: nullcontext(),
        key=lambda name: jax.random.key(0),
    )
    phase = LearnerPhase(run, [run], data, "leq")
    assert data.sources == 0
    sources = [phase.training.source() for _ in range(2)]
    assert data.sources == (1 if interval else 2)
    assert sources[0].on_device
