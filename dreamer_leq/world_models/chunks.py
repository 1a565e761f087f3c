"""A world model that looks n agent steps ahead at once (MAC, arXiv 2512.08108): a state
vector and the next n actions, a chunk, give the state after them, the reward of each of
the steps, and how likely each ends the episode. Long rollouts then are few predictions,
and their errors fewer.

Shapes: N states, D numbers of a vector, A of an action, n agent steps.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.nn.layers import PlainMLP
from dreamer_leq.world_models.vectors import Vectors, VectorStates

Params = Any


@dataclass(frozen=True)
class ChunkNet:
    """Functions of the model. `config` is the `chunks` group of configs.yaml."""

    config: Any
    vector_size: int
    action_size: int
    dtype: jnp.dtype = jnp.float32

    @property
    def heads(self) -> dict[str, PlainMLP]:
        """A network of its own for what changes, for rewards and for ends."""
        c = self.config
        outputs = {"change": self.vector_size, "reward": c.steps, "end": c.steps}
        return {
            name: PlainMLP(c.layers, c.units, size, True, self.dtype)
            for name, size in outputs.items()
        }

    def init(self, key: Array) -> Params:
        x = jnp.zeros((1, self.vector_size + self.config.steps * self.action_size))
        keys = jax.random.split(key, len(self.heads))
        pairs = zip(keys, self.heads.items(), strict=True)
        return {name: head.init(key, x)["params"] for key, (name, head) in pairs}

    def predict(
        self, params: Params, features: Array, action: Array
    ) -> tuple[Array, Array, Array]:
        """The change of the vector in its units [N, D], the reward of each step and the
        logit of its end, if none came before, [N, n] both: from features [N, D] and a
        chunk [N, n A].
        """
        x = jnp.concatenate([features, action], -1)
        heads = self.heads.items()
        found = {k: head.apply({"params": params[k]}, x) for k, head in heads}
        return found["change"], found["reward"], found["end"]


@struct.dataclass
class ChunkWeights:
    """What a trained model consists of."""

    params: Params
    states: Vectors  # of the dataset
    change: Array  # [D] standard deviations of what n steps change


@struct.dataclass
class ChunkModel(VectorStates):
    """The trained model as algorithms see it; nothing in it is random.

    Rewards are as the run's algorithm sees them. A step's is Σ_k γ^k r_k over its agent
    steps, each as likely as none before it was the end.
    """

    weights: ChunkWeights
    net: ChunkNet = struct.field(pytree_node=False)
    gamma: float = struct.field(pytree_node=False)  # discount per agent step

    members = 1
    bounded = False
    disagreement_unit = "standard deviations of the dataset"

    @property
    def steps(self) -> int:
        return self.net.config.steps

    @property
    def feature_size(self) -> int:
        return self.net.vector_size

    def features(self, state: Array) -> Array:
        """The standardised vector: [N, D]."""
        return self.weights.states.features(state)

    def action_features(self, action: Array) -> Array:
        """The actions themselves."""
        return action

    def noise(self, key: Array, n: int, dealt: bool = True) -> tuple:
        """Nothing is random."""
        return ()

    def step(
        self, state: Array, action: Array, noise: tuple
    ) -> tuple[Array, Array, Array]:
        w = self.weights
        found = self.net.predict(w.params, self.features(state), action)
        change, rewards, ends = found
        on = jnp.cumprod(jax.nn.sigmoid(-ends), -1)
        reached = jnp.concatenate([jnp.ones_like(on[..., :1]), on[..., :-1]], -1)
        discount = self.gamma ** jnp.arange(self.steps)
        reward = (discount * reached * rewards).sum(-1)
        return state + w.change * change, reward, on[..., -1]

    def member_step(
        self, state: Array, action: Array, noise: tuple, member: int | Array
    ) -> tuple[Array, Array, Array]:
        """There is only one."""
        return self.step(state, action, noise)

    def disagreement(self, state: Array, action: Array) -> Array:
        """0: a single model has nobody to disagree with."""
        return jnp.zeros(state.shape[:-1])

    def uncertainty(self, state: Array, action: Array) -> Array:
        """0: it claims to know."""
        return jnp.zeros(state.shape[:-1])


# --- training


@struct.dataclass
class ChunkState:
    weights: ChunkWeights
    opt_state: optax.OptState


@struct.dataclass
class ChunkTraining:
    """The training on batches of transitions over n steps: vector and next_vector
    [N, D], actions [N, n, A], rewards and ends [N, n] (data/sampling.py).
    """

    net: ChunkNet = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)

    def init(self, key: Array, states: Vectors, change: Array) -> ChunkState:
        params = self.net.init(key)
        weights = ChunkWeights(params, states, change)
        return ChunkState(weights, self.optimizer.init(params))

    def update(
        self, state: ChunkState, batch: dict[str, Array], key: Array
    ) -> tuple[ChunkState, dict[str, Array]]:
        del key
        weights = state.weights
        grads, metrics = jax.grad(self.loss, has_aux=True)(
            weights.params, weights, batch
        )
        updates, opt_state = self.optimizer.update(grads, state.opt_state)
        params = optax.apply_updates(weights.params, updates)
        return ChunkState(weights.replace(params=params), opt_state), metrics

    def loss(
        self, params: Params, weights: ChunkWeights, batch: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Squared errors of change and rewards, and the cross entropy of ends, the last
        two of the steps that come before an end.
        """
        vector, actions = batch["vector"], batch["actions"]
        chunk = actions.reshape(len(actions), -1)
        features = weights.states.features(vector)
        change, reward, end = self.net.predict(params, features, chunk)
        wanted = (batch["next_vector"] - vector) / weights.change
        ends = batch["ends"].astype(reward.dtype)
        ended = jnp.cumsum(ends, -1) - ends > 0
        steps = jnp.where(ended, 0.0, 1.0)
        entropy = optax.sigmoid_binary_cross_entropy(end, ends)
        errors = {
            "change_loss": jnp.square(change - wanted).mean(),
            "reward_loss": (steps * jnp.square(reward - batch["rewards"])).mean(),
            "end_loss": (steps * entropy).mean(),
        }
        total = sum(errors.values())
        return total, errors | {"loss": total}


def abstract_weights(net: ChunkNet) -> ChunkWeights:
    """Shapes of a `ChunkWeights`, to read a checkpoint with."""
    params = jax.eval_shape(net.init, jax.random.key(0))
    numbers = jax.ShapeDtypeStruct((net.vector_size,), jnp.float32)
    return ChunkWeights(params, Vectors(numbers, numbers), numbers)
