"""What a run tells the loop and Weights & Biases of itself."""

import sys
import types

import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.session import Run, open_logger

KEYS = {"logdir": "runs/my run", "log.wandb": True, "leq.tau": 0.3, "seed": 7}


@pytest.fixture
def wandb(monkeypatch):
    """Stands in for the client; keeps what it is told."""
    module = types.ModuleType("wandb")
    module.told = []
    module.errors = types.SimpleNamespace(Error=RuntimeError)
    module.init = lambda **arguments: module.told.append(arguments) or module
    module.finish = lambda: None
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_weights_and_biases_gets_settings_and_a_name(wandb, tmp_path):
    config = from_presets("debug", **KEYS)
    open_logger(RunFolder(tmp_path), config).close()
    (told,) = wandb.told
    assert told["name"] == "walker_walk-medium_expert leq tau0.3 seed7"
    assert told["group"] == config.task and told["project"] == "dreamer-leq"
    assert told["config"]["leq.tau"] == 0.3 and told["config"]["seed"] == 7
    assert not any(key.startswith("iql.") for key in told["config"])


def test_a_grids_member_is_named_by_what_is_its_own(wandb, tmp_path):
    config = from_presets("debug", **KEYS | {"leq.tau": (0.1, 0.5), "seeds": 2})
    for member in config.members.values():
        open_logger(RunFolder(tmp_path / member.logdir), member).close()
    names = [told["name"].split(" leq ")[1] for told in wandb.told]
    assert names == [f"tau{tau} seed{seed}" for tau in (0.1, 0.5) for seed in (7, 8)]


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("world_model", "--latent.optimizer.learning_rate 0.0001"),
        ("bc", "--pretrained 'runs/my run' --bc.optimizer.learning_rate 0.0001"),
        (
            "leq",
            "--pretrained 'runs/my run' --leq.actor_optimizer.learning_rate 0.0001",
        ),
    ],
)
def test_advice_is_the_flags_of_another_run(phase, words):
    config = from_presets("debug", **KEYS)
    run = Run(config, None, None, None, None, print)
    advice = run.phase(phase, None, None, 5).advice
    assert advice.startswith(
        "lower the learning rate: the same command with --logdir 'runs/my run-slower' "
        f"{words}"
    )
