"""The phases of a run after the world model: behaviour cloning, FQE and LEQ."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from jax import Array

from dreamer_leq.algorithms.bc import FQE, Pretraining
from dreamer_leq.algorithms.leq.learner import LEQ, LEQState
from dreamer_leq.data.sampling import Source
from dreamer_leq.data.transitions import Data, transition_data
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.parallel import everywhere
from dreamer_leq.run import build
from dreamer_leq.run.grid import keys, mapped, one_per_seed, split, stack
from dreamer_leq.run.scores import record_scores
from dreamer_leq.run.session import Run
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.processes import by_first
from dreamer_leq.training.loop import PhaseRun
from dreamer_leq.world_models.interface import WorldModel


def fit_policy(
    run: Run, members: Sequence[Run], world_model: WorldModel
) -> list[Agent]:
    """Each member's policy after all phases, scored in the environment before and after
    LEQ.
    """
    data = _transitions(run, world_model)
    nets = build.actor_critic(run.config, run.facts.observation)
    params = _pretrain(run, one_per_seed(members), data, nets)
    return _train_leq(run, members, data, nets, params)


def _transitions(run: Run, world_model: WorldModel) -> Data:
    """The dataset's transitions as states of the world model."""
    c = run.config
    gamma = c.leq.gamma if c.bc.critic == "monte_carlo" else None
    if c.world_model == "mlp_ensemble":
        run.log(f"imagined ends: {build.describe_ends(c)}")
    facts = (world_model, c, run.dataset, run.reward, gamma)
    return transition_data(*facts, run.log, run.devices)


def _pretrain(
    run: Run, seeds: Sequence[Run], data: Data, nets: ActorCritic
) -> dict[int, dict[str, Params]]:
    """Parameters of actor and critic for each seed, fresh or after behaviour cloning
    and FQE.
    """
    n, features = len(seeds), data.world_model.feature_size
    init = jax.jit(mapped(lambda key: nets.init(key, features), n))
    params = init(keys(seeds, "actor_critic"))
    for name, kind in (("bc", Pretraining), ("fqe", FQE)):
        c = getattr(run.config, name)
        if not c.updates:
            continue
        optimizer = build.optimizer(c.optimizer, c.updates)
        learner = kind(data.world_model, nets, optimizer, run.config)
        source = _source(run, data, c.batch, n)
        training = run.phase(name, data.phase(learner), source, c.updates)
        training.key = keys(seeds, f"{name} updates")
        params = training.run(mapped(learner.init, n)(params)).params
    each = split(params, n)
    return {member.config.seed: own for member, own in zip(seeds, each, strict=True)}


def _train_leq(
    run: Run,
    members: Sequence[Run],
    data: Data,
    nets: ActorCritic,
    params: dict[int, dict[str, Params]],
) -> list[Agent]:
    n, optimizer = len(members), build.leq_optimizer(run.config)
    learners = [LEQ(data.world_model, nets, optimizer, own.config) for own in members]

    def agents(state: LEQState) -> list[Agent]:
        actors = split(run.devices.local(state.params["actor"]), n)
        return [Agent(data.world_model, actor, nets) for actor in actors]

    def score(state: LEQState, step: int) -> bool:
        pairs = zip(members, agents(state), strict=True)
        return all(by_first(partial(record_scores, *pair, step)) for pair in pairs)

    pairs = zip(learners, members, strict=True)
    state = stack([one.init(params[own.config.seed]) for one, own in pairs])
    if run.session.checkpoints.latest("leq") is None:
        score(state, 0)
        run.session.stop_if_asked("the first evaluation")
    c, learner = run.config, learners[0]  # they differ in what the states hold
    source = _source(run, data, c.leq.batch, n)
    training = run.phase("leq", data.phase(learner), source, c.leq.updates)
    training.key = keys(members, "leq updates")
    training.evaluate, training.evaluate_every = score, c.eval.every
    if n > 1:
        training.loggers = [member.session.logger for member in members]
    if c.expansion.interval and c.leq.updates:
        state = _expand_regularly(members, training, learner, state, source())
    state = training.run(state)
    if n > 1:
        _keep_members(run, members, split(state, n))
    return agents(state)


def _source(run: Run, data: Data, batch: int, members: int) -> Callable[[], Source]:
    """The source of batches; UserError where several members can't share it."""

    def source() -> Source:
        with run.breaking_off("the encoding of the dataset"):
            found = data.source(batch)
        if members > 1 and not found.on_device:
            raise UserError(
                "grid: the dataset doesn't fit on the device, where its members share "
                "it; train them one after the other with --pretrained"
            )
        return found

    return source


def _expand_regularly(
    members: Sequence[Run],
    training: PhaseRun,
    learner: LEQ,
    state: LEQState,
    source: Source,
) -> LEQState:
    """`state` with the first expansion of the dataset; the next ones come in training.

    Raises UserError where the dataset can't be expanded.
    """
    if training.phase is not learner:
        raise UserError(
            "expansion: the latents fit neither on the device nor in host "
            "memory, and can't be expanded; set --expansion.interval 0"
        )
    c, n = learner.config.expansion, len(members)

    def expand(state: LEQState, step: int) -> LEQState:
        drawn = [
            jax.random.split(jax.random.fold_in(member.key("expansion"), step))
            for member in members
        ]
        batch = stack([source.sample(draw_key, c.starts) for draw_key, _ in drawn])
        expand_keys = stack([expand_key for _, expand_key in drawn])
        return expand_dataset(n, learner, state, batch, expand_keys)

    def open_ring(state: LEQState) -> LEQState:
        return learner.open_ring(state, example)

    training.refresh = lambda state, step: (expand(state, step), {})
    training.refresh_every = c.interval
    example = source.sample(jax.random.key(0), 1)
    devices = training.session.devices
    with devices.in_use():
        return expand(devices.replicate(mapped(open_ring, n)(state)), 0)


def _keep_members(run: Run, members: Sequence[Run], states: Sequence[LEQState]) -> None:
    """Each member's last state in its own folder, which is then a whole run's."""
    for member, state in zip(members, states, strict=True):
        member.folder.take_over(run.folder, member.config)
        with member.folder.checkpoints(1) as checkpoints:
            step = run.session.checkpoints.latest("leq")
            checkpoints.save("leq", step, state, {"totals": {}})


# `state` is donated: the ring of expanded data is changed in place.
@partial(jax.jit, static_argnums=0, donate_argnums=2)
def expand_dataset(
    members: int, learner: LEQ, state: LEQState, batch: dict[str, Array], key: Array
) -> LEQState:
    """`learner.expand` of all members."""
    return everywhere(mapped(learner.expand, members)(state, batch, key))
