"""Parts of a run as programs that JAX alone runs, by `jax.export`.

A program has the weights inside and takes plain dicts of arrays, whose first axis, of a
size that is chosen when it is called, is that of environments or states.
"""

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.evaluation.agent import Agent, Carry
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing
from dreamer_leq.world_models.interface import WorldModel
from vd4rl_loader.errors import disk_trouble
from vd4rl_loader.states import RewardTransform

PLATFORMS = ("cpu", "cuda", "tpu")
_KEY = jax.ShapeDtypeStruct((2,), jnp.uint32)

Arrays = dict[str, Array]
Shapes = Mapping[str, jax.ShapeDtypeStruct]


def policy_program(agent: Agent, observation: Shapes) -> bytearray:
    """(observation, memory) -> (action, memory); `observation`: of one environment,
    [...].
    """
    memory = jax.eval_shape(lambda: _packed(agent, agent.initial(1, 0)))
    key = {"key": memory.pop("key")}
    seen, remembered = _batched((dict(observation), _rows(memory)))
    return _program(partial(_policy, agent), seen, remembered | key)


def step_program(
    world: WorldModel, action_size: int, rewards: RewardTransform
) -> bytearray:
    """(state, action, member, key) -> (state, reward, cont)."""
    state, action = _state(world), jax.ShapeDtypeStruct((action_size,), jnp.float32)
    member = jax.ShapeDtypeStruct((), jnp.int32)
    step = partial(_step, world, rewards)
    return _program(step, *_batched((state, action)), member, _KEY)


def decoder_program(world: WorldModel) -> bytearray:
    """state -> observation."""
    return _program(partial(_decoder, world), _batched(_state(world)))


def write_program(path: str | Path, program: Callable[[], bytearray]) -> Path:
    """Raises UserError where it can't be made or written."""
    if not importlib.util.find_spec("flatbuffers"):
        raise UserError(
            "exporting needs flatbuffers: pip install 'dreamer-leq[export]'"
        )
    path, content = Path(path), program()
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: {disk_trouble(error) or error.strerror}") from error
    return path


# --- what the programs compute


def _policy(agent: Agent, observation: Arrays, memory: Arrays) -> tuple[Array, Arrays]:
    state, key = agent.world_model.starts(memory), memory["key"]
    carry = Carry(state, memory["action"], jax.random.wrap_key_data(key))
    after = agent.after(carry, observation)
    return after.action, _packed(agent, after)


def _packed(agent: Agent, carry: Carry) -> Arrays:
    key = jax.random.key_data(carry.key)
    return agent.world_model.pack(carry.state) | {"action": carry.action, "key": key}


def _step(
    world: WorldModel,
    rewards: RewardTransform,
    state: Arrays,
    action: Array,
    member: Array,
    key: Array,
) -> tuple[Arrays, Array, Array]:
    noise = world.noise(jax.random.wrap_key_data(key), action.shape[0], dealt=False)
    start = world.starts(state)
    after, reward, cont = world.member_step(start, action, noise, member)
    return world.pack(after), rewards.inverse(reward), cont


def _decoder(world: WorldModel, state: Arrays) -> Arrays:
    return world.decode(world.starts(state))


# --- how they become bytes


def _state(world: WorldModel) -> Any:
    """Shapes of one packed state."""
    return _rows(jax.eval_shape(lambda: world.pack(world.initial(1))))


def _rows(tree: Any) -> Any:
    """Shapes without the first axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


def _batched(rows: Any) -> Any:
    """Shapes with a first axis of any length, the same one for all of them."""
    (length,) = jax.export.symbolic_shape("batch")

    def one(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((length, *x.shape), x.dtype)

    return jax.tree.map(one, rows)


def _program(function: Callable, *arguments: Any) -> bytearray:
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    return exported.serialize()
