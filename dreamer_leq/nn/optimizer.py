"""DreamerV3's optimiser as a chain of optax pieces: clip, scale by RMS, then
average.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def adaptive_gradient_clip(
    clip: float = 0.3, eps: float = 1e-3
) -> optax.GradientTransformation:
    """Limit each leaf's gradient norm to `clip` times its parameter norm (at least
    eps).

    Per whole leaf, biases and norms included, unlike `optax.adaptive_grad_clip`, which
    clips per unit.
    """

    def update(grads, state, params):
        def clipped(g, p):
            limit = clip * jnp.maximum(eps, jnp.linalg.norm(p.ravel()))
            return g / jnp.maximum(1.0, jnp.linalg.norm(g.ravel()) / limit)

        return jax.tree.map(clipped, grads, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_laprop(
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-20
) -> optax.GradientTransformation:
    """LaProp (arXiv 2002.04839): RMS scaling first, momentum of the scaled gradient
    after.

    Both averages are corrected for their start at 0. A parameter whose squared
    gradients all underflow to 0 stays where it is: eps alone would turn 1e-18 into a
    step of 100.
    """

    def update(grads, state, params=None):
        count = optax.safe_increment(state.count)
        nu = jax.tree.map(
            lambda v, g: beta2 * v + (1 - beta2) * jnp.square(g), state.nu, grads
        )
        correction = 1 - beta2**count
        scaled = jax.tree.map(
            lambda g, v: jnp.where(v > 0, g / (jnp.sqrt(v / correction) + eps), 0.0),
            grads,
            nu,
        )
        mu = jax.tree.map(lambda m, u: beta1 * m + (1 - beta1) * u, state.mu, scaled)
        updates = jax.tree.map(lambda m: m / (1 - beta1**count), mu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    def init(params):
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    return optax.GradientTransformation(init, update)


def learning_rate_schedule(
    peak: float, warmup: int, total: int, kind: str = "cosine"
) -> optax.Schedule:
    """0 at count 0, linear to `peak` at `warmup`; then a cosine to 0 at `total`, or
    flat. Without warm-up it begins at `peak`.
    """
    if kind == "cosine":
        end = max(total, warmup + 1)  # a phase of no updates has a schedule, too
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, end)
    if warmup:
        return optax.warmup_constant_schedule(0.0, peak, warmup)
    return optax.constant_schedule(peak)


def make_optimizer(
    learning_rate: float = 4e-5,
    warmup: int = 1000,
    total: int = 150_000,
    schedule: str = "cosine",
    agc: float = 0.3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-20,
    kind: str = "laprop",
) -> optax.GradientTransformation:
    """Clip (unless `agc` is 0), LaProp or Adam, schedule. With a warm-up the first
    update is exactly 0.
    """
    scale = scale_by_laprop if kind == "laprop" else optax.scale_by_adam
    clip = [adaptive_gradient_clip(agc)] if agc else []
    rate = learning_rate_schedule(learning_rate, warmup, total, schedule)
    return optax.chain(
        *clip, scale(beta1, beta2, eps), optax.scale_by_learning_rate(rate)
    )


def by_group(
    optimizer_of: Callable[[str], optax.GradientTransformation],
) -> optax.GradientTransformation:
    """One optimiser per entry of a dict of parameters, by the entry's name."""

    def init(params):
        return {name: optimizer_of(name).init(params[name]) for name in params}

    def update(grads, state, params):
        done = {
            name: optimizer_of(name).update(grads[name], state[name], params[name])
            for name in grads
        }
        updates = {name: update for name, (update, _) in done.items()}
        return updates, {name: state for name, (_, state) in done.items()}

    return optax.GradientTransformation(init, update)
