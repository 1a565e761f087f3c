"""The training of the latent world model."""

import jax
import optax
from flax import struct
from jax import Array

from dreamer_leq.world_models.latent import LatentNet, Params


@struct.dataclass
class WorldModelState:
    params: Params
    opt_state: optax.OptState


@struct.dataclass
class WorldModelTraining:
    """Pretraining of the latent world model on windows of the dataset [B, T]."""

    net: LatentNet = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)

    def init(self, key: Array) -> WorldModelState:
        params = self.net.init(key)
        return WorldModelState(params, self.optimizer.init(params))

    def update(
        self, state: WorldModelState, batch: dict[str, Array], key: Array
    ) -> tuple[WorldModelState, dict[str, Array]]:
        grads, metrics = jax.grad(self.net.loss, has_aux=True)(state.params, batch, key)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(grads)
        return WorldModelState(params, opt_state), metrics
