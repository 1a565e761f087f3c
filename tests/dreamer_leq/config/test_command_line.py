"""The command that a configuration is the result of, and back."""

import pytest

from dreamer_leq import config as configs


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--configs vd4rl size1m --leq.tau 0.3 --data some/folder",
        "--configs debug --leq.tau 0.1 0.3 --seeds 2 --log.wandb --logdir a/b",
        "--configs d4rl_rssm --task walker2d-medium --latent.optimizer.agc 0.1",
        "--configs maze --task pointmaze-large --actor.no_conservative",
    ],
)
def test_the_command_gives_the_configuration_back(words):
    config = configs.load(words.split())
    command = configs.command(config)
    assert command[:2] == ["python", "train_offline.py"]
    assert configs.load(command[2:]) == config
    assert len(command) - 2 <= len(words.split())
