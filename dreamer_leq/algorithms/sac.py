"""Soft actor-critic (arXiv 1812.05905) as its descendants share it: soft values, and an
entropy that is held near a target.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import TanhNormal


@struct.dataclass
class SAC(Learner):
    """SAC on the rows of a batch. `params["temperature"]` is log α. What a descendant
    does otherwise is a method: `target`, `worth`, `added`.
    """

    averaged = ("critic",)
    trained = ("actor", "critic", "temperature")
    inherits = ("actor",)
    critics: ClassVar[int] = 2  # where its section doesn't say
    largest_alpha: ClassVar[float] = 1.0  # as OfflineRL-Kit's SAC has it

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        count = getattr(getattr(config, name), "critics", cls.critics)
        return PolicyCritics.of(TanhNormal, config, action_size, dtype, count)

    def networks(self, key: Array) -> dict[str, Params]:
        log = jnp.log(jnp.float32(self.first_alpha))
        return super().networks(key) | {"temperature": {"log": log}}

    @property
    def soft(self) -> bool:
        """Whether targets count the next action's entropy."""
        return True

    @property
    def first_alpha(self) -> float:
        """The weight α of the entropy before it is learned."""
        return 1.0

    def alpha(self, params: dict[str, Params]) -> Array:
        """The weight α of the entropy, a scalar."""
        return jnp.minimum(jnp.exp(params["temperature"]["log"]), self.largest_alpha)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        target_key, policy_key, own_key = split(key)
        features = self.features(params, self.world.starts(batch))
        target, about = self.target(state, batch, target_key)
        given = batch, stop(features), policy_key
        found, metrics = self.policy_losses(params, state, *given)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        q, fit = self.nets.critics.values.mean(out), self.fit(out, target, state, batch)
        added, more = self.added(params, state, batch, features, q, own_key)
        metrics |= {"q_data": q.mean(), "q_target": target.mean()} | about | more
        return found | added | {"critic": fit + added.get("critic", 0.0)}, metrics

    def target(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Array, Metrics]:
        """R + γⁿ (1 - termination) (min_i Q̄_i(s', a') - α log π(a'|s')): [N]; and
        metrics.
        """
        next_features = self.features(state.params, self.world.successors(batch))
        next_q, log_prob = self.next_value(state, next_features, key)
        if self.soft:
            next_q = next_q - self.alpha(state.params) * log_prob
        return self.bellman_target(batch, next_q), {}

    def next_value(
        self, state: TrainState, features: Array, key: Array
    ) -> tuple[Array, Array]:
        """min_i Q̄_i(s, a) of a sampled action, and log π(a|s): [N], [N]."""
        actor, critics = state.params["actor"], {"critic": self.judges(state)}
        action, log_prob = self.nets.policy.sample(actor, features, key)
        return self.value(critics, features, action), log_prob

    def judges(self, state: TrainState) -> Params:
        """The critics of which targets are made."""
        return state.target["critic"]

    def fit(self, out: Array, target: Array, state: TrainState, batch: Batch) -> Array:
        """The critics' errors, from their outputs [critics, N, outputs]: the sum over
        critics of means over rows.
        """
        return self.nets.critics.values.loss(out, target).mean(-1).sum()

    def added(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
        key: Array,
    ) -> tuple[Losses, Metrics]:
        """What an algorithm adds to SAC's losses, by network, from the batch's features
        in s [N, F], through which an encoder learns, from Q_i(s, a) [critics, N] and
        more.
        """
        return {}, {}

    def policy_losses(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        key: Array,
    ) -> tuple[Losses, Metrics]:
        """α log π - min_i Q_i(s, a) for the policy; and for log α what holds the
        entropy at -A, A being the numbers of an action.
        """
        alpha = self.alpha(state.params)
        action, log_prob = self.nets.policy.sample(params["actor"], features, key)
        q = self.value(state.params, features, action)
        worth = self.worth(params, state, batch, features, q)
        surplus = stop(log_prob).mean() - action.shape[-1]
        found = {
            "actor": (alpha * log_prob - worth).mean(),
            "temperature": -params["temperature"]["log"] * surplus,
        }
        metrics = {"q_policy": q.mean(), "entropy": -log_prob.mean(), "alpha": alpha}
        return found, metrics

    def worth(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
    ) -> Array:
        """What the policy seeks beside entropy: [N], here Q of its action."""
        return q


def split(key: Array) -> tuple[Array, Array, Array]:
    """Keys of the target's actions, of the policy's, and of what an algorithm adds."""
    return tuple(jax.random.split(key, 3))
