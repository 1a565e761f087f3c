"""The phases of a run after the world model: what its algorithm needs before it, and
the algorithm, each for all members of the run's grid side by side.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.algorithms.learner import Learner, TrainState
from dreamer_leq.data.sampling import Source
from dreamer_leq.data.transitions import TransitionData
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.nn.parallel import everywhere
from dreamer_leq.run import build
from dreamer_leq.run.grid import (
    in_turns,
    keys,
    mapped,
    of_same_seed,
    one_per_seed,
    split,
    stack,
)
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.run.scores import record_scores
from dreamer_leq.run.session import Run
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.processes import by_first
from dreamer_leq.world_models.interface import Representation

Networks = dict[int, dict[str, Params]]  # of each seed


def fit_policy(run: Run, members: Sequence[Run], world: Representation) -> list[Agent]:
    """Each member's policy after all phases, scored in the environment after the last
    one, and before it where an earlier one trained it.
    """
    config, kind = run.config, kind_of(run.config)
    if ends := kind.about_ends(config):
        run.log(f"imagined ends: {ends}")
    facts = (world, config, run.dataset, run.reward)
    data = kind.transitions(*facts, run.log, run.devices)
    networks: Networks = {}
    for name in config.phases[1:-1]:
        if getattr(config, name).updates:
            phase = LearnerPhase(run, one_per_seed(members), data, name)
            networks = _networks(phase, phase.train(networks))
    phase = LearnerPhase(run, members, data, config.algorithm)
    agents = _fit_algorithm(phase, networks)
    by_first(data.finish)
    return agents


def _networks(phase: "LearnerPhase", states: Sequence[TrainState]) -> Networks:
    pairs = zip(phase.members, states, strict=True)
    return {member.config.seed: state.params for member, state in pairs}


class LearnerPhase:
    """The phase in which one learner trains the networks of all members."""

    def __init__(
        self, run: Run, members: Sequence[Run], data: TransitionData, name: str
    ) -> None:
        self.run, self.members, self.data = run, members, data
        self.section = getattr(run.config, name)
        world, actions = data.world, run.facts.action_size
        self.learner = build.learner(run.config, name, world, actions)
        updates = self.section.updates
        self.training = run.phase(name, data.phase(self.learner), self._source, updates)
        self.training.key = keys(members, f"{name} updates")
        if run.config.members:
            self._go_on_with_these()
        if self.learner.refresh_every and updates:
            self._refresh_regularly()

    def _go_on_with_these(self) -> None:
        """Begin anew where the phase's checkpoints are of other members, which are
        trained and have their own.
        """
        training, session = self.training, self.run.session
        last = training.name == self.run.config.algorithm
        names = [m.folder.path.name if last else m.config.seed for m in self.members]
        training.about = {"members": names}
        if session.checkpoints.extra(training.name).get("members", names) != names:
            session.checkpoints.forget(training.name)

    def first_state(self, networks: Networks) -> TrainState:
        """The states of all members before the first update, with the networks of
        their seeds.
        """
        n = len(self.members)
        given = [networks.get(member.config.seed, {}) for member in self.members]
        init = jax.jit(mapped(self.learner.init, n))
        hyper = stack([_hyper(member) for member in self.members])
        return init(keys(self.members, "actor_critic"), hyper, stack(given))

    def train(self, networks: Networks) -> list[TrainState]:
        """Each member's last state."""
        state = self.training.run(self.first_state(networks))
        return split(state, len(self.members))

    def _source(self) -> Source:
        """The source of batches; UserError where several members can't share it."""
        with self.run.breaking_off("the encoding of the dataset"):
            wanted = self.section.batch, self.learner.reads, self.learner.steps
            found = self.data.source(*wanted)
        if len(self.members) > 1 and not found.on_device:
            raise UserError(
                "grid: the dataset doesn't fit on the device, where its members share "
                "it; train them one after the other with --pretrained"
            )
        return found

    def _refresh_regularly(self) -> None:
        """Have the learner's `refresh` called before the first update and while it
        trains. Raises UserError where the dataset gives no states to refresh from.
        """
        learner, training = self.learner, self.training
        if training.phase is not learner:
            raise UserError(
                f"{learner.refreshed}: the latents fit neither into memory nor on "
                f"disk, and there is no {learner.refreshed} of what is encoded anew; "
                f"set --{learner.refreshed}.interval 0"
            )
        training.source = source = cache(self._source)  # opened once it is needed

        def refresh(state: TrainState, step: int) -> tuple[TrainState, dict]:
            own = [member.key(learner.refreshed) for member in self.members]
            drawn = [jax.random.split(jax.random.fold_in(key, step)) for key in own]
            rows = learner.refresh_rows
            batch = stack([source().sample(draw_key, rows) for draw_key, _ in drawn])
            refresh_keys = stack([refresh_key for _, refresh_key in drawn])
            return refreshed(len(self.members), learner, state, batch, refresh_keys)

        training.refresh, training.refresh_every = refresh, learner.refresh_every
        training.refresh_first = True


def _hyper(member: Run) -> dict[str, Array]:
    """The member's values of what a grid varies."""
    return {name: jnp.float32(v) for name, v in member.config.coefficients.items()}


# `state` is donated: a ring of imagined rows is changed in place.
@partial(jax.jit, static_argnums=0, donate_argnums=2)
def refreshed(
    members: int, learner: Learner, state: TrainState, batch: Any, key: Array
) -> tuple[TrainState, dict[str, Array]]:
    """`learner.refresh` of all members."""
    return everywhere(in_turns(learner.refresh, members)(state, batch, key))


def _fit_algorithm(phase: LearnerPhase, networks: Networks) -> list[Agent]:
    """The last phase, with scores in and after it, and before it where its policy is a
    trained one already.
    """
    run, members, training = phase.run, phase.members, phase.training

    def agents(state: TrainState) -> list[Agent]:
        params = split(run.devices.local(state.params), len(members))
        return [Agent.of(phase.learner, own) for own in params]

    def score(state: TrainState, step: int) -> bool:
        found, groups = agents(state), [[i] for i in range(len(members))]
        if step == 0:  # before the first update those of a seed are the same
            groups = of_same_seed(members)
        pairs = [([members[i] for i in group], found[group[0]]) for group in groups]
        return all(by_first(partial(record_scores, *pair, step)) for pair in pairs)

    state = phase.first_state(networks)
    begins = run.session.checkpoints.latest(run.config.algorithm) is None
    if begins and (_has_policy(phase.learner, networks) or not training.updates):
        score(state, 0)
        run.session.stop_if_asked("the first evaluation")
    training.evaluate, training.evaluate_every = score, run.config.eval.every
    if run.config.members:
        training.loggers = [member.session.logger for member in members]
    state = training.run(state)
    if run.config.members:
        _keep_members(run, members, split(state, len(members)))
    return agents(state)


def _has_policy(learner: Learner, networks: Networks) -> bool:
    """Whether earlier phases give the learner a policy."""
    given = any("actor" in own for own in networks.values())
    return given and "actor" in learner.inherits


def _keep_members(
    run: Run, members: Sequence[Run], states: Sequence[TrainState]
) -> None:
    """Each member's last state in its own folder, which is then a whole run's."""
    name = run.config.algorithm
    for member, state in zip(members, states, strict=True):
        member.folder.take_over(run.folder, member.config)
        with member.folder.checkpoints(1) as checkpoints:
            step = run.session.checkpoints.latest(name)
            checkpoints.save(name, step, state, {"totals": {}, "over": True})
