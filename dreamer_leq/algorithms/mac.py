"""MAC: a flow proposes chunks of actions as the data have them, the best one by Q is
taken, and values are expanded by a model of whole chunks (arXiv 2512.08108).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import bellman_target, stop
from dreamer_leq.algorithms.returns import discounted_return
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.flows import NoisePolicy
from dreamer_leq.world_models.imagine import Trajectory, imagine


@dataclass(frozen=True)
class ChunkCritics(PolicyCritics):
    """A policy and a Q whose actions are chunks of n: [..., n A]."""

    steps: int  # n

    @property
    def action_size(self) -> int:
        """A, of a single action."""
        return self.policy.action_size // self.steps


@struct.dataclass
class MAC(Learner):
    """The policy takes the first action of the best of some chunks, and chooses anew in
    the next step.
    """

    averaged = ("value",)
    reads = ("chunk",)

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> ChunkCritics:
        steps = config.chunks.steps
        given = config, steps * action_size, dtype, 1
        nets = PolicyCritics.of(NoisePolicy, *given)
        return ChunkCritics(nets.policy, nets.critics, steps)

    @property
    def trained(self) -> tuple[str, ...]:
        return ("flow", "actor", "critic", "value")

    @property
    def steps(self) -> int:
        """Agent steps of a chunk."""
        return self.world.steps

    @property
    def discount(self) -> float:
        """From the beginning of a chunk to its end."""
        return self.gamma**self.steps

    def networks(self, key: Array) -> dict[str, Params]:
        nets_key, flow_key, value_key = jax.random.split(key, 3)
        size = self.world.feature_size
        flow = self.nets.policy.flow.init(flow_key, size)
        value = self.nets.critics.one.init(value_key, size)
        return super().networks(nets_key) | {"flow": flow, "value": value}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """The flow and its one-step policy to the data's chunks; V to what imagined
        chunks bring from each of their states on, and Q to what the first brings.
        """
        flow_key, noise_key, path_key = jax.random.split(key, 3)
        start = self.world.starts(batch)
        features, actions = self.world.features(start), batch["actions"]
        chunk = actions.reshape(len(actions), -1)
        policy, steps = self.nets.policy, self.config.flow_steps
        flow = policy.flow.loss(params["flow"], features, chunk, flow_key).mean()
        given = features, policy.noise(features, noise_key), steps
        _, actor = policy.distilled(params["actor"], state.params["flow"], *given)

        path = imagine(
            self.world,
            lambda features, key: self.chunk(
                state.params, features, key, self.config.samples
            ),
            start,
            path_key,
            self.config.horizon,
        )
        value, critic, metrics = self.value_losses(params, state, path)
        found = {"flow": flow, "actor": actor, "value": value, "critic": critic}
        return found, metrics

    def value_losses(
        self, params: dict[str, Params], state: TrainState, path: Trajectory
    ) -> tuple[Array, Array, Metrics]:
        """Σ_{k<H-t} Γ^k r_{t+k} + Γ^{H-t} V̄(s_H) is what V(s_t) learns, Γ being γ^n, in
        states that are reached; r_0 + Γ V(s_1) what Q(s_0, a_0) does.
        """
        net, values = self.nets.critics.one, self.nets.values
        reward, cont, features = path.reward, path.cont, path.features
        slow = net.mean(state.target["value"], features)
        returns = discounted_return(reward, cont, slow, self.discount, 1.0)
        out = net.out(params["value"], stop(features[:-1]))
        value = (path.alive[:-1] * values.loss(out, returns)).mean()

        after = net.mean(state.params["value"], features[1])
        target = bellman_target(reward[0], cont[0], after, self.discount)
        given = stop(features[0]), stop(path.action[0])
        q = self.nets.critic_out(params["critic"], *given)[0]
        critic = values.loss(q, target).mean()
        metrics = {
            "q_policy": values.mean(q).mean(),
            "imagined_return": returns[0].mean(),
            "imagined_reward": reward.mean(),
        }
        return value, critic, metrics

    def candidates(
        self, params: dict[str, Params], features: Array, key: Array, count: int
    ) -> Array:
        """`count` chunks as the data have them: [..., F] -> [count, ..., n A]."""
        return self.nets.policy.sample(params["actor"], features, key, count)

    def chunk(
        self, params: dict[str, Params], features: Array, key: Array, count: int
    ) -> Array:
        """The one of so many chunks with the largest Q: [..., F] -> [..., n A]."""
        chunks = self.candidates(params, features, key, count)
        q = self.nets.q(params["critic"], features, chunks)
        best = q.argmax(0)[None, ..., None]
        return jnp.take_along_axis(chunks, best, 0)[0]

    def policy(
        self, params: dict[str, Params], features: Array, key: Array | None = None
    ) -> Array:
        """The first action of the best chunk; without a key the noise is that of a
        fixed one.
        """
        key = jax.random.key(0) if key is None else key
        chunk = self.chunk(params, features, key, self.config.acting_samples)
        return chunk[..., : self.nets.action_size]

    def value(self, params: dict[str, Params], features: Array, action: Array) -> Array:
        """Q of the best chunk that begins with the action and goes on as a candidate
        does.
        """
        key, count = jax.random.key(0), self.config.acting_samples
        features = jnp.broadcast_to(features, (*action.shape[:-1], features.shape[-1]))
        chunks = self.candidates(params, features, key, count)
        first = jnp.broadcast_to(action, (count, *action.shape))
        chunks = jnp.concatenate([first, chunks[..., action.shape[-1] :]], -1)
        return self.nets.q(params["critic"], features, chunks).max(0)
