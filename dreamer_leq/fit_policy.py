"""The phases of a run after the world model: behaviour cloning, FQE and LEQ."""

from functools import partial

import jax

from dreamer_leq import build
from dreamer_leq.agent import Agent
from dreamer_leq.errors import UserError
from dreamer_leq.leq.learner import LEQ, LEQState
from dreamer_leq.leq.networks import ActorCritic, Params
from dreamer_leq.leq.pretrain import FQE, Pretraining
from dreamer_leq.nn.parallel import everywhere
from dreamer_leq.policy_scores import record_scores
from dreamer_leq.run import Run
from dreamer_leq.training.latents import LatentData
from dreamer_leq.training.loop import PhaseRun
from dreamer_leq.training.processes import by_first
from dreamer_leq.training.sources import Source
from dreamer_leq.training.vectors import VectorData
from dreamer_leq.world_models.interface import WorldModel

Data = LatentData | VectorData


def fit_policy(run: Run, world_model: WorldModel) -> Agent:
    """The policy after all phases, scored in the environment before and after LEQ."""
    data = _transitions(run, world_model)
    nets = build.actor_critic(run.config, run.facts.observation)
    return _train_leq(run, data, nets, _pretrain(run, data, nets))


def _transitions(run: Run, world_model: WorldModel) -> Data:
    """The dataset's transitions as states of the world model."""
    c = run.config
    gamma = c.leq.gamma if c.bc.critic == "monte_carlo" else None
    where = (c.data.placement, run.log, run.devices)
    if c.world_model == "mlp_ensemble":
        run.log(f"imagined ends: {build.describe_ends(c)}")
        return VectorData(world_model, run.dataset, run.reward, gamma, *where)
    facts = (run.dataset, run.reward, run.key("latents"), gamma, c.latent.length)
    return LatentData(world_model, *facts, *where)


def _pretrain(run: Run, data: Data, nets: ActorCritic) -> dict[str, Params]:
    """Parameters of actor and critic, fresh or after behaviour cloning and FQE."""
    features = data.world_model.feature_size
    params = jax.jit(lambda key: nets.init(key, features))(run.key("actor_critic"))
    for name, kind in (("bc", Pretraining), ("fqe", FQE)):
        c = getattr(run.config, name)
        if not c.updates:
            continue
        optimizer = build.optimizer(c.optimizer, c.updates)
        learner = kind(data.world_model, nets, optimizer, run.config)
        source = partial(data.source, c.batch)
        training = run.phase(name, data.phase(learner), source, c.updates)
        params = training.run(learner.init(params)).params
    return params


def _train_leq(
    run: Run, data: Data, nets: ActorCritic, params: dict[str, Params]
) -> Agent:
    c = run.config
    learner = LEQ(data.world_model, nets, build.leq_optimizer(c), c)

    def score(state: LEQState, step: int) -> None:
        actor = run.devices.local(state.params["actor"])
        agent = Agent(data.world_model, actor, nets)
        by_first(lambda: record_scores(run, agent, step))

    state = learner.init(params)
    if run.session.checkpoints.latest("leq") is None:
        score(state, 0)
    source = partial(data.source, c.leq.batch)
    training = run.phase("leq", data.phase(learner), source, c.leq.updates)
    training.evaluate, training.evaluate_every = score, c.eval.every
    if c.expansion.interval and c.leq.updates:
        state = _expand_regularly(run, training, learner, state, source())
    return Agent(data.world_model, training.run(state).params["actor"], nets)


def _expand_regularly(
    run: Run, training: PhaseRun, learner: LEQ, state: LEQState, source: Source
) -> LEQState:
    """`state` with the first expansion of the dataset; the next ones come in training.

    Raises UserError where the dataset can't be expanded.
    """
    if training.phase is not learner:
        raise UserError(
            "expansion: the latents fit neither on the device nor in host "
            "memory, and can't be expanded; set --expansion.interval 0"
        )
    c = run.config.expansion

    def expand(state: LEQState, step: int) -> LEQState:
        key = jax.random.fold_in(run.key("expansion"), step)
        draw_key, expand_key = jax.random.split(key)
        return expand_dataset(
            learner, state, source.sample(draw_key, c.starts), expand_key
        )

    training.refresh = lambda state, step: (expand(state, step), {})
    training.refresh_every = c.interval
    empty = learner.open_ring(state, source.sample(run.key("ring"), 1))
    with run.devices.in_use():
        return expand(run.devices.replicate(empty), 0)


# `state` is donated: the ring of expanded data is changed in place.
expand_dataset = jax.jit(
    lambda learner, state, batch, key: everywhere(learner.expand(state, batch, key)),
    donate_argnums=1,
)
