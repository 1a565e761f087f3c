"""The updates of ReBRAC's public JAX code, which its `main` makes and runs as one loop
on the device; the data are random numbers of halfcheetah's shapes.
"""

import importlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from official_timing import Compiled
from stand_ins import no_command_line, stand_in, variables
from turns import Facts

OBSERVATION, ACTION, ROWS = 17, 6, 100_000
UNUSED = ("d4rl", "distrax", "dm_control", "dm_control.suite", "dm_env", "gym", "wandb")
UNUSED += ("dm_control.suite.wrappers",)


def build(case: str, sequences: int) -> tuple[Facts, Callable[[int], float]]:
    """The facts of an update, and the seconds of n of them in one loop."""
    stand_in(*UNUSED)
    no_command_line()
    script = importlib.import_module("src.algorithms.rebrac")
    script.ReplayBuffer.create_from_d4rl = _fill
    script.evaluate = script.make_env = script.wrap_env = lambda *_, **__: None
    config = script.Config()
    made = variables(script.main, config, until=(script.Metrics, "create"))
    step, carry = made["td3_loop_update_step"], made["update_carry"]
    carry["metrics"] = script.Metrics.create(made["bc_metrics_to_log"])

    @jax.jit
    def advance(n: jax.Array, carry: dict[str, Any]) -> dict[str, Any]:
        return jax.lax.fori_loop(0, n, lambda i, carry: step(i, dict(carry)), carry)

    facts = Compiled(jax.jit(lambda carry: step(0, dict(carry))), carry).facts

    def seconds(n: int) -> float:
        nonlocal carry
        start = time.perf_counter()
        carry = jax.block_until_ready(advance(jnp.int32(n), carry))
        return time.perf_counter() - start

    seconds(1)
    return facts | {"size": str(config.batch_size)}, seconds


def _fill(buffer: Any, *_: Any, **__: Any) -> None:
    draw = np.random.default_rng(0)
    states, following = draw.standard_normal((2, ROWS, OBSERVATION), np.float32)
    actions = draw.uniform(-1, 1, (2, ROWS, ACTION)).astype(np.float32)
    arrays = {
        "states": states,
        "actions": actions[0],
        "rewards": draw.uniform(size=ROWS).astype(np.float32),
        "next_states": following,
        "next_actions": actions[1],
        "dones": np.zeros(ROWS, np.float32),
        "mc_returns": np.zeros(ROWS, np.float32),
    }
    buffer.data = {name: jnp.asarray(array) for name, array in arrays.items()}
    buffer.mean, buffer.std = 0, 1
