"""Training of the MLP ensemble: bootstrap, epochs, validation, early stopping."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from dreamer_leq.nn.parallel import divided
from dreamer_leq.world_models.mlp_ensemble import EnsembleNet, MLPEnsemble, Params
from dreamer_leq.world_models.termination import Termination
from vd4rl_loader.states import RewardTransform

_ROUNDING = 1e-6  # of float32, relative to a number


@struct.dataclass
class Best:
    """What is kept of every member: its layers where they generalised best."""

    params: Params  # [E, ...]; the log-variance bounds are the last ones
    error: Array  # [E] squared error on the held-out transitions
    mean: Array  # [D + A] of the training inputs
    std: Array  # [D + A]


@struct.dataclass
class EnsembleState:
    params: Params
    opt_state: optax.OptState
    best: Best
    order: Array  # int32 [E, n] each member's bootstrap, in this epoch's order
    position: Array  # updates of this epoch
    stale: Array  # epochs in a row in which no member improved


@struct.dataclass
class EnsembleTraining:
    """All members in one program. A batch is the whole data: see `training_data`."""

    net: EnsembleNet = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)

    def init(self, key: Array, data: dict[str, Array]) -> EnsembleState:
        param_key, boot_key = jax.random.split(key)
        params, members = self.net.init(param_key), self.net.config.members
        n = len(data["train"])
        mean, std = standardisation(data)
        if self.net.ends_by == "departure":
            ends = data["is_terminal"][data["train"] + 1].any()
            keep = partial(jnp.where, ends)
            params = jax.tree.map(keep, params, self.net.without_ends(params))
        return EnsembleState(
            params=params,
            opt_state=self.optimizer.init(params),
            best=Best(
                # a copy: both are donated to the next update
                jax.tree.map(jnp.copy, params),
                jnp.full(members, jnp.inf, jnp.float32),
                mean,
                std,
            ),
            # drawn with replacement, once (ORK); in random order already
            order=data["train"][jax.random.randint(boot_key, (members, n), 0, n)],
            position=jnp.zeros((), jnp.int32),
            stale=jnp.zeros((), jnp.int32),
        )

    def updates_per_epoch(self, transitions: int) -> int:
        """The last, smaller batch of an epoch is left out."""
        return max(1, transitions // self.batch(transitions))

    def batch(self, transitions: int) -> int:
        return min(self.net.config.batch, transitions)

    def update(
        self, state: EnsembleState, data: dict[str, Array], key: Array
    ) -> tuple[EnsembleState, dict[str, Array]]:
        """One minibatch for every member, each its own."""
        del key  # the order is drawn once an epoch
        size = self.batch(state.order.shape[1])
        first = state.position * size
        rows = jax.lax.dynamic_slice_in_dim(state.order, first, size, axis=1)
        rows = divided(rows, axis=1)
        x, target = self._examples(state.best, data, rows)

        def loss(params):
            total, metrics = self.net.loss(params, x, target)
            if "termination" in params:
                one = rows[state.position % len(rows)]  # a member's, each in its turn
                extra = self._termination_loss(params, state.best, data, one)
                total, metrics = total + extra, metrics | {"termination_loss": extra}
            return total, metrics

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        position = state.position + 1
        state = state.replace(params=params, opt_state=opt_state, position=position)
        return state, metrics

    def end_epoch(
        self, state: EnsembleState, data: dict[str, Array], key: Array
    ) -> tuple[EnsembleState, dict[str, Array]]:
        """Validate, keep what has improved, shuffle every member's rows."""
        rows = jnp.broadcast_to(
            data["holdout"], (len(state.order), len(data["holdout"]))
        )
        x, target = self._examples(state.best, data, rows)
        mean, _ = self.net.predict(state.params, x)
        error = jnp.square(mean - target).mean((1, 2))
        old = state.best.error
        improved = error < (1 - self.net.config.improvement) * old

        def kept(new, old):
            return jnp.where(improved.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        layers = jax.tree.map(kept, state.params["layers"], state.best.params["layers"])
        best = state.best.replace(
            params=state.params | {"layers": layers},
            error=jnp.where(improved, error, old),
        )
        order = jax.random.permutation(key, state.order, axis=1, independent=True)
        stale = jnp.where(improved.any(), 0, state.stale + 1)
        zero = jnp.zeros_like(state.position)
        metrics = {
            "holdout_error": error.mean(),
            "best_holdout_error": best.error.mean(),
            "improved_members": improved.sum(),
        }
        state = state.replace(best=best, order=order, position=zero, stale=stale)
        return state, metrics

    def finished(self, state: EnsembleState) -> bool:
        return int(state.stale) >= self.net.config.patience

    def _examples(
        self, best: Best, data: dict[str, Array], rows: Array
    ) -> tuple[Array, Array]:
        """Standardised inputs [..., D + A] and targets [s' - s, r] of transitions."""
        state, after = data["vector"][rows], rows + 1
        x = jnp.concatenate([state, data["action"][after]], -1)
        change = data["vector"][after] - state
        target = jnp.concatenate([change, data["reward"][after][..., None]], -1)
        return (x - best.mean) / best.std, target

    def _termination_loss(
        self, params: Params, best: Best, data: dict[str, Array], rows: Array
    ) -> Array:
        if self.net.ends_by == "departure":
            x, _ = self._examples(best, data, rows)
        else:
            d = self.net.vector_size
            x = (data["vector"][rows + 1] - best.mean[:d]) / best.std[:d]
        logit = self.net.terminal_logit(params, x)
        label = data["is_terminal"][rows + 1].astype(jnp.float32)
        return optax.sigmoid_binary_cross_entropy(logit, label).mean()


@jax.jit
def standardisation(data: dict[str, Array]) -> tuple[Array, Array]:
    """Mean and standard deviation of the training inputs (s, a): [D + A] each."""
    rows = data["train"]
    x = jnp.concatenate([data["vector"][rows], data["action"][rows + 1]], -1)
    # From one of the rows on: sums of large numbers would round small differences away.
    apart = x - x[0]
    return x[0] + apart.mean(0), units(apart.std(0), jnp.abs(x).max(0))


def units(std: ArrayLike, largest: ArrayLike) -> Array:
    """Standard deviations [D] to divide by: 1 for numbers that never change, though
    rounding to float32 may make them seem to.

    largest: [D] their largest absolute values.
    """
    return jnp.where(std <= _ROUNDING * largest, 1.0, std)


def elites(
    best: Best,
    net: EnsembleNet,
    termination: Termination,
    transform: RewardTransform,
) -> MLPEnsemble:
    """The world model made of the members with the smallest held-out errors."""
    picks = jnp.argsort(best.error)[: net.config.elites]
    layers = jax.tree.map(lambda p: p[picks], best.params["layers"])
    return MLPEnsemble(
        params=best.params | {"layers": layers},
        mean=best.mean,
        std=best.std,
        reward_scale=jnp.float32(transform.scale),
        reward_bias=jnp.float32(transform.bias),
        net=net,
        termination=termination,
    )


def abstract_best(net: EnsembleNet) -> Any:
    """Shapes of a `Best`, to read a checkpoint with."""
    params = jax.eval_shape(net.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((net.vector_size + net.action_size,), jnp.float32)
    error = jax.ShapeDtypeStruct((net.config.members,), jnp.float32)
    return Best(params, error, inputs, inputs)


end_epoch = partial(jax.jit, static_argnums=0, donate_argnums=1)(
    EnsembleTraining.end_epoch
)
