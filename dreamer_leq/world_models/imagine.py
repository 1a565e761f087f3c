"""What a world model imagines step by step, under given actions or a policy's own."""

from collections.abc import Callable

import jax
from flax import struct
from jax import Array

from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class Steps:
    """H imagined steps from N states. Entry h holds the state to which action h led,
    and what came with it.
    """

    state: State  # leading axes [H, N]
    action: Array  # [H, N, A]
    reward: Array  # [H, N] as LEQ sees it
    cont: Array  # [H, N]


def imagine_steps(
    world_model: WorldModel,
    start: State,
    key: Array,
    horizon: int,
    *,
    action: Array | None = None,
    policy: Callable[[Array], Array] | None = None,
    member: int | Array | None = None,
) -> Steps:
    """`horizon` steps from `start` [N], with `action` [H, N, A] or else with
    `policy`, from features [N, F] to actions [N, A].

    All steps are those of one ensemble member; with None one is drawn per sample and
    step, as LEQ imagines.
    """

    n = len(jax.tree.leaves(start)[0])

    def step(state: State, xs: tuple[Array | None, Array]) -> tuple[State, Steps]:
        action, key = xs
        noise = world_model.noise(key, n)
        if action is None:
            action = policy(world_model.features(state))
        if member is None:
            state, reward, cont = world_model.step(state, action, noise)
        else:
            state, reward, cont = world_model.member_step(state, action, noise, member)
        return state, Steps(state, action, reward, cont)

    keys = jax.random.split(key, horizon)
    return jax.lax.scan(step, start, (action, keys))[1]
