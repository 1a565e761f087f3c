"""The paper's other ways to learn the policy (Table 5), by `actor.update`."""

from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.algorithms.learner import Learner, TrainState
from dreamer_leq.algorithms.losses import stop
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.distributions import tanh_normal_log_prob


def max_q_loss(
    leq: Learner, params: dict[str, Params], state: TrainState, batch, scale: Array
) -> Array:
    """The immediate Q(s_t, π(s_t)) of the imagined states, maximised."""
    features = stop(batch.rollout.features)
    action = leq.nets.mode(params["actor"], features)
    q = leq.value(state.params, features, action)
    return -(stop(batch.rollout.alive / scale) * q).mean()


def awr_loss(
    leq: Learner, params: dict[str, Params], state: TrainState, batch, scale: Array
) -> Array:
    """The data's actions, weighted by their advantage over the policy's."""
    features = leq.world.features(leq.world.starts(batch.data))
    action, data_action = leq.nets.mode(params["actor"], features), batch.data["action"]
    q = leq.value(state.params, features, data_action)
    advantage = q - leq.value(state.params, features, action)
    temperature = leq.nets.actor_config.awr_temperature
    return losses.advantage_weighted_loss(
        action, data_action, advantage, temperature
    ).mean()


def reinforce_loss(
    leq: Learner, params: dict[str, Params], state: TrainState, batch, scale: Array
) -> Array:
    """Score-function policy loss, and the regression of its baseline V(s_t) to Q_t."""
    rollout = batch.rollout
    out = leq.nets.value_out(params["value"], stop(rollout.features))
    baseline = leq.nets.values.mean(out)
    value_loss = leq.nets.values.loss(out, rollout.q)
    mean, std = rollout.policy(leq.nets, params["actor"])
    log_prob = tanh_normal_log_prob(mean, std, stop(rollout.pre_tanh))
    weight = losses.expectile_weight(rollout.returns, rollout.q, state.hyper["tau"])
    advantage = rollout.returns - baseline
    loss = losses.score_function_loss(log_prob, advantage, weight, scale)
    noise = stop((rollout.pre_tanh - mean) / std)
    entropy = -tanh_normal_log_prob(mean, std, mean + std * noise)
    loss = loss - leq.nets.actor_config.entropy * entropy + value_loss
    return (stop(rollout.alive) * loss).mean()


LOSSES = {"reinforce": reinforce_loss, "q": max_q_loss, "awr": awr_loss}
