"""Imagined rollouts, and the gradient of every λ-return in one backward pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.returns import lambda_return, lambda_weights
from dreamer_leq.nn.taps import Taps
from dreamer_leq.world_models.interface import State, WorldModel

Kept = Taps | None  # what is kept of a network's layers
Policy = Callable[[Array, Array, Taps | None], tuple[Array, Array, Kept]]
CriticFn = Callable[[Array, Array, Taps | None], tuple[Array, Kept]]


@struct.dataclass
class Shifts:
    """Zeros that are added to what a rollout computes, and as a gradient what the sum
    of its λ-returns receives there.
    """

    action: Array | None = None  # [H+1, N, A]; as a gradient dy_t/da_t
    policy: tuple[Taps, Taps] | None = None  # of t < H [H, N, ...], and of H [N, ...]
    critic: Taps | None = None  # [(H+1) * N, ...]; as a gradient that of Q_t alone


@struct.dataclass
class Layers:
    """What is kept of a rollout's networks, as in `Shifts`: what the layers saw whose
    outputs were shifted, or else what the products came to.
    """

    policy: tuple[Kept, Kept]
    critic: Kept


NO_SHIFTS = Shifts()


@struct.dataclass
class Rollout:
    """H imagined steps of N rollouts. reward[t], cont[t] belong to the step t
    -> t+1.
    """

    features: Array  # [H+1, N, F]
    action: Array  # [H+1, N, A]
    pre_tanh: Array  # [H+1, N, A] what the policy's tanh was applied to
    reward: Array  # [H, N]
    cont: Array  # [H, N]
    q: Array  # [H+1, N]
    returns: Array  # [H+1, N] λ-returns y_t

    @property
    def alive(self) -> Array:
        """Probability that the rollout has not ended before t: [H+1, N], 1 at t = 0."""
        first = jnp.ones_like(self.cont[:1])
        return jnp.concatenate([first, jnp.cumprod(self.cont, 0)])


@jax.custom_vjp
def scale_gradient(x: State, scale: Array) -> State:
    """Identity whose cotangent is multiplied by `scale` [N]; none flows into
    `scale`.
    """
    return x


def _scale_forward(x, scale):
    return x, scale


def _scale_backward(scale, cotangent):
    def scaled(g):
        return g * scale.reshape(-1, *[1] * (g.ndim - 1)).astype(g.dtype)

    return jax.tree.map(scaled, cotangent), jnp.zeros_like(scale)


scale_gradient.defvjp(_scale_forward, _scale_backward)


def imagine(
    world_model: WorldModel,
    policy: Policy,
    critic: CriticFn,
    start: State,
    key: Array,
    *,
    horizon: int,
    gamma: float,
    lam: float,
    shifts: Shifts = NO_SHIFTS,
) -> tuple[Rollout, Layers]:
    """Roll the policy out for `horizon` steps from `start` (leading axis N).

    policy(features, key, taps) -> (action, pre_tanh, kept) and
    critic(features, action, taps) -> (q, kept), of which `Layers` are made.
    Cotangents are scaled on their way: see `action_gradients`.
    """
    shares = lambda_weights(horizon, lam)
    deltas, last_delta = None, None
    if shifts.action is not None:
        deltas, last_delta = shifts.action[:-1], shifts.action[-1]
    taps, last_taps = shifts.policy or (None, None)

    def act(state, key, delta, taps):
        features = world_model.features(state)
        action, pre_tanh, kept = policy(features, key, taps)
        action = action if delta is None else action + delta
        return (features, action, pre_tanh), kept

    def step(state, xs):
        share, key, noise, *shifts = xs
        path, kept = act(state, key, *shifts)
        state, reward, cont = world_model.step(state, path[1], noise)
        state = scale_gradient(state, share * gamma * jax.lax.stop_gradient(cont))
        return state, (path, kept, reward, cont)

    n = len(jax.tree.leaves(start)[0])
    keys = jax.random.split(key, horizon + 1)
    policy_keys, model_keys = jax.vmap(jax.random.split, out_axes=1)(keys[:-1])
    # the scan holds only what depends on the step before
    noise = jax.vmap(lambda key: world_model.noise(key, n))(model_keys)
    xs = (shares, policy_keys, noise, deltas, taps)
    last, steps = jax.lax.scan(step, start, xs, unroll=_written_out(horizon))
    path, kept, reward, cont = steps
    end, last_kept = act(last, keys[-1], last_delta, last_taps)
    features, action, pre_tanh = jax.tree.map(append, path, end)
    own_shares = jnp.append(1 - shares, 1.0)  # of Q_t in y_t
    seen = scale_gradient((features, action), own_shares)
    q, critic_kept = critic(*seen, shifts.critic)
    returns = lambda_return(reward, cont, q, gamma, lam)
    rollout = Rollout(features, action, pre_tanh, reward, cont, q, returns)
    return rollout, Layers((kept, last_kept), critic_kept)


def _written_out(horizon: int) -> bool:
    """Whether the compiler gets a rollout's steps one after the other, not as a loop.

    What the backward pass needs is then not gathered over time, and accelerators have
    half as many kernels to start. The price is a longer compilation.
    """
    return horizon <= (5 if jax.default_backend() == "cpu" else 16)


def append(x: Array, last: Array) -> Array:
    """[H, ...], [...] -> [H+1, ...]."""
    return jnp.concatenate([x, last[None]])


def action_gradients(
    world_model: WorldModel,
    policy: Policy,
    critic: CriticFn,
    start: State,
    key: Array,
    shifts: Shifts,
    *,
    horizon: int,
    gamma: float,
    lam: float,
) -> tuple[Shifts, Rollout, Layers]:
    """dy_t/da_t of every λ-return to its own action [H+1, N, A] (Eq. 11), as
    `Shifts.action`, and the rollout.

    Later actions stay closed-loop: they react to the states that a_t leads to. One
    backward pass gives all of them. With e_t of `lambda_weights`,

        y_t = (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1} y_{t+1}).

    Backpropagating the sum of the terms (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1}
    ȳ_{t+1}), ȳ constant, gives step t what it adds to y_t directly; what reaches y_t
    through s_{t+1} is e_t γ c_{t+1} times the cotangent that s_{t+1} has received for
    y_{t+1}, which is the factor that `imagine` puts on the way. Later returns thus
    enter y_t with their own weight, and never as objectives of their own.

    The factor 1 - e_t too is put on the way, between Q_t and what the critic sees.
    Within the critic the gradient is that of Q_t, and within the policy dy_t/da_t on
    its way to the states: what their own losses go back along, row for row. With
    `shifts` for their layers it is kept for them (nn/taps.py).
    """

    def objective(shifts):
        rollout, layers = imagine(
            world_model,
            policy,
            critic,
            start,
            key,
            horizon=horizon,
            gamma=gamma,
            lam=lam,
            shifts=shifts,
        )
        e = lambda_weights(horizon, lam)[:, None]
        later = jax.lax.stop_gradient(rollout.returns[1:])
        ahead = e * (rollout.reward + gamma * rollout.cont * later)
        return ahead.sum() + rollout.q.sum(), (rollout, layers)

    gradients, (rollout, layers) = jax.grad(objective, has_aux=True)(shifts)
    return gradients, rollout, layers
