"""The training of one run: world model, policy pretraining, LEQ, scores, videos."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
import optax

from dreamer_leq import build
from dreamer_leq.agent import Agent
from dreamer_leq.config import Config
from dreamer_leq.data import (
    AnyDataset,
    describe_rewards,
    open_data,
    reward_transform,
)
from dreamer_leq.errors import UserError
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.evaluation.scoring import score
from dreamer_leq.imagined_videos import write_imagined_videos
from dreamer_leq.leq.learner import LEQ, LEQState
from dreamer_leq.leq.networks import ActorCritic, Params
from dreamer_leq.leq.pretrain import FQE, Pretraining
from dreamer_leq.policy_videos import write_policy_video
from dreamer_leq.run_folder import DataFacts, RunFolder
from dreamer_leq.training.ensemble import (
    EnsembleTraining,
    elites,
    end_epoch,
    training_data,
)
from dreamer_leq.training.interrupts import Interrupts
from dreamer_leq.training.latents import LatentData
from dreamer_leq.training.loop import PhaseRun, Session, named_key
from dreamer_leq.training.metrics import MetricsLogger
from dreamer_leq.training.phases import WorldModelTraining
from dreamer_leq.training.progress import Progress
from dreamer_leq.training.sources import Everything, Source, Windows, place
from dreamer_leq.training.vectors import VectorData
from dreamer_leq.world_models.interface import WorldModel
from dreamer_leq.world_models.latent import LatentWorldModel
from dreamer_leq.world_models.mlp_ensemble import MLPEnsemble

PHASES = ("world_model", "bc", "fqe", "leq")
Log = Callable[[str], None]


def train(config: Config, log: Log) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    folder = RunFolder(config.folder)
    source = RunFolder(config.pretrained) if config.pretrained else None
    folder.refuse_other(config)  # before a dataset is made
    if source:
        source.refuse_to_pretrain(config, None)
    dataset, path = open_data(config, log)
    transform = reward_transform(config, dataset)
    facts = DataFacts.of(dataset, path, config.about, transform)
    if source:
        source.refuse_to_pretrain(config, facts)
    folder.begin(config, facts)
    if source:
        folder.take_over(source, PHASES[:-1])
    log(describe_rewards(dataset, transform))
    wandb = (
        {"project": "dreamer-leq", "name": config.task} if config.log.wandb else None
    )
    with (
        Interrupts() as interrupts,
        MetricsLogger(folder.path, wandb) as logger,
        folder.checkpoints(config.checkpoint.keep) as checkpoints,
    ):
        session = Session(
            logger,
            checkpoints,
            Progress(log),
            interrupts,
            config.log.every,
            config.checkpoint.every,
        )
        _forget_unsaved(session)
        Training(config, dataset, facts, folder, session, log).run()
    return folder


def _forget_unsaved(session: Session) -> None:
    """Drop the records after the last checkpoint: the run goes on from there."""
    reached = [p for p in PHASES if session.checkpoints.latest(p) is not None]
    phase = reached[-1] if reached else PHASES[0]
    step = session.checkpoints.latest(phase) if reached else -1
    session.logger.truncate(PHASES, phase, step)


@dataclass
class Training:
    """The phases of a run, in order; each begins with what the one before it made."""

    config: Config
    dataset: AnyDataset
    facts: DataFacts
    folder: RunFolder
    session: Session
    log: Log

    def run(self) -> None:
        c = self.config
        world_model = self.train_world_model()
        agent = None
        if c.bc.updates or c.fqe.updates or c.leq.updates:
            data = self.transitions(world_model)
            nets = build.actor_critic(c, self.facts.observation)
            params = self.pretrain(data, nets)
            agent = self.train_leq(data, nets, params)
        self.film(world_model, agent)

    def train_world_model(self) -> WorldModel:
        if self.config.world_model == "mlp_ensemble":
            return self.train_ensemble()
        return self.train_latent()

    def train_latent(self) -> LatentWorldModel:
        c = self.config.latent
        net = build.latent_net(self.config, self.facts.observation)
        phase = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))

        def source():
            sampler = Windows(len(self.dataset.reward), c.batch, c.length)
            names = (*net.encoders, "action", "is_first", "is_terminal")
            arrays = {name: getattr(self.dataset, name) for name in names}
            arrays["reward"] = self.reward
            source, note = place(arrays, sampler, self.config.data.placement)
            self.log(f"dataset: {note}")
            return source

        run = self.phase("world_model", phase, source, c.updates)
        # jitted, here and below: layer by layer, compiling takes several times as long
        state = jax.jit(lambda key: phase.init(key))(self.key("world_model"))
        return LatentWorldModel(run.run(state).params, net)

    def train_ensemble(self) -> MLPEnsemble:
        c = self.config.ensemble
        net = build.ensemble_net(self.config, self.facts.observation)
        phase = EnsembleTraining(net, optax.adam(c.learning_rate))
        seed = self.config.seed
        arrays = training_data(self.dataset, c.holdout, c.holdout_share, seed)
        source, _ = place(arrays, Everything(), "device")
        data, n = source.arrays, len(arrays["train"])
        self.log(f"dataset: {n:,} transitions and {len(arrays['holdout'])} held out")
        epoch = phase.updates_per_epoch(n)
        run = self.phase("world_model", phase, lambda: source, c.epochs * epoch)
        key = self.key("epochs")
        run.refresh = lambda state, step: end_epoch(
            phase, state, data, jax.random.fold_in(key, step)
        )
        run.refresh_every = epoch
        run.finished = phase.finished
        init = jax.jit(lambda key, data: phase.init(key, data))
        best = run.run(init(self.key("world_model"), data)).best
        errors = " ".join(f"{error:.3g}" for error in sorted(best.error.tolist()))
        self.log(f"ensemble: held-out errors {errors}; the first {c.elites} are elites")
        rule = build.termination(self.config)
        return elites(best, net, rule, self.facts.reward_transform)

    def transitions(self, world_model: WorldModel) -> LatentData | VectorData:
        """The dataset's transitions as states of the world model."""
        c = self.config
        gamma = c.leq.gamma if c.bc.critic == "monte_carlo" else None
        where = (c.data.placement, self.log)
        if c.world_model == "mlp_ensemble":
            self.log(f"imagined ends: {build.describe_ends(c)}")
            return VectorData(world_model, self.dataset, self.reward, gamma, *where)
        key = self.key("latents")
        facts = (self.dataset, self.reward, key, gamma, c.latent.length)
        return LatentData(world_model, *facts, *where)

    @cached_property
    def reward(self) -> np.ndarray:
        """Rewards as LEQ sees them: float32 [N], 0 where an episode begins."""
        reward = self.facts.reward_transform(np.asarray(self.dataset.reward))
        first = np.asarray(self.dataset.is_first)
        return np.where(first, 0.0, reward).astype(np.float32)

    def pretrain(
        self, data: LatentData | VectorData, nets: ActorCritic
    ) -> dict[str, Params]:
        """Fresh parameters of actor and critic, after behaviour cloning and fitted Q
        evaluation where asked.
        """
        features = data.world_model.feature_size
        params = jax.jit(lambda key: nets.init(key, features))(self.key("actor_critic"))
        for name, kind in (("bc", Pretraining), ("fqe", FQE)):
            c = getattr(self.config, name)
            if not c.updates:
                continue
            optimizer = build.optimizer(c.optimizer, c.updates)
            learner = kind(data.world_model, nets, optimizer, self.config)
            phase = data.phase(learner)
            source = partial(data.source, c.batch)
            run = self.phase(name, phase, source, c.updates)
            params = run.run(learner.init(params)).params
        return params

    def film(self, world_model: WorldModel, agent: Agent | None) -> None:
        """What the world model imagines, where it has pictures; else what the policy
        does.
        """
        if self.config.about.pixels:
            self.log("writing imagined videos")
            video = self.config.video
            write_imagined_videos(self.folder, world_model, agent, self.dataset, video)
        elif agent is not None:
            self.log("filming the policy")
            path = self.folder.video("policy")
            write_policy_video(path, agent, self.config, self.facts)

    def train_leq(
        self,
        data: LatentData | VectorData,
        nets: ActorCritic,
        params: dict[str, Params],
    ) -> Agent:
        """The policy after LEQ, scored in the environment before, after and between."""
        c = self.config
        optimizer = build.leq_optimizer(c)
        learner = LEQ(data.world_model, nets, optimizer, c)

        def agent(state: LEQState) -> Agent:
            return Agent(data.world_model, state.params["actor"], nets)

        state = learner.init(params)
        if self.session.checkpoints.latest("leq") is None:
            self.evaluate(agent(state), 0)
        phase = data.phase(learner)
        source = partial(data.source, c.leq.batch)
        run = self.phase("leq", phase, source, c.leq.updates)
        run.evaluate = lambda state, step: self.evaluate(agent(state), step)
        run.evaluate_every = c.eval.every
        if c.expansion.interval and c.leq.updates:
            if phase is not learner:
                raise UserError(
                    "expansion: the latents fit neither on the device nor in host "
                    "memory, and can't be expanded; set --expansion.interval 0"
                )
            run.refresh_every = c.expansion.interval
            run.refresh = lambda state, step: (
                self.expand(learner, state, source(), step),
                {},
            )
            state = self.expand(learner, state, source(), 0)
        return agent(run.run(state))

    def expand(
        self, learner: LEQ, state: LEQState, source: Source, step: int
    ) -> LEQState:
        """`state` with dataset states and their noisy rollouts in D_model."""
        key = jax.random.fold_in(self.key("expansion"), step)
        draw_key, expand_key = jax.random.split(key)
        batch = source.sample(draw_key, self.config.expansion.starts)
        return expand_dataset(learner, state, batch, expand_key)

    def evaluate(self, agent: Agent, step: int) -> None:
        """Score the policy after `step` updates of LEQ: to log, metrics and
        scores.json.
        """
        c = self.config.eval
        scores, _ = score(
            agent,
            self.facts.environment,
            self.config.about.reference,
            episodes=c.episodes,
            seed=c.seed,
            workers=c.workers,
        )
        self.folder.add_scores(step, scores)
        names = ("mean", "std", "ci_low", "ci_high", "normalized", "length")
        metrics = {f"eval_{k}": scores[k] for k in names if scores[k] is not None}
        self.session.logger.write(
            "leq", step, metrics, {"eval_seconds": scores["seconds"]}
        )
        self.log(f"policy after {step:,} updates of LEQ: {self.describe(scores)}")

    def phase(self, name: str, phase: Any, source: Callable, updates: int) -> PhaseRun:
        key = self.key(f"{name} updates")
        return PhaseRun(self.session, name, phase, source, updates, key)

    def key(self, name: str) -> jax.Array:
        return named_key(self.config.seed, name)

    def describe(self, scores: Scores) -> str:
        """A return, or a success rate, with its spread, as one reads it."""
        mean, low, high = scores["mean"], scores["ci_low"], scores["ci_high"]
        count = f"{scores['episodes']} episodes"
        if self.config.about.unit == "success":
            span = f" (95 % interval {low:.0%} … {high:.0%})" if low is not None else ""
            return f"success {mean:.0%}{span}, {count}"
        span = f" (95 % interval {low:.0f} … {high:.0f})" if low is not None else ""
        score = f"score {scores['normalized']:.1f}"
        return f"return {mean:.0f} ± {scores['std']:.0f}{span}, {score}, {count}"


# `state` is donated: the ring of expanded data is changed in place.
expand_dataset = jax.jit(
    lambda learner, state, batch, key: learner.expand(state, batch, key),
    donate_argnums=1,
)
