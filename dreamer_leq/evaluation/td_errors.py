"""Does a critic agree with the rewards of a dataset's episodes?"""

from functools import partial

import jax
import numpy as np
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.world_models.interface import WorldModel


@struct.dataclass
class CriticValues:
    """What actor and critic say of N transitions of the dataset."""

    value: Array  # [N] Q(s, π(s))
    td_error: Array  # [N] r + γ (1 - termination) Q(s', π(s')) - Q(s, a)


@partial(jax.jit, static_argnums=1)
def critic_values(
    world_model: WorldModel,
    nets: ActorCritic,
    params: dict[str, Params],
    batch: dict[str, Array],
    gamma: float,
) -> CriticValues:
    """For a batch as LEQ's."""

    def q(features: Array, action: Array) -> Array:
        return nets.q(params["critic"], features, world_model.action_features(action))

    def value(features: Array) -> Array:
        return q(features, nets.mode(params["actor"], features))

    features = world_model.features(world_model.starts(batch))
    successor = value(world_model.features(world_model.successors(batch)))
    reward, cont = batch["reward"], batch["cont"]
    target = losses.bellman_target(reward, cont, successor, gamma)
    return CriticValues(value(features), target - q(features, batch["action"]))


def excess_values(
    td_error: np.ndarray, cont: np.ndarray, first: np.ndarray, gamma: float
) -> np.ndarray:
    """How much more each episode was predicted to bring than it brought: -Σ γ^t δ_t up
    to its termination, [N] transitions -> [E] episodes.

    Its mean is 0 for the policy's true Q, whoever acted in the episodes: their return
    is V(s_0) plus the discounted advantages of the actions that were taken (performance
    difference lemma, Kakade & Langford 2002). What is cut off counts as Q has it.

    first [N]: an episode begins with this transition.
    """
    starts = np.flatnonzero(first)
    excess = np.empty(len(starts))
    for i, (start, end) in enumerate(
        zip(starts, [*starts[1:], len(first)], strict=True)
    ):
        going_on = np.cumprod(np.append(1.0, gamma * cont[start : end - 1]))
        excess[i] = -(going_on * td_error[start:end]).sum()
    return excess
