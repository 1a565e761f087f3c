"""Updates of CORL's single files (torch), each as its own `train` makes it.

Sizes and batches are the file's own; the data are random numbers of halfcheetah's
shapes. An update samples its batch, as in the file's loop.
"""

import importlib
from collections.abc import Callable
from typing import Any

from official_torch import facts, halfcheetah
from stand_ins import no_command_line, one_by_one, stand_in, variables
from turns import Facts

UNUSED = ("wandb",)
# by case: the file, its class with the updates, and the method that makes one
TRAINERS = {
    "state_td3_bc": ("td3_bc", "TD3_BC", "train"),
    "state_iql": ("iql", "ImplicitQLearning", "train"),
    "state_cql": ("cql", "ContinuousCQL", "train"),
    "state_edac": ("edac", "EDAC", "update"),
}


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of the case's update, and the seconds of n of them."""
    stand_in(*UNUSED)
    no_command_line()
    halfcheetah()
    file, kind, method = TRAINERS[case]
    script = importlib.import_module(f"algorithms.offline.{file}")
    config = script.TrainConfig(device="cpu", buffer_size=100_000)
    until = getattr(script, kind), method
    made = variables(script.train, config, until=until)
    trainer, buffer = made["trainer"], made.get("replay_buffer", made.get("buffer"))

    def update() -> Any:
        batch = [x.to(config.device) for x in buffer.sample(config.batch_size)]
        return getattr(trainer, method)(batch)

    return facts(f"{config.batch_size}"), one_by_one(update)
