"""Training from Python: what is asked for, and how it ends when it is stopped."""

import signal
import warnings

import pytest

import dreamer_leq as dl
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.interrupts import Interrupted


@pytest.fixture
def train(monkeypatch):
    """What `train` is asked to do, in the place of which comes `train.end`."""

    def train(config, log, devices):
        train.config = config
        warnings.warn("os.fork() was called; a deadlock", RuntimeWarning, stacklevel=1)
        if train.end:
            raise Interrupted(train.end, "leq update 3")
        return RunFolder(config.folder)

    train.end = None
    monkeypatch.setattr("dreamer_leq.commands.from_python.train", train)
    return train


def test_presets_and_keys_are_those_of_the_command(train, recwarn):
    folder = dl.train_offline("maze", "debug", logdir="runs/x", **{"leq.tau": 0.3})
    assert str(folder) == "runs/x" and train.config.leq.tau == 0.3
    assert train.config.world_model == "mlp_ensemble"
    assert train.config.ensemble.units == 16
    assert not recwarn.list


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"leq.tua": 0.3}, "unknown key leq.tua; did you mean leq.tau"),
        ({"leq.tau": "low"}, "leq.tau: expected"),
    ],
)
def test_what_can_not_be_asked_for(train, keys, said):
    with pytest.raises(dl.UserError, match=said):
        dl.train_offline("debug", **keys)


@pytest.mark.parametrize(
    ("signum", "error", "said"),
    [
        (signal.SIGINT, KeyboardInterrupt, "stopped by SIGINT at leq update 3; saved"),
        (signal.SIGTERM, SystemExit, "143"),
    ],
)
def test_a_stopped_training_ends_as_python_does(train, signum, error, said):
    train.end = signum
    with pytest.raises(error, match=said):
        dl.train_offline("debug")
