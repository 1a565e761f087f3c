"""Imagined rollouts, and the gradient of every λ-return in one backward pass.

Shapes: N rollouts of H steps, F features, A action size.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.returns import lambda_return, lambda_weights
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.world_models.interface import State, WorldModel

Shift = Any  # what is added inside a network, and what its passes leave: see fast.py
Policy = Callable[[Array, Array, Shift], tuple[Array, Array, Any]]
Critic = Callable[[Array, Array, Shift], tuple[Array, Any]]

stop = jax.lax.stop_gradient


@struct.dataclass
class Rollout:
    """H imagined steps of N rollouts. reward[t], cont[t] belong to the step t
    -> t+1.

    What policy and critic say there is a function of their parameters, for their
    losses to differentiate: `policy`, `gain`, `critic_out`.
    """

    features: Array  # [H+1, N, F]
    action: Array  # [H+1, N, A]
    pre_tanh: Array  # [H+1, N, A] what the policy's tanh was applied to
    seen_action: Array  # [H+1, N, A] the action as the critic sees it
    reward: Array  # [H, N]
    cont: Array  # [H, N]
    q: Array  # [H+1, N]
    returns: Array  # [H+1, N] λ-returns y_t
    gradient: Array | None = None  # [H+1, N, A] dy_t/da_t, where it was asked for

    @property
    def alive(self) -> Array:
        """Probability that the rollout has not ended before t: [H+1, N], 1 at t = 0."""
        first = jnp.ones_like(self.cont[:1])
        return jnp.concatenate([first, jnp.cumprod(self.cont, 0)])

    def policy(self, nets: ActorCritic, actor: Params) -> tuple[Array, Array]:
        """Mean and standard deviation before tanh at the imagined states: [H+1, N, A]
        both.
        """
        return nets.actor(actor, stop(self.features))

    def gain(self, nets: ActorCritic, actor: Params) -> Array:
        """Σ_a π(s_t) dy_t/da_t, of which the policy alone varies (Eq. 11): [H+1, N]."""
        mean, _ = self.policy(nets, actor)
        return (jnp.tanh(mean) * stop(self.gradient)).sum(-1)

    def critic_out(self, nets: ActorCritic, critic: Params) -> Array:
        """What Q(s_t, a_t) is read from (Eq. 9): [H+1, N, outputs]."""
        return nets.critic_out(critic, *stop((self.features, self.seen_action)))


@struct.dataclass
class Shifts:
    """Zeros that are added to what a rollout computes. As a gradient, each holds what
    the sum of the rollout's λ-returns receives there.
    """

    action: Array | None = None  # [H+1, N, A]; as a gradient dy_t/da_t
    policy: Any = None  # the policy's own, of t < H [H, N, ...] and of H [N, ...]
    critic: Any = None  # the critic's own


@struct.dataclass
class Traces:
    """What the networks' passes have left, as `Shifts` are divided."""

    policy: Any
    critic: Any


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


def sampled(
    nets: ActorCritic, mean: Array, std: Array, key: Array
) -> tuple[Array, Array]:
    """The action of the imagined policy and what its tanh was applied to: [..., A]."""
    if nets.stochastic:
        mean = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
    return jnp.tanh(mean), mean


def imagine(
    world: WorldModel,
    nets: ActorCritic,
    params: dict[str, Params],
    start: State,
    key: Array,
    *,
    with_gradient: bool,
    **settings: Any,
) -> Rollout:
    """The policy's rollout from `start` [N], plainly; `settings` are those of `roll`.

    `with_gradient`: of every λ-return to its own action (`action_gradients`).
    """

    def policy(features, key, shift):
        return *sampled(nets, *nets.actor(params["actor"], features), key), None

    def critic(features, action, shift):
        seen = world.action_features(action)
        return nets.q(params["critic"], features, seen), None

    given = world, policy, critic, start, key
    if not with_gradient:
        return roll(*given, Shifts(), **settings)[0]
    n, _ = jax.eval_shape(world.features, start).shape
    zero = jnp.zeros((settings["horizon"] + 1, n, nets.action_size))
    gradients, rollout, _ = action_gradients(*given, Shifts(zero), **settings)
    return rollout.replace(gradient=gradients.action)


