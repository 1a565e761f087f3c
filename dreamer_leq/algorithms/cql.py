"""Conservative Q-learning: SAC whose critics are pressed down where the policy goes and
up at the data's actions (arXiv 2006.04779, CQL(H) with importance weights).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.sac import SAC
from dreamer_leq.nn.actor_critic import Params

LARGEST_MULTIPLIER = 1e6


@struct.dataclass
class Conservative(SAC):
    """SAC without entropy in its targets, and with the conservative term, of weight
    `hyper["weight"]`.
    """

    largest_alpha = float("inf")

    @property
    def soft(self) -> bool:
        return False

    def added(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
        key: Array,
    ) -> tuple[Losses, Metrics]:
        next_features = self.features(state.params, self.world.successors(batch))
        candidates = self.candidates(state, stop(features), next_features, key)
        gap = self.conservative_gap(params["critic"], features, *candidates, q)
        return {"critic": state.hyper["weight"] * gap.sum()}, {"gap": gap.mean()}

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
            given = state.params["actor"], seen, draw_key
            drawn.append(self.nets.policy.sample(*given, count=k))
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
        seen = self.world.action_features(actions)
        q = self.nets.critics.q(critics, features, seen)
        spread = jax.nn.logsumexp(q - log_probs, axis=1)
        return spread.mean(-1) - self.lifted(data_q).mean(-1)

    def lifted(self, q: Array) -> Array:
        """Q_i(s, a) of the rows at whose actions critics are lifted: [critics, n]."""
        return q


@struct.dataclass
class CQL(Conservative):
    """With a `threshold` the term also has a multiplier, which rises where the term is
    above it (the paper's Lagrange version); the first `cloning` updates of the policy
    clone the data's actions.
    """

    @property
    def trained(self) -> tuple[str, ...]:
        own = ("multiplier",) if self.config.threshold else ()
        return ("actor", "critic", "temperature", *own)

    def networks(self, key: Array) -> dict[str, Params]:
        own = {"multiplier": {"log": jnp.zeros(())}} if self.config.threshold else {}
        return super().networks(key) | own

    def added(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
        key: Array,
    ) -> tuple[Losses, Metrics]:
        """The term as it is, or α' (w · gap - threshold) with the multiplier α'."""
        found, metrics = super().added(params, state, batch, features, q, key)
        if not self.config.threshold:
            return found, metrics
        surplus = found["critic"] - len(q) * self.config.threshold  # of all critics
        current, learned = (
            jnp.minimum(jnp.exp(p["multiplier"]["log"]), LARGEST_MULTIPLIER)
            for p in (state.params, params)
        )
        found = {
            "critic": current * surplus,
            "multiplier": -learned * stop(surplus) / len(q),
        }
        return found, metrics | {"multiplier": current}

    def worth(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
    ) -> Array:
        if not self.config.cloning:
            return q
        given = params["actor"], features, batch["action"]
        likely = self.nets.policy.log_prob(*given)
        return jnp.where(state.step < self.config.cloning, likely, q)
