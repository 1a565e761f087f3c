"""The official updates from pixels: the world model's, and LEQ's with a frozen one.

Configured by their `dmc_vision`, but in float32 and of a CPU's size. The weights are
random, and so is the batch.
"""

import importlib
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from official_timing import Compiled, waiting
from stand_ins import one_by_one, stand_in
from turns import LENGTH, Facts

ACTION = 6
UNUSED = ("cv2", "psutil", "zmq")
# the module of the agent, and whether it is given a world model, which it then freezes;
# its LEQ is by REINFORCE, whatever ours beside it is by
AGENTS = {
    "world_model_12m": ("model_agent", False),
    "leq_12m": ("agent", True),
    "reinforce_12m": ("agent", True),
}
SMALL = {
    "jax.platform": "cpu",
    "jax.compute_dtype": "float32",
    "jax.transfer_guard": False,
    "batch_length": LENGTH,
    "batch_length_eval": LENGTH,
    "report": False,  # a program of its own, which isn't timed
}


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of a case's update, and the seconds of n of them."""
    stand_in(*UNUSED)
    module, frozen = AGENTS[case]
    embodied = importlib.import_module("embodied")
    official = importlib.import_module(f"dreamerv3.{module}").Agent
    config = embodied.Config(official.configs["defaults"])
    config = config.update(official.configs["dmc_vision"]).update(SMALL)
    config = config.update({"batch_size": sequences})
    if frozen:  # it is asked whether there is one, not yet for what is in it
        config = config.update({"run.model_checkpoint": "any"})
    agent = _timed(official)(*_spaces(embodied.Space), config)
    data = jax.device_put(_batch(sequences), agent.train_sharded)
    data["seed"] = agent._next_seeds(agent.train_sharded)
    carry = agent.init_train(sequences)

    def update() -> Any:
        nonlocal carry
        _, carry, _ = agent.train(data, carry)
        return agent.params

    size = f"{sequences} x {LENGTH}"
    if frozen:
        size = f"{sequences * LENGTH} starts, H={config.imag_length}"
    return agent.program.facts | {"size": size}, one_by_one(waiting(update))


def _timed(official: type) -> type:
    """The agent whose training program is a `Compiled`, kept in `program`."""

    class Timed(official):
        def _lower_train(self) -> None:
            self._train = SimpleNamespace(lower=partial(Compiled, self._train))
            super()._lower_train()
            self.program = self._train
            self._train = SimpleNamespace(compile=lambda: self.program)

    return Timed


def _spaces(space: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of observations and actions, as walker's and cheetah's."""
    flags = {name: space(bool) for name in ("is_first", "is_last", "is_terminal")}
    observation = {"image": space(np.uint8, (64, 64, 3)), "reward": space(np.float32)}
    return observation | flags, {"action": space(np.float32, (ACTION,), -1, 1)}


def _batch(sequences: int) -> dict[str, np.ndarray]:
    draw, shape = np.random.default_rng(0), (sequences, LENGTH)
    is_first = np.zeros(shape, bool)
    is_first[:, 0] = True
    return {
        "image": draw.integers(0, 256, (*shape, 64, 64, 3), np.uint8),
        "action": draw.uniform(-1, 1, (*shape, ACTION)).astype("float32"),
        "reward": draw.uniform(0, 2, shape).astype("float32"),
        "is_first": is_first,
        "is_last": np.zeros(shape, bool),
        "is_terminal": np.zeros(shape, bool),
        "stepid": np.zeros((*shape, 20), np.uint8),
    }
