"""Updates of OfflineRL-Kit's MOPO and MOBILE (torch), each as its example makes them.

Sizes are the example's own; the data are random numbers of halfcheetah's shapes, and
its ensemble is untrained. What an update samples is the dataset's and imagined rows, of
which one rollout has filled the buffer; rollouts don't count.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from official_torch import facts, halfcheetah
from stand_ins import one_by_one, stand_in, variables
from turns import Facts

UNUSED = ("tensorboard", "torch.utils.tensorboard")
EXAMPLES = {"state_mopo": "run_mopo", "state_mobile": "run_mobile"}
SIZES = ("--task", "halfcheetah-medium-v2", "--rollout-length", "5")


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of the case's update, and the seconds of n of them."""
    stand_in(*UNUSED)
    halfcheetah()
    sys.path.insert(0, str(Path("run_example").resolve()))
    sys.argv = [EXAMPLES[case], *SIZES]
    example = importlib.import_module(EXAMPLES[case])
    example.make_log_dirs, example.Logger = MagicMock(), MagicMock()
    args = example.get_args()
    example.EnsembleDynamics.train = _untrained
    until = example.MBPolicyTrainer, "train"
    trainer = variables(example.train, args, until=until)["policy_trainer"]
    return facts(f"{args.batch_size}"), one_by_one(_update(trainer))


def _untrained(dynamics: Any, data: dict[str, Any], *_: Any, **__: Any) -> None:
    """What training does beside learning: the inputs' scale, and the elites."""
    dynamics.scaler.fit(dynamics.format_samples_for_training(data)[0])
    dynamics.model.set_elites(list(range(5)))


def _update(trainer: Any) -> Callable[[], Any]:
    """What the trainer's loop does, after a rollout."""
    policy, real, fake = trainer.policy, trainer.real_buffer, trainer.fake_buffer
    starts = real.sample(trainer._rollout_batch_size)["observations"].numpy()
    fake.add_batch(**policy.rollout(starts, trainer._rollout_length)[0])
    rows = trainer._batch_size
    kept = int(rows * trainer._real_ratio)
    policy.train()

    def update() -> Any:
        return policy.learn(
            {"real": real.sample(kept), "fake": fake.sample(rows - kept)}
        )

    return update
