"""ACRO: an encoder that has learned to tell which action was played on the way from one
image to a later one, and DrQ+BC on what it sees (arXiv 2211.00164).
"""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.algorithms.drq_bc import DrQBC
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.layers import Head
from dreamer_leq.world_models.interface import State


@struct.dataclass
class ActionPrediction(Learner):
    """Trains the encoder alone: which action was played in s_t, from s_t and s_{t+k} of
    the same episode, k from 1 to `reach`. Its policy has not begun to learn.
    """

    reads = ("later",)
    trained = ("predictor",)

    @property
    def steps(self) -> int:
        return self.config.reach

    @property
    def predictor(self) -> Head:
        """Features of both states, side by side, to the action's direction."""
        c, nets = self.config, self.nets
        sizes = c.layers, c.units, False, nets.action_size
        return Head("mlp", *sizes, dtype=nets.policy.dtype)

    def networks(self, key: Array) -> dict[str, Params]:
        both = jnp.zeros((1, 2 * self.world.feature_size))
        predictor = self.predictor.init(jax.random.fold_in(key, 1), both)["params"]
        return super().networks(key) | {"predictor": predictor}

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """The squared distance of predicted and played action, both of length 1, in the
        mean over their numbers: (2 - 2 cos) / A.
        """
        now = self.features(params, self.world.starts(batch))
        later = self.features(params, self.world.successors(batch))
        both = jnp.concatenate([now, later], -1)
        out = self.predictor.apply({"params": params["predictor"]}, both)
        predicted, played = direction(jnp.tanh(out)), direction(batch["action"])
        cosine = (predicted * played).sum(-1).mean()
        return {"predictor": jnp.square(predicted - played).mean()}, {"cosine": cosine}


@struct.dataclass
class ACRO(DrQBC):
    """DrQ+BC with an encoder that stays as it is."""

    inherits = ("encoder",)
    encoder_learns = False

    def features(self, params: dict[str, Params], state: State) -> Array:
        return stop(super().features(params, state))


def direction(action: Array) -> Array:
    """[..., A] of length 1; 0 of 0."""
    return action / optax.safe_norm(action, 1e-12, axis=-1, keepdims=True)
