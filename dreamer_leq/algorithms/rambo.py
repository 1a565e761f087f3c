"""RAMBO: SAC on the dataset and on imagined rows of a world model that learns on, and
against the policy: what would be good becomes less likely (arXiv 2204.12581).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Batch, Metrics, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.mixture import Mixture
from dreamer_leq.algorithms.sac import SAC
from dreamer_leq.world_models.interface import State
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble, Params


@struct.dataclass
class RAMBO(Mixture, SAC):
    """The adversary's weight λ is data: `hyper["adversary"]`. memory["model"] are the
    ensemble's parameters, memory["optimizer"] is its Adam's state.
    """

    def remember(self) -> dict[str, Any]:
        model = jax.tree.map(jnp.copy, self.world.params)
        own = {"model": model, "optimizer": self.model_optimizer.init(model)}
        return super().remember() | own

    def model(self, state: TrainState) -> MLPEnsemble:
        return self.world.replace(params=state.memory["model"])

    @property
    def model_optimizer(self) -> optax.GradientTransformation:
        """That of the world model."""
        return optax.adam(self.config.model_learning_rate)

    def explore(self, state: TrainState, features: Array, key: Array) -> Array:
        if not self.config.uniform:
            return super().explore(state, features, key)
        shape = len(features), self.nets.action_size
        return jax.random.uniform(key, shape, features.dtype, minval=-1.0)

    def refresh(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """Train the world model, and imagine rows with it."""
        model_key, rows_key = jax.random.split(key)
        state = self.train_model(state, batch, model_key)
        return super().refresh(state, batch, rows_key)

    def train_model(self, state: TrainState, batch: Batch, key: Array) -> TrainState:
        """`model_updates` steps of the world model, each on other rows of the batch and
        on one step of rollouts, which begin anew after `horizon` steps or at an end.
        """
        c, starts = self.config, self.world.starts(batch)
        shape, n = (c.model_batch,), len(starts)

        def step(carry: tuple, x: tuple) -> tuple:
            model, opt_state, now, ended = carry
            i, (row_key, start_key, loss_key) = x
            picks = jax.random.randint(row_key, shape, 0, n)
            rows = jax.tree.map(lambda x: x[picks], batch)
            anew = (ended | (i % c.rollouts.horizon == 0))[:, None]
            first = starts[jax.random.randint(start_key, shape, 0, n)]
            given = state, rows, jnp.where(anew, first, now), loss_key
            loss = jax.grad(self.model_loss, has_aux=True)
            grads, (now, cont) = loss(model, *given)
            updates, opt_state = self.model_optimizer.update(grads, opt_state)
            model = optax.apply_updates(model, updates)
            return (model, opt_state, now, cont < 0.5), None

        memory, count = state.memory, c.model_updates
        now = jnp.broadcast_to(starts[0], (*shape, starts.shape[1]))
        first = memory["model"], memory["optimizer"], now, jnp.ones(shape, bool)
        xs = jnp.arange(count), jax.random.split(key, (count, 3))
        (model, opt_state, _, _), _ = jax.lax.scan(step, first, xs)
        return state.replace(memory=memory | {"model": model, "optimizer": opt_state})

    def model_loss(
        self, model: Params, state: TrainState, rows: Batch, now: State, key: Array
    ) -> tuple[Array, tuple[State, Array]]:
        """λ log p(s', r | s, a) Â of imagined steps from `now` + NLL of the dataset's
        rows, a scalar; and the imagined s' with its continuation.
        """
        world = self.world.replace(params=model)
        features = world.features(now)
        action_key, member_key, noise_key = jax.random.split(key, 3)
        actor = state.params["actor"]
        action, _ = self.nets.policy.sample(actor, features, action_key)
        mean, std = world.moments(now, action)
        member = jax.random.randint(member_key, (len(now),), 0, len(mean))
        own = lambda x: x[member, jnp.arange(len(now))]  # noqa: E731
        noise = jax.random.normal(noise_key, mean.shape[1:], mean.dtype)
        sample = stop(own(mean) + own(std) * noise)
        log_prob = mixture_log_prob(mean, std, sample)
        after, reward, cont = world.outcome(now, action, sample)
        advantage = self.advantage(state, features, action, reward, cont, after)
        adversary = (log_prob * stop(advantage)).mean()
        total = state.hyper["adversary"] * adversary + self.fit_of_data(world, rows)
        return total, (after, cont)

    def advantage(
        self,
        state: TrainState,
        features: Array,
        action: Array,
        reward: Array,
        cont: Array,
        after: State,
    ) -> Array:
        """r + γ (1 - termination) min_i Q_i(s', π(s')) - min_i Q_i(s, a), of mean 0 and
        deviation 1 in the batch: [N].
        """
        next_features = self.world.features(after)
        next_q = self.value(
            state.params, next_features, self.policy(state.params, next_features)
        )
        target = losses.bellman_target(reward, cont, next_q, self.gamma)
        found = target - self.value(state.params, features, action)
        return (found - found.mean()) / jnp.maximum(found.std(), 1e-6)

    def fit_of_data(self, world: MLPEnsemble, rows: Batch) -> Array:
        """The ensemble's own loss, of all members on the same rows."""
        start = world.starts(rows)
        change = world.successors(rows) - start
        reward = (rows["reward"] - world.reward_bias) / world.reward_scale
        target = jnp.concatenate([change, reward[:, None]], -1)
        x = world.inputs(start, rows["action"])
        pair = (jnp.broadcast_to(y, (world.members, *y.shape)) for y in (x, target))
        return world.net.loss(world.params, *pair)[0]


def mixture_log_prob(mean: Array, std: Array, sample: Array) -> Array:
    """Logarithm of the density of `sample` [N, D] under the members' normal
    distributions [E, N, D], each as likely as the others: [N].
    """
    z = (sample - mean) / std
    each = (-0.5 * jnp.square(z) - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(len(mean))
