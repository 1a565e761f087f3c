"""What is kept of the λ-returns' backward pass, for policy and critic to learn from.

Their losses go back through the same networks at the same imagined states, along the
same gradients up to a number for each row: Eq. 11 along dy_t/da_t, which the pass
brings to the policy, and Eq. 9 along that of Q_t, where the critic's output is Q
itself. So what is kept gives these losses' gradients without another pass.

A stochastic policy's entropy, REINFORCE and the cross entropy of a two-hot critic have
gradients of their own. For them what the networks' products came to is kept, so that
only the backward pass is made.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.leq.imagination import Layers, Rollout, Shifts, append
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.fast.scan import rows, steps
from dreamer_leq.nn.taps import Recording, Taps, zeros


@struct.dataclass
class Recordings:
    """Either recordings or outputs of the policy, and of the critic."""

    steps: Recording | None = None  # Σ_a π(s_t) dy_t/da_t of t < H: [H, N]
    end: Recording | None = None  # and of t = H: [N]
    critic: Recording | None = None  # Q(s_t, a_t) [(H+1) * N]
    policy_outputs: Taps | None = None  # [H+1, N, ...]
    critic_outputs: Taps | None = None  # [(H+1) * N, ...]

    def policy_gain(self, params: Params) -> Array | None:
        """Σ_a π(s_t) dy_t/da_t as a function of the policy's parameters: [H+1, N]."""
        if self.steps is None or self.end is None:
            return None
        gains = self.steps.replay(params), self.end.replay(params)[None]
        return jnp.concatenate(gains)

    def q(self, params: Params, horizon: int) -> Array | None:
        """Q(s_t, a_t) as a function of the critic's parameters: [H+1, N]."""
        if self.critic is None:
            return None
        return steps(self.critic.replay(params), horizon + 1)


NOTHING = Recordings()


def open_shifts(
    nets: ActorCritic,
    params: dict[str, Params],
    features: jax.ShapeDtypeStruct,
    horizon: int,
) -> Shifts:
    """Those of the actions, and of the layers whose gradients are kept; features
    [N, F] have a shape and a type.
    """
    n, f = features.shape
    like = lambda *lead: jax.ShapeDtypeStruct((*lead, f), features.dtype)  # noqa: E731
    policy = critic = None
    if not nets.stochastic:
        shifted = (like(horizon, n), like(n))
        policy = tuple(zeros(nets.actor_net, params["actor"], x) for x in shifted)
    if nets.values.outputs == 1:
        size = f + nets.action_size
        x = jax.ShapeDtypeStruct((n * (horizon + 1), size), features.dtype)
        critic = zeros(nets.critic_net, params["critic"], x)
    action = jnp.zeros((horizon + 1, n, nets.action_size), features.dtype)
    return Shifts(action, policy, critic)


def recordings(
    nets: ActorCritic, rollout: Rollout, gradients: Shifts, layers: Layers
) -> Recordings:
    """Of the rollout, and of the pass that gave `gradients`."""
    kept: dict[str, Any] = {}
    if gradients.policy is None:
        kept["policy_outputs"] = jax.tree.map(append, *layers.policy)
    else:
        gain = (rollout.action * gradients.action).sum(-1)
        parts = zip((gain[:-1], gain[-1]), layers.policy, gradients.policy, strict=True)
        kept["steps"], kept["end"] = (Recording(nets.actor_net, *p) for p in parts)
    if gradients.critic is None:
        kept["critic_outputs"] = layers.critic
    else:
        parts = (rows(rollout.q), layers.critic, gradients.critic)
        kept["critic"] = Recording(nets.critic_net, *parts)
    return Recordings(**kept)
