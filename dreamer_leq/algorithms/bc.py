"""Behaviour cloning of the policy, and a first critic, before LEQ."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.nn.actor_critic import ActorCritic, Params, moving_average
from dreamer_leq.world_models.interface import WorldModel


@struct.dataclass
class PretrainState:
    params: dict[str, Params]
    opt_state: optax.OptState


@struct.dataclass
class Pretraining:
    """π(s) to the data's action; Q(s, a) to the return that followed, where asked.

    A batch is one of LEQ's; with `bc.critic: monte_carlo` it also holds `return` [N],
    the return that follows the transition's first state.
    """

    world_model: WorldModel
    nets: ActorCritic = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False)

    def init(self, params: dict[str, Params]) -> PretrainState:
        return PretrainState(params, self.optimizer.init(params))

    def update(
        self, state: PretrainState, batch: dict[str, Array], key: Array
    ) -> tuple[PretrainState, dict[str, Array]]:
        del key  # nothing is sampled
        features = self.world_model.features(self.world_model.starts(batch))

        def total_loss(params):
            action = self.nets.mode(params["actor"], features)
            metrics = {
                "bc_loss": losses.behaviour_cloning_loss(action, batch["action"]).mean()
            }
            if self.config.bc.critic == "monte_carlo":
                action = self.world_model.action_features(batch["action"])
                out = self.nets.critic_out(params["critic"], features, action)
                fit = self.nets.values.loss(out, batch["return"])
                metrics["critic_loss"] = fit.mean()
            return sum(metrics.values()), metrics

        grads, metrics = jax.grad(total_loss, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return PretrainState(params, opt_state), metrics | {
            "return": jnp.mean(batch["return"]) if "return" in batch else jnp.zeros(())
        }


@struct.dataclass
class FQEState:
    params: dict[str, Params]  # of actor and critic; the actor stays
    target_critic: Params
    opt_state: optax.OptState


@struct.dataclass
class FQE:
    """Fitted Q evaluation of the cloned policy on the dataset (paper Algorithm 2).

    Q(s, a) to r + γ (1 - termination) Q(s', π(s')), held near its moving average.
    Batches are LEQ's.
    """

    world_model: WorldModel
    nets: ActorCritic = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False)

    def init(self, params: dict[str, Params]) -> FQEState:
        critic = params["critic"]
        # a copy: both are donated to the next update
        target = jax.tree.map(jnp.copy, critic)
        return FQEState(params, target, self.optimizer.init(critic))

    def update(
        self, state: FQEState, batch: dict[str, Array], key: Array
    ) -> tuple[FQEState, dict[str, Array]]:
        del key  # nothing is sampled
        nets, values, wm = self.nets, self.nets.values, self.world_model
        features = wm.features(wm.starts(batch))
        next_features = wm.features(wm.successors(batch))
        next_action = nets.mode(state.params["actor"], next_features)
        critic, gamma = state.params["critic"], self.config.leq.gamma
        next_q = nets.q(critic, next_features, wm.action_features(next_action))
        target = losses.bellman_target(batch["reward"], batch["cont"], next_q, gamma)
        action = wm.action_features(batch["action"])
        slow = nets.q(state.target_critic, features, action)

        def loss(critic):
            out = nets.critic_out(critic, features, action)
            fit = values.loss(out, target).mean()
            anchor = self.config.critic.ema_weight * values.loss(out, slow).mean()
            return fit + anchor, {"critic_loss": fit, "q": values.mean(out).mean()}

        grads, metrics = jax.grad(loss, has_aux=True)(critic)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, critic)
        critic = optax.apply_updates(critic, updates)
        decay = self.config.critic.ema_decay
        average = moving_average(state.target_critic, critic, decay)
        return FQEState(state.params | {"critic": critic}, average, opt_state), metrics
