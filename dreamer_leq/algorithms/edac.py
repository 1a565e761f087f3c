"""EDAC: SAC with many critics, whose gradients by the action are kept apart
(arXiv 2110.01548). Without that term it is SAC-N, and with two critics SAC.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses, sac
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.critics import PolicyCritics


@struct.dataclass
class EDAC(Learner):
    """The weight η of the diversity term is data: `hyper["eta"]`."""

    averaged = ("critic",)
    trained = ("actor", "critic", "temperature")

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> PolicyCritics:
        return sac.networks_of(
            config, action_size, dtype, getattr(config, name).critics
        )

    def networks(self, key: Array) -> dict[str, Params]:
        return super().networks(key) | {"temperature": sac.temperature()}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        target_key, policy_key, _ = sac.split(key)
        features = self.world.features(self.world.starts(batch))
        next_features = self.world.features(self.world.successors(batch))
        next_q, log_prob = sac.next_value(self, state, next_features, target_key)
        alpha = jnp.exp(state.params["temperature"]["log"])
        reward, cont = batch["reward"], batch["cont"]
        soft = next_q - alpha * log_prob
        target = losses.bellman_target(reward, cont, soft, self.gamma)
        seen = self.world.action_features(batch["action"])
        out = self.nets.critics.out(params["critic"], features, seen)
        fit = self.nets.critics.values.loss(out, target).mean(-1).sum()
        similarity = self.similarity(params["critic"], features, batch["action"])
        found, metrics = sac.policy_losses(self, params, state, features, policy_key)
        found["critic"] = fit + state.hyper["eta"] * similarity
        q_data = self.nets.critics.values.mean(out).mean()
        metrics |= {"q_data": q_data, "q_target": target.mean()}
        return found, metrics | {"similarity": similarity}

    def similarity(self, critics: Params, features: Array, action: Array) -> Array:
        """Σ_{i≠j} <g_i, g_j> / (N - 1) in the mean over the batch, g_i being the
        direction of Q_i's gradient by the action, of length 1 (Eq. 4).
        """

        def one_sum(critic: Params, action: Array) -> Array:
            x = jnp.concatenate([features, self.world.action_features(action)], -1)
            return self.nets.critics.one.mean(critic, x).sum()  # rows are independent

        gradient = jax.vmap(jax.grad(one_sum, 1), (0, None))(critics, action)
        square = jnp.square(gradient).sum(-1, keepdims=True)
        g = gradient * jax.lax.rsqrt(square + 1e-20)
        pairs = jnp.square(g.sum(0)).sum(-1) - jnp.square(g).sum((0, -1))
        return pairs.mean() / (len(g) - 1)
