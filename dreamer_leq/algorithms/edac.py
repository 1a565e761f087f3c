"""EDAC: SAC with many critics, whose gradients by the action are kept apart
(arXiv 2110.01548). Without that term it is SAC-N, and with two critics SAC.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Losses, Metrics, TrainState
from dreamer_leq.algorithms.sac import SAC
from dreamer_leq.nn.actor_critic import Params


@struct.dataclass
class EDAC(SAC):
    """The weight η of the diversity term is data: `hyper["eta"]`."""

    def added(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Batch,
        features: Array,
        q: Array,
        key: Array,
    ) -> tuple[Losses, Metrics]:
        similarity = self.similarity(params["critic"], features, batch["action"])
        weighted = state.hyper["eta"] * similarity
        return {"critic": weighted}, {"similarity": similarity}

    def similarity(self, critics: Params, features: Array, action: Array) -> Array:
        """Σ_{i≠j} <g_i, g_j> / (N - 1) in the mean over the batch, g_i being the
        direction of Q_i's gradient by the action, of length 1 (Eq. 4).
        """

        def one_sum(critic: Params, action: Array) -> Array:
            seen = self.world.action_features(action)
            q = self.nets.critics.one.mean(critic, features, seen)
            return q.sum()  # rows are independent

        gradient = jax.vmap(jax.grad(one_sum, 1), (0, None))(critics, action)
        square = jnp.square(gradient).sum(-1, keepdims=True)
        g = gradient * jax.lax.rsqrt(square + 1e-20)
        pairs = jnp.square(g.sum(0)).sum(-1) - jnp.square(g).sum((0, -1))
        return pairs.mean() / (len(g) - 1)
