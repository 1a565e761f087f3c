"""What TD3's descendants share: critics and a deterministic policy, a noisy target
action, and a policy that learns more rarely than its critics (arXiv 1802.09477).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.policies import Policy


@struct.dataclass
class DeterministicActorCritic(Learner):
    """Two critics and a policy without a distribution. What an algorithm makes of them
    is in two methods: `target` and `actor_loss`.
    """

    averaged = ("critic",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return PolicyCritics.of(Policy, config, action_size, dtype)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        features = self.features(params, self.world.starts(batch))
        target = self.target(state, batch, key)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        critic = self.nets.critics.values.loss(out, target).mean(-1).sum()
        given = params, state, stop(features), batch["action"], key
        actor, metrics = self.when_due(state, partial(self.actor_loss, *given))
        q_data = self.nets.critics.values.mean(out).mean()
        metrics |= {"q_data": q_data, "q_target": target.mean()}
        return {"critic": critic, "actor": actor}, metrics

    def when_due(
        self, state: TrainState, actor_loss: Callable[[], tuple[Array, Metrics]]
    ) -> tuple[Array, Metrics]:
        """The policy's loss and metrics, in an update in which it learns."""
        return actor_loss()

    def target(self, state: TrainState, batch: Batch, key: Array) -> Array:
        """What the critics learn: [N]."""
        raise NotImplementedError

    def actor_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        features: Array,
        data_action: Array,
        key: Array,
    ) -> tuple[Array, Metrics]:
        """The policy's loss, a scalar, and metrics; `key` is the target's, too."""
        raise NotImplementedError


@struct.dataclass
class TD3(DeterministicActorCritic):
    """Its policy and all averages learn at every `delay`-th update."""

    averaged = ("actor", "critic")

    def updates_of(self, network: str) -> int:
        delay = self.config.delay if network == "actor" else 1
        return super().updates_of(network) // delay

    def update(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        new, metrics = super().update(state, batch, key)
        metrics["actor_loss"] *= self.config.delay
        return delayed(state, new, self.config.delay), metrics

    def when_due(
        self, state: TrainState, actor_loss: Callable[[], tuple[Array, Metrics]]
    ) -> tuple[Array, Metrics]:
        """The same, and zeros in between; its metrics count so often that their mean
        over updates is that over those that are due.
        """
        due = (state.step + 1) % self.config.delay == 0
        like = jax.eval_shape(actor_loss)
        none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        loss, metrics = jax.lax.cond(due, actor_loss, lambda: none)
        return loss, {name: x * self.config.delay for name, x in metrics.items()}

    def next_action(self, state: TrainState, next_features: Array, key: Array) -> Array:
        """The policy's average in s', with noise: [N, A]."""
        action = self.policy(state.target, next_features)
        return smoothed(action, key, self.config.noise, self.config.noise_clip)


def smoothed(action: Array, key: Array, noise: float, clip: float) -> Array:
    """The action [..., A] with normal noise of standard deviation `noise`, cut off at
    ±clip, in [-1, 1].
    """
    drawn = noise * jax.random.normal(key, action.shape, action.dtype)
    return jnp.clip(action + jnp.clip(drawn, -clip, clip), -1, 1)


def size(q: Array) -> Array:
    """mean |Q|, by which a policy's loss is divided; not 0 where all Q are."""
    return jnp.maximum(jnp.abs(q).mean(), 1e-6)


def delayed(old: TrainState, new: TrainState, every: int) -> TrainState:
    """`new`, of whose updates only every `every`-th counts for the policy, its
    optimiser and all moving averages; in between they stay as in `old`.
    """
    due = new.step % every == 0
    choose = partial(jax.tree.map, lambda x, y: jnp.where(due, x, y))

    def policy(new: dict, old: dict) -> dict:
        return new | {"actor": choose(new["actor"], old["actor"])}

    return new.replace(
        params=policy(new.params, old.params),
        opt_state=policy(new.opt_state, old.opt_state),
        target=choose(new.target, old.target),
    )
