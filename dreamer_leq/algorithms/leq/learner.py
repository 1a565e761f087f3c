"""One LEQ update: critic and policy learn lower expectiles of λ-returns
(Algorithm 1).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.leq.expansion import ExpandedData, expand
from dreamer_leq.algorithms.leq.fast import NOTHING, Recordings, open_shifts, recordings
from dreamer_leq.algorithms.leq.imagination import (
    NO_SHIFTS,
    Rollout,
    action_gradients,
    imagine,
)
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import ActorCritic, Params, moving_average
from dreamer_leq.nn.distributions import tanh_normal_log_prob
from dreamer_leq.nn.taps import Taps
from dreamer_leq.world_models.interface import State, WorldModel

Batch = dict[str, Array]
Metrics = dict[str, Array]


@struct.dataclass
class LEQState:
    """Everything that one learner changes. τ is data: a grid of τ is a leading axis."""

    params: dict[str, Params]  # actor, critic (and value with REINFORCE)
    target_critic: Params  # moving average of the critic; only regularises it (Eq. 6)
    opt_state: optax.OptState
    return_range: Array  # [2] moving averages of the returns' 5th and 95th percentiles
    tau: Array  # expectile
    expanded: ExpandedData | None = None  # D_model, where the dataset is expanded


@struct.dataclass
class LEQ:
    """The learner against one frozen world model. `config` is the whole configuration.

    A batch holds N transitions of the dataset: what `world_model.starts` and
    `.successors` read, and action [N, A], reward [N], cont [N] of the step between the
    two.
    """

    world_model: WorldModel
    nets: ActorCritic = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False)

    def init(self, params: dict[str, Params]) -> LEQState:
        return LEQState(
            params=params,
            # a copy: both are donated to the next update
            target_critic=jax.tree.map(jnp.copy, params["critic"]),
            opt_state=self.optimizer.init(params),
            return_range=jnp.zeros(2),
            tau=jnp.float32(self.config.leq.tau[0]),
        )

    def update(
        self, state: LEQState, batch: Batch, key: Array
    ) -> tuple[LEQState, Metrics]:
        """One step of critic, policy and (REINFORCE) value. The world model stays."""
        start = self.starts(state, batch, key)
        gradient, rollout, kept = self.imagine(state, start, key)
        return_range = self.track_returns(state.return_range, rollout.returns)

        def total_loss(params):
            data_loss, metrics = self.critic_data_loss(params, state, batch)
            model_loss, model_metrics = self.critic_model_loss(
                params, state, rollout, kept
            )
            beta = self.config.leq.beta
            critic_loss = beta * model_loss + (1 - beta) * data_loss  # Eq. 7
            actor_loss, actor_metrics = self.actor_loss(
                params, state, batch, rollout, gradient, return_range, kept
            )
            metrics |= model_metrics | actor_metrics
            metrics |= {"critic_loss": critic_loss, "actor_loss": actor_loss}
            return critic_loss + actor_loss, metrics

        grads, metrics = jax.grad(total_loss, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(
            params=params,
            target_critic=moving_average(
                state.target_critic, params["critic"], self.config.critic.ema_decay
            ),
            opt_state=opt_state,
            return_range=return_range,
        )
        return state, metrics | self.rollout_metrics(rollout)

    def open_ring(self, state: LEQState, batch: Batch) -> LEQState:
        """An empty D_model for states such as the batch's."""
        c = self.config.expansion
        capacity = c.retain * c.length * c.starts
        example = self.world_model.starts(batch)
        return state.replace(expanded=ExpandedData.empty(example, capacity))

    def expand(self, state: LEQState, batch: Batch, key: Array) -> LEQState:
        """Add noisy rollouts from the batch's states to D_model (paper sec. 4.4)."""
        c = self.config.expansion
        actor = lambda f: self.nets.actor(state.params["actor"], f)[0]  # noqa: E731
        start = self.world_model.starts(batch)
        grown = expand(
            state.expanded,
            self.world_model,
            actor,
            start,
            key,
            length=c.length,
            noise=c.noise,
        )
        return state.replace(expanded=grown)

    def starts(self, state: LEQState, batch: Batch, key: Array) -> State:
        """Where imagination starts: states of D_model, else those of the batch."""
        if state.expanded is None:
            return self.world_model.starts(batch)
        # the rollout splits this key into horizon + 1, which are fold_in's 0 … horizon
        key = jax.random.fold_in(key, self.config.leq.horizon + 1)
        return state.expanded.sample(key, len(batch["action"]))

    def imagine(
        self, state: LEQState, start: State, key: Array
    ) -> tuple[Array | None, Rollout, Recordings]:
        """Rollouts from `start` [N]; with `dpg` also dy_t/da_t [H+1, N, A]; and what is
        kept of the passes that gave them.
        """
        c, params = self.config.leq, state.params
        settings = dict(horizon=c.horizon, gamma=c.gamma, lam=c.lam)

        def policy(features, key, taps):
            return self.policy(params["actor"], features, key, taps)

        def critic(features, action, taps):
            action = self.world_model.action_features(action)
            return self.nets.q_kept(params["critic"], features, action, taps)

        args = (self.world_model, policy, critic, start, key)
        if self.config.actor.update != "dpg":
            rollout, layers = imagine(*args, **settings)
            return None, rollout, recordings(self.nets, rollout, NO_SHIFTS, layers)
        features = jax.eval_shape(self.world_model.features, start)
        shifts = open_shifts(self.nets, params, features, c.horizon)
        gradients, rollout, layers = action_gradients(*args, shifts, **settings)
        kept = recordings(self.nets, rollout, gradients, layers)
        return gradients.action, rollout, kept

    def policy(
        self, params: Params, features: Array, key: Array, taps: Taps | None = None
    ) -> tuple[Array, Array, Taps]:
        """The action in imagination, what its tanh was applied to, both [..., A], and
        what is kept of the layers.
        """
        (mean, std), kept = self.nets.actor_kept(params, features, taps)
        if self.nets.stochastic:
            mean = mean + std * jax.random.normal(key, mean.shape)
        return jnp.tanh(mean), mean, kept

    def q(self, params: Params, features: Array, action: Array) -> Array:
        """Q(s, a) of an action in [-1, 1]: [..., F], [..., A] -> [...]."""
        action = self.world_model.action_features(action)
        return self.nets.q(params, features, action)

    def critic_model_loss(
        self,
        params: dict[str, Params],
        state: LEQState,
        rollout: Rollout,
        kept: Recordings = NOTHING,
    ) -> tuple[Array, Metrics]:
        """Lower expectile of λ-returns over imagined steps t < H (Eq. 9), and Eq. 6."""
        features, action = stop((rollout.features, rollout.action))
        action = self.world_model.action_features(action)
        target, old = rollout.returns[:-1], rollout.q[:-1]
        steps = jnp.arange(len(target))[:, None]
        weight = stop(self.config.leq.gamma**steps * rollout.alive[:-1])
        q = kept.q(params["critic"], len(target))
        if q is None:
            seen = features, action, kept.critic_outputs
            out = self.nets.critic_out(params["critic"], *seen)
        else:
            out = q[..., None]
        past = out[:-1], state, features[:-1], action[:-1]
        loss = self.regression(*past, target, state.tau)
        metrics = {"return_above_q": (target > old).mean()}
        return (weight * loss).mean(), metrics

    def critic_data_loss(
        self, params: dict[str, Params], state: LEQState, batch: Batch
    ) -> tuple[Array, Metrics]:
        """Bellman loss of the dataset's transitions (Eq. 5), and Eq. 6."""
        features = self.world_model.features(self.world_model.starts(batch))
        next_features = self.world_model.features(self.world_model.successors(batch))
        next_action = self.nets.mode(state.params["actor"], next_features)
        next_q = self.q(state.params["critic"], next_features, next_action)
        gamma = self.config.leq.gamma
        target = losses.bellman_target(batch["reward"], batch["cont"], next_q, gamma)
        tau = self.config.leq.data_tau
        seen = features, self.world_model.action_features(batch["action"])
        out = self.nets.critic_out(params["critic"], *seen)
        loss = self.regression(out, state, *seen, target, tau)
        return loss.mean(), {"data_target": target.mean()}

    def regression(
        self,
        out: Array,
        state: LEQState,
        features: Array,
        action_features: Array,
        target: Array,
        tau: Array | float,
    ) -> Array:
        """Expectile regression of the critic's output [..., outputs] to `target`, held
        near its moving average (Eq. 6): [...].
        """
        values = self.nets.values
        loss = values.loss(out, target)
        loss = losses.expectile_loss(loss, values.mean(out), target, tau)
        slow = self.nets.q(state.target_critic, features, action_features)
        return loss + self.config.critic.ema_weight * values.loss(out, slow)

    def actor_loss(
        self,
        params: dict[str, Params],
        state: LEQState,
        batch: Batch,
        rollout: Rollout,
        gradient: Array | None,
        return_range: Array,
        kept: Recordings = NOTHING,
    ) -> tuple[Array, Metrics]:
        """The policy's loss after `actor.update`, plus the optional behaviour cloning.

        Lower expectile policy learning (Eq. 11) is `dpg`; the others are ablations.
        """
        scale = self.return_scale(return_range)
        update = self.config.actor.update
        if update == "dpg":
            args = (params, state, rollout, gradient, scale, kept)
            loss = self.expectile_policy_loss(*args)
        elif update == "reinforce":
            loss = self.reinforce_loss(params, state, rollout, scale, kept)
        elif update == "q":
            loss = self.max_q_loss(params, state, rollout, scale)
        else:
            loss = self.awr_loss(params, state, batch)
        features = self.world_model.features(self.world_model.starts(batch))
        action = self.nets.mode(params["actor"], features)
        cloning = losses.behaviour_cloning_loss(action, batch["action"]).mean()
        metrics = {"bc_loss": cloning, "return_scale": scale}
        if self.config.actor.bc_weight:  # a gradient times 0 is computed all the same
            loss = loss + self.config.actor.bc_weight * cloning
        return loss, metrics

    def expectile_policy_loss(
        self,
        params: dict[str, Params],
        state: LEQState,
        rollout: Rollout,
        gradient: Array,
        scale: Array,
        kept: Recordings = NOTHING,
    ) -> Array:
        """Eq. 11 over all imagined steps that are reached."""
        weight = jnp.full_like(rollout.q, 0.5)
        if self.config.actor.conservative:
            weight = losses.expectile_weight(rollout.returns, rollout.q, state.tau)
            weight = weight.at[-1].set(0.5)  # y_H = Q_H: neither above nor below
        reached = weight * rollout.alive
        gain = kept.policy_gain(params["actor"])
        if gain is not None:
            return losses.deterministic_policy_loss(gain, reached, scale).mean()
        seen = stop(rollout.features), kept.policy_outputs
        mean, std = self.nets.actor(params["actor"], *seen)
        noise = stop((rollout.pre_tanh - mean) / std) if self.nets.stochastic else 0.0
        pre_tanh = mean + std * noise
        gain = (jnp.tanh(pre_tanh) * stop(gradient)).sum(-1)
        loss = losses.deterministic_policy_loss(gain, reached, scale)
        if self.nets.stochastic:
            log_prob = tanh_normal_log_prob(mean, std, pre_tanh)
            loss += self.config.actor.entropy * stop(rollout.alive) * log_prob
        return loss.mean()

    def max_q_loss(
        self, params: dict[str, Params], state: LEQState, rollout: Rollout, scale: Array
    ) -> Array:
        """Ablation: the immediate Q(s_t, π(s_t)) of the imagined states, maximised."""
        features = stop(rollout.features)
        action = self.nets.mode(params["actor"], features)
        q = self.q(state.params["critic"], features, action)
        return -(stop(rollout.alive / scale) * q).mean()

    def awr_loss(
        self, params: dict[str, Params], state: LEQState, batch: Batch
    ) -> Array:
        """Ablation: data actions, weighted by their advantage over the policy's."""
        features = self.world_model.features(self.world_model.starts(batch))
        action = self.nets.mode(params["actor"], features)
        critic, data_action = state.params["critic"], batch["action"]
        q = self.q(critic, features, data_action)
        advantage = q - self.q(critic, features, action)
        temperature = self.config.actor.awr_temperature
        return losses.advantage_weighted_loss(
            action, data_action, advantage, temperature
        ).mean()

    def reinforce_loss(
        self,
        params: dict[str, Params],
        state: LEQState,
        rollout: Rollout,
        scale: Array,
        kept: Recordings = NOTHING,
    ) -> Array:
        """Score-function policy loss and the regression of its baseline V(s_t)
        to Q_t.
        """
        features = stop(rollout.features)
        out = self.nets.value_out(params["value"], features)
        baseline = self.nets.values.mean(out)
        value_loss = self.nets.values.loss(out, rollout.q)
        mean, std = self.nets.actor(params["actor"], features, kept.policy_outputs)
        log_prob = tanh_normal_log_prob(mean, std, stop(rollout.pre_tanh))
        weight = losses.expectile_weight(rollout.returns, rollout.q, state.tau)
        advantage = rollout.returns - baseline
        loss = losses.score_function_loss(log_prob, advantage, weight, scale)
        noise = stop((rollout.pre_tanh - mean) / std)
        entropy = -tanh_normal_log_prob(mean, std, mean + std * noise)
        loss = loss - self.config.actor.entropy * entropy + value_loss
        return (stop(rollout.alive) * loss).mean()

    def track_returns(self, return_range: Array, returns: Array) -> Array:
        percentiles = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        decay = self.config.leq.return_norm_decay
        return decay * return_range + (1 - decay) * percentiles

    def return_scale(self, return_range: Array) -> Array:
        """Spread of the returns, at least 1: what policy losses are divided by."""
        if not self.config.leq.return_norm:
            return jnp.float32(1.0)
        return jnp.maximum(1.0, return_range[1] - return_range[0])

    def rollout_metrics(self, rollout: Rollout) -> Metrics:
        return {
            "q": rollout.q[0].mean(),
            "lambda_return": rollout.returns[0].mean(),
            "imagined_reward": rollout.reward.mean(),
            "imagined_cont": rollout.cont.mean(),
            "action_magnitude": jnp.abs(rollout.action).mean(),
        }