def roll(
    world: WorldModel,
    policy: Policy,
    critic: Critic,
    start: State,
    key: Array,
    shifts: Shifts,
    *,
    horizon: int,
    gamma: float,
    lam: float,
) -> tuple[Rollout, Traces]:
    """Roll the policy out for `horizon` steps from `start` [N].

    policy(features, key, shift) -> (action, pre_tanh, trace) and
    critic(features, action, shift) -> (q, trace), of which `Traces` are made.
    Cotangents are scaled on their way: see `action_gradients`.
    """
    shares = lambda_weights(horizon, lam)
    deltas, last_delta = None, None
    if shifts.action is not None:
        deltas, last_delta = shifts.action[:-1], shifts.action[-1]
    within, last_within = shifts.policy or (None, None)

    def act(state, key, delta, shift):
        features = world.features(state)
        action, pre_tanh, trace = policy(features, key, shift)
        action = action if delta is None else action + delta
        return (features, action, pre_tanh), trace

    def step(state, xs):
        share, key, noise, *shift = xs
        path, trace = act(state, key, *shift)
        after, reward, cont = world.step(state, path[1], noise)
        if not world.bounded:
            after = resting(after, state, cont)
        after = scale_gradient(after, share * gamma * stop(cont))
        return after, (path, trace, reward, cont)

    n = len(jax.tree.leaves(start)[0])
    keys = jax.random.split(key, horizon + 1)
    policy_keys, model_keys = jax.vmap(jax.random.split, out_axes=1)(keys[:-1])
    # the scan holds only what depends on the step before
    noise = jax.vmap(lambda key: world.noise(key, n))(model_keys)
    xs = (shares, policy_keys, noise, deltas, within)
    last, steps = jax.lax.scan(step, start, xs, unroll=_written_out(horizon))
    path, trace, reward, cont = steps
    end, last_trace = act(last, keys[-1], last_delta, last_within)
    features, action, pre_tanh = jax.tree.map(append, path, end)
    own_shares = jnp.append(1 - shares, 1.0)  # of Q_t in y_t
    q, critic_trace = critic(
        *scale_gradient((features, action), own_shares), shifts.critic
    )
    rollout = Rollout(
        features=features,
        action=action,
        pre_tanh=pre_tanh,
        seen_action=world.action_features(action),
        reward=reward,
        cont=cont,
        q=q,
        returns=lambda_return(reward, cont, q, gamma, lam),
    )
    return rollout, Traces((trace, last_trace), critic_trace)


def resting(after: State, before: State, cont: Array) -> State:
    """`after`, but `before` where the step has ended the episode for certain: what is
    imagined past an end may grow without bound, and 0 · ∞ is no 0.
    """

    def rest(a, b):
        return jnp.where(cont.reshape(-1, *[1] * (a.ndim - 1)) > 0, a, b)

    return jax.tree.map(rest, after, before)


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
    world: WorldModel,
    policy: Policy,
    critic: Critic,
    start: State,
    key: Array,
    shifts: Shifts,
    *,
    horizon: int,
    gamma: float,
    lam: float,
) -> tuple[Shifts, Rollout, Traces]:
    """dy_t/da_t of every λ-return to its own action [H+1, N, A] (Eq. 11), as
    `Shifts.action`, and the rollout.

    Later actions stay closed-loop: they react to the states that a_t leads to. One
    backward pass gives all of them. With e_t of `lambda_weights`,

        y_t = (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1} y_{t+1}).

    Backpropagating the sum of the terms (1 - e_t) Q_t + e_t (r_{t+1} + γ c_{t+1}
    ȳ_{t+1}), ȳ constant, gives step t what it adds to y_t directly; what reaches y_t
    through s_{t+1} is e_t γ c_{t+1} times the cotangent that s_{t+1} has received for
    y_{t+1}, which is the factor that `roll` puts on the way. Later returns thus enter
    y_t with their own weight, and never as objectives of their own.

    The factor 1 - e_t too is put on the way, between Q_t and what the critic sees.
    Within the critic the gradient is that of Q_t, and within the policy dy_t/da_t on
    its way to the states: what their own losses go back along, row for row.
    """
    settings = dict(horizon=horizon, gamma=gamma, lam=lam)

    def objective(shifts):
        rollout, traces = roll(world, policy, critic, start, key, shifts, **settings)
        e = lambda_weights(horizon, lam)[:, None]
        ahead = rollout.reward + gamma * rollout.cont * stop(rollout.returns[1:])
        return (e * ahead).sum() + rollout.q.sum(), (rollout, traces)

    gradients, (rollout, traces) = jax.grad(objective, has_aux=True)(shifts)
    return gradients, rollout, traces
