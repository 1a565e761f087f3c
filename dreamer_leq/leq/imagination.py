"""Imagined rollouts, and the gradient of every λ-return in one backward pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.leq.returns import lambda_return, lambda_weights
from dreamer_leq.world_models.interface import State, WorldModel

Policy = Callable[[Array, Array], tuple[Array, Array]]
CriticFn = Callable[[Array, Array], Array]


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
    perturbation: Array | None = None,
) -> Rollout:
    """Roll the policy out for `horizon` steps from `start` (leading axis N).

    policy(features, key) -> (action, pre_tanh); critic(features, action) -> q.
    `perturbation` [H+1, N, A] is added to the actions. The cotangent that flows from
    s_{t+1} back into step t is multiplied by e_t γ cont_{t+1}: see `action_gradients`.
    """
    shares = lambda_weights(horizon, lam)

    def act(state, key, delta):
        features = world_model.features(state)
        action, pre_tanh = policy(features, key)
        action = action if delta is None else action + delta
        return features, action, pre_tanh

    def step(state, xs):
        share, key, delta = xs
        policy_key, model_key = jax.random.split(key)
        features, action, pre_tanh = act(state, policy_key, delta)
        state, reward, cont = world_model.step(state, action, model_key)
        state = scale_gradient(state, share * gamma * jax.lax.stop_gradient(cont))
        return state, (features, action, pre_tanh, reward, cont)

    keys = jax.random.split(key, horizon + 1)
    deltas, last_delta = None, None
    if perturbation is not None:
        deltas, last_delta = perturbation[:-1], perturbation[-1]
    last, steps = jax.lax.scan(step, start, (shares, keys[:-1], deltas))
    end = act(last, keys[-1], last_delta)
    *path, reward, cont = steps
    features, action, pre_tanh = (
        jnp.concatenate([x, y[None]]) for x, y in zip(path, end, strict=True)
    )
    q = critic(features, action)
    returns = lambda_return(reward, cont, q, gamma, lam)
    return Rollout(features, action, pre_tanh, reward, cont, q, returns)


def action_gradients(
    world_model: WorldModel,
    policy: Policy,
    critic: CriticFn,
    start: State,
    key: Array,
    *,
    horizon: int,
    gamma: float,
    lam: float,
    action_size: int,
) -> tuple[Array, Rollout]:
    """dy_t/da_t of every λ-return to its own action [H+1, N, A] (Eq. 11), and the
    rollout.

    Later actions stay closed-loop: they react to the states that a_t leads to. One
    backward pass gives all of them. With e_t of `lambda_weights`,

        y_t = (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1} y_{t+1}).

    Backpropagating the sum of the terms (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1}
    ȳ_{t+1}), ȳ constant, gives step t what it adds to y_t directly; what reaches y_t
    through s_{t+1} is e_t γ c_{t+1} times the cotangent that s_{t+1} has received for
    y_{t+1}, which is the factor that `imagine` puts on the way. Later returns thus
    enter y_t with their own weight, and never as objectives of their own.
    """

    def objective(perturbation):
        rollout = imagine(
            world_model,
            policy,
            critic,
            start,
            key,
            horizon=horizon,
            gamma=gamma,
            lam=lam,
            perturbation=perturbation,
        )
        e = lambda_weights(horizon, lam)[:, None]
        later = jax.lax.stop_gradient(rollout.returns[1:])
        ahead = rollout.reward + gamma * rollout.cont * later
        local = (1 - e) * rollout.q[:-1] + e * ahead
        return local.sum() + rollout.q[-1].sum(), rollout

    n = jax.tree.leaves(start)[0].shape[0]
    zero = jnp.zeros((horizon + 1, n, action_size))
    return jax.grad(objective, has_aux=True)(zero)
