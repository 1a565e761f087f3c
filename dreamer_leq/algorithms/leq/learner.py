"""Lower Expectile Q-learning (Algorithm 1): critic and policy learn lower expectiles of
λ-returns over imagined rollouts, the critic also from the dataset's transitions.

One method for each equation of arXiv 2407.00699. Shapes: N rollouts of H steps, F
features, A action size.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.leq import ablations, fast, imagination
from dreamer_leq.algorithms.leq.expansion import expand
from dreamer_leq.algorithms.leq.imagination import Rollout
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.algorithms.replay import Ring
from dreamer_leq.config import Config
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.distributions import tanh_normal_log_prob
from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class Memory:
    """What LEQ remembers beside its networks."""

    return_range: Array  # [2] moving averages of the returns' 5th and 95th percentiles
    expanded: Ring | None  # D_model, where the dataset is expanded


@struct.dataclass
class Imagined:
    """What one update learns from."""

    data: dict[str, Array]  # the dataset's transitions
    rollout: Rollout


@struct.dataclass
class LEQ(Learner):
    """The learner against one frozen world model. τ is data: `hyper["tau"]`."""

    expansion: Any = struct.field(pytree_node=False, default=None)
    best: float = struct.field(pytree_node=False, default=1.0)  # share that is cloned

    averaged = ("critic",)  # it only regularises the critic (Eq. 6)
    refreshed = "expansion"

    @classmethod
    def create(
        cls, config: Config, name: str, world: WorldModel, nets: ActorCritic
    ) -> Self:
        learner = super().create(config, name, world, nets)
        best = config.bc.best if config.actor.bc_weight else 1.0
        return learner.replace(expansion=config.expansion, best=best)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("rank",) if self.best < 1 else ()

    def remember(self) -> Memory:
        c, expanded = self.expansion, None
        if c.interval:
            expanded = Ring.empty(self.world.initial(1), c.retain * c.length * c.starts)
        return Memory(jnp.zeros(2), expanded)

    def prepare(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Imagined]:
        """The batch with rollouts from its states, or from those of D_model."""
        rollout = self.imagine(state, self.starts(state, batch, key), key)
        return_range = self.track_returns(state.memory.return_range, rollout.returns)
        memory = state.memory.replace(return_range=return_range)
        return state.replace(memory=memory), Imagined(batch, rollout)

    def starts(self, state: TrainState, batch: Batch, key: Array) -> State:
        """The N states in which imagination starts (§4.4)."""
        if state.memory.expanded is None:
            return self.world.starts(batch)
        # the rollout splits this key into horizon + 1, which are fold_in's 0 … horizon
        key = jax.random.fold_in(key, self.config.horizon + 1)
        return state.memory.expanded.sample(key, len(batch["action"]))

    def imagine(self, state: TrainState, start: State, key: Array) -> Rollout:
        """Rollouts of the policy from `start` [N]; with `dpg` also dy_t/da_t."""
        c = self.config
        way = imagination if c.plain else fast
        with_gradient = self.nets.actor_config.update == "dpg"
        settings = dict(horizon=c.horizon, gamma=self.gamma, lam=c.lam)
        given = self.world, self.nets, state.params, start, key
        return way.imagine(*given, with_gradient=with_gradient, **settings)

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Imagined, key: Array
    ) -> tuple[Losses, Metrics]:
        """Eq. 7 for the critic, Eq. 10 or an ablation for the policy."""
        data_loss, target = self.critic_data_loss(params, state, batch.data)
        model_loss = self.critic_model_loss(params, state, batch.rollout)
        beta = self.config.beta
        critic_loss = beta * model_loss + (1 - beta) * data_loss  # Eq. 7
        actor_loss, metrics = self.actor_loss(params, state, batch)
        metrics |= {"data_target": target} | rollout_metrics(batch.rollout)
        return {"critic": critic_loss, "actor": actor_loss}, metrics

    def critic_model_loss(
        self, params: dict[str, Params], state: TrainState, rollout: Rollout
    ) -> Array:
        """Lower expectile of λ-returns over imagined steps t < H (Eq. 4, 9), and
        Eq. 6.
        """
        target = rollout.returns[:-1]
        discount = self.gamma ** jnp.arange(len(target))[:, None]
        reached = stop(discount * rollout.alive[:-1])
        out = rollout.critic_out(self.nets, params["critic"])[:-1]
        seen = stop((rollout.features[:-1], rollout.seen_action[:-1]))
        loss = self.regression(out, state, *seen, target, state.hyper["tau"])
        return (reached * loss).mean()

    def critic_data_loss(
        self, params: dict[str, Params], state: TrainState, batch: dict[str, Array]
    ) -> tuple[Array, Array]:
        """Bellman loss of the dataset's transitions (Eq. 5), and Eq. 6; also the mean
        target.
        """
        features = self.world.features(self.world.starts(batch))
        next_features = self.world.features(self.world.successors(batch))
        next_action = self.nets.mode(state.params["actor"], next_features)
        next_q = self.value(state.params, next_features, next_action)
        reward, cont = batch["reward"], batch["cont"]
        target = losses.bellman_target(reward, cont, next_q, self.gamma)
        seen = features, self.world.action_features(batch["action"])
        out = self.nets.critic_out(params["critic"], *seen)
        loss = self.regression(out, state, *seen, target, self.config.data_tau)
        return loss.mean(), target.mean()

    def regression(
        self,
        out: Array,
        state: TrainState,
        features: Array,
        seen_action: Array,
        target: Array,
        tau: Array | float,
    ) -> Array:
        """Expectile regression of the critic's output [..., outputs] to `target`, held
        near its moving average (Eq. 6): [...].
        """
        values = self.nets.values
        loss = values.loss(out, target)
        loss = losses.expectile_loss(loss, values.mean(out), target, tau)
        slow = self.nets.q(state.target["critic"], features, seen_action)
        return loss + self.nets.critic_config.ema_weight * values.loss(out, slow)

    def actor_loss(
        self, params: dict[str, Params], state: TrainState, batch: Imagined
    ) -> tuple[Array, Metrics]:
        """The policy's loss after `actor.update`, plus the optional behaviour cloning.

        Lower expectile policy learning (Eq. 10, 11) is `dpg`, the others are ablations.
        """
        scale = self.return_scale(state.memory.return_range)
        update = self.nets.actor_config.update
        learn = LEQ.policy_loss if update == "dpg" else ablations.LOSSES[update]
        loss = learn(self, params, state, batch, scale)
        states, data_action = self.world.starts(batch.data), batch.data["action"]
        action = self.nets.mode(params["actor"], self.world.features(states))
        cloning = losses.behaviour_cloning_loss(action, data_action)
        distance = term = losses.mean_over_best(cloning, batch.data, self.best)
        if self.nets.actor_config.bc_weighting == "disagreement":
            share = losses.share_of(stop(self.world.disagreement(states, data_action)))
            term = losses.mean_over_best(share * cloning, batch.data, self.best)
        weight = self.nets.actor_config.bc_weight
        if weight:  # a gradient times 0 is computed all the same
            loss = loss + weight * term
        return loss, {"bc_loss": distance, "return_scale": scale}

    def policy_loss(
        self,
        params: dict[str, Params],
        state: TrainState,
        batch: Imagined,
        scale: Array,
    ) -> Array:
        """Eq. 11 over all imagined steps that are reached."""
        rollout, c = batch.rollout, self.nets.actor_config
        weight = jnp.full_like(rollout.q, 0.5)
        if c.conservative:
            weight = losses.expectile_weight(
                rollout.returns, rollout.q, state.hyper["tau"]
            )
            weight = weight.at[-1].set(0.5)  # y_H = Q_H: neither above nor below
        reached = weight * rollout.alive
        if not c.stochastic:
            gain = rollout.gain(self.nets, params["actor"])
            return losses.deterministic_policy_loss(gain, reached, scale).mean()
        mean, std = rollout.policy(self.nets, params["actor"])
        pre_tanh = mean + std * stop((rollout.pre_tanh - mean) / std)
        gain = (jnp.tanh(pre_tanh) * stop(rollout.gradient)).sum(-1)
        loss = losses.deterministic_policy_loss(gain, reached, scale)
        log_prob = tanh_normal_log_prob(mean, std, pre_tanh)
        return (loss + c.entropy * stop(rollout.alive) * log_prob).mean()

    def track_returns(self, return_range: Array, returns: Array) -> Array:
        """The moving averages of the returns' 5th and 95th percentiles: [2]."""
        percentiles = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        decay = self.config.return_norm_decay
        return decay * return_range + (1 - decay) * percentiles

    def return_scale(self, return_range: Array) -> Array:
        """Spread of the returns, at least 1: what policy losses are divided by."""
        if not self.config.return_norm:
            return jnp.ones_like(return_range[0])
        return jnp.maximum(1.0, return_range[1] - return_range[0])

    @property
    def refresh_every(self) -> int:
        return self.expansion.interval

    @property
    def refresh_rows(self) -> int:
        return self.expansion.starts

    def refresh(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """Add noisy rollouts from the batch's states to D_model (§4.4)."""
        c = self.expansion
        actor = lambda f: self.nets.actor(state.params["actor"], f)[0]  # noqa: E731
        given = self.world, actor, self.world.starts(batch), key
        settings = dict(length=c.length, noise=c.noise)
        grown = expand(state.memory.expanded, *given, **settings)
        return state.replace(memory=state.memory.replace(expanded=grown)), {}


def rollout_metrics(rollout: Rollout) -> Metrics:
    """What is logged of the imagined rollouts."""
    return {
        "q": rollout.q[0].mean(),
        "lambda_return": rollout.returns[0].mean(),
        "return_above_q": (rollout.returns[:-1] > rollout.q[:-1]).mean(),
        "imagined_reward": rollout.reward.mean(),
        "imagined_cont": rollout.cont.mean(),
        "action_magnitude": jnp.abs(rollout.action).mean(),
    }
