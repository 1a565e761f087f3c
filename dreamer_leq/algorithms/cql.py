"""Conservative Q-learning: SAC whose critics are pressed down where the policy goes and
up at the data's actions (arXiv 2006.04779, CQL(H) with importance weights).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses, sac
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics


@struct.dataclass
class CQL(Learner):
    """The weight w of the conservative term is data: `hyper["weight"]`."""

    averaged = ("critic",)
    trained = ("actor", "critic", "temperature")

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return sac.networks_of(config, action_size, dtype, critics=2)

    def networks(self, key: Array) -> dict[str, Params]:
        return super().networks(key) | {"temperature": sac.temperature()}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        target_key, policy_key, own_key = sac.split(key)
        features = self.world.features(self.world.starts(batch))
        next_features = self.world.features(self.world.successors(batch))
        next_q, _ = sac.next_value(self, state, next_features, target_key)
        reward, cont = batch["reward"], batch["cont"]
        target = losses.bellman_target(reward, cont, next_q, self.gamma)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        q = self.nets.critics.values.mean(out)
        fit = self.nets.critics.values.loss(out, target).mean(-1).sum()
        candidates = self.candidates(state, features, next_features, own_key)
        gap = self.conservative_gap(params["critic"], features, *candidates, q)
        found, metrics = sac.policy_losses(self, params, state, features, policy_key)
        found["critic"] = fit + state.hyper["weight"] * gap.sum()
        metrics |= {"q_data": q.mean(), "q_target": target.mean(), "gap": gap.mean()}
        return found, metrics

    def candidates(
        self, state: TrainState, features: Array, next_features: Array, key: Array
    ) -> tuple[Array, Array]:
        """Actions [3K, N, A] and the logarithm of the density that each was drawn with,
        [3K, N]: K uniform ones, K of the policy in s and K of it in s'.
        """
        uniform_key, now_key, next_key = jax.random.split(key, 3)
        k, n, size = self.config.samples, len(features), self.nets.action_size
        uniform = jax.random.uniform(
            uniform_key, (k, n, size), features.dtype, minval=-1.0
        )
        density = jnp.full((k, n), -size * jnp.log(2.0), features.dtype)
        drawn = [(uniform, density)]
        for seen, draw_key in ((features, now_key), (next_features, next_key)):
            repeated = jnp.broadcast_to(seen, (k, *seen.shape))
            given = state.params["actor"], repeated, draw_key
            drawn.append(self.nets.policy.sample(*given))
        actions, log_probs = zip(*drawn, strict=True)
        return stop(jnp.concatenate(actions)), stop(jnp.concatenate(log_probs))

    def conservative_gap(
        self,
        critics: Params,
        features: Array,
        actions: Array,
        log_probs: Array,
        data_q: Array,
    ) -> Array:
        """log Σ_k exp(Q_i(s, a_k) - log density of a_k) - Q_i(s, a) of the data, in the
        mean over the batch: [critics]. All actions are judged in s.
        """
        repeated = jnp.broadcast_to(features, (len(actions), *features.shape))
        seen = self.world.action_features(actions)
        q = self.nets.critics.q(critics, repeated, seen)
        spread = jax.nn.logsumexp(q - log_probs, axis=1)
        return (spread - data_q).mean(-1)
