"""The processes of a run, one or several: how they find each other, what the first of
them does for all, and how they agree.

Several run the same program on the same data, each on its own devices. The first one
alone writes to the run's folder and scores the policy. With one process every function
here does nothing of its own.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dreamer_leq.system.errors import UserError

Result = TypeVar("Result")

# Where JAX itself can't find out: coordinator (host:port of the first process), number
# of processes, and this one's place among them.
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def join() -> None:
    """Find the run's other processes, if there are any; before JAX touches a device.

    Raises UserError where the environment tells only half of it.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    # JAX would hide all of a host's GPUs but one from a job's only task
    if not given and os.environ.get("SLURM_NTASKS") == "1":
        return
    # SIGTERM is ours to handle (interrupts.py)
    jax.config.update("jax_enable_preemption_service", False)
    if given:
        _join_by_variables(given)
        return
    try:
        jax.distributed.initialize()
    except ValueError:  # JAX found no cluster around: this process is all
        return


def _join_by_variables(given: dict[str, str]) -> None:
    if missing := [name for name in VARIABLES if name not in given]:
        raise UserError(
            f"{', '.join(given)} without {', '.join(missing)}: several processes need "
            "all three in their environment, and one needs none"
        )
    address, *numbers = given.values()
    if not all(number.isdecimal() for number in numbers):
        raise UserError(f"{' and '.join(VARIABLES[1:])}: have to be whole numbers")
    jax.distributed.initialize(address, *map(int, numbers))


def first() -> bool:
    """Whether this process writes, scores and speaks for all."""
    return jax.process_index() == 0


def by_first(call: Callable[[], Result]) -> Result:
    """What `call` gives in the first process, in every process: able to be JSON.

    What goes wrong there ends the others as well, with a UserError.
    """
    if jax.process_count() == 1:
        return call()
    result, error = _tried(call) if first() else (None, None)
    said = {"result": result, "error": str(error) if error else None}
    heard = json.loads(_first_text(json.dumps(said)))
    if error:
        raise error
    if heard["error"] is not None:
        raise UserError(f"the first process stopped: {heard['error']}")
    return heard["result"]


def first_then_others(call: Callable[[], Result]) -> Result:
    """`call` in every process, when the first has done: it may leave files that the
    others find. Where it fails in one it fails in all.
    """
    done: list[Result] = []
    by_first(lambda: done.append(call()))
    result, error = (done[0], None) if first() else _tried(call)
    fine = all_agree(error is None)
    if error:
        raise error
    if not fine:
        raise UserError("another process stopped")
    return result


def gathered(values: Sequence[float]) -> list[tuple[float, ...]]:
    """These numbers of every process, in float32 where there are several."""
    if jax.process_count() == 1:
        return [tuple(values)]
    rows = multihost_utils.process_allgather(np.array(values, np.float32))
    return [tuple(row) for row in rows.tolist()]


def all_agree(flag: bool) -> bool:
    """Whether `flag` holds in every process."""
    return all(flag for (flag,) in gathered([flag]))


def all_same(value: Any) -> bool:
    """Whether `value`, able to be JSON, is the same in every process."""
    text = json.dumps(value, sort_keys=True)
    return all_agree(text == by_first(lambda: text))


def shared(tree: Any) -> Any:
    """The first process's arrays, bit for bit, in all; their shapes are the same."""
    if jax.process_count() == 1:
        return tree
    arrays = [np.asarray(x) for x in jax.tree.leaves(tree)]
    sent = [np.frombuffer(x.tobytes(), np.uint8) for x in arrays]
    received = multihost_utils.broadcast_one_to_all(sent)
    taken = [
        np.frombuffer(data.tobytes(), x.dtype).reshape(x.shape)
        for data, x in zip(received, arrays, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), taken)


def _tried(call: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return call(), None
    except Exception as error:
        return None, error


def _first_text(text: str) -> str:
    data = np.frombuffer(text.encode(), np.uint8)
    (size,) = shared([np.int32(len(data))])
    (sent,) = shared([data if first() else np.zeros(size, np.uint8)])
    return sent.tobytes().decode()
