"""The training of one run: world model, policy pretraining, LEQ, scores, videos."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from dreamer_leq import build
from dreamer_leq.agent import Agent
from dreamer_leq.config import Config
from dreamer_leq.data import open_data
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.evaluation.scoring import score
from dreamer_leq.imagined_videos import write_imagined_videos
from dreamer_leq.leq.learner import LEQ, LEQState
from dreamer_leq.leq.networks import ActorCritic, Params
from dreamer_leq.leq.pretrain import Pretraining
from dreamer_leq.run_folder import DataFacts, RunFolder
from dreamer_leq.training.interrupts import Interrupts
from dreamer_leq.training.latents import LatentData
from dreamer_leq.training.loop import PhaseRun, Session, named_key
from dreamer_leq.training.metrics import MetricsLogger
from dreamer_leq.training.phases import WorldModelTraining
from dreamer_leq.training.progress import Progress
from dreamer_leq.training.sources import Windows, place
from dreamer_leq.world_models.latent import LatentWorldModel
from vd4rl_loader import Dataset

PHASES = ("world_model", "bc", "leq")
Log = Callable[[str], None]


def train(config: Config, log: Log) -> RunFolder:
    """Train `config` in its folder, or go on with what is there; returns the folder.

    Raises UserError and DataError for what the user can mend, Interrupted after a
    signal.
    """
    folder = RunFolder(config.folder)
    folder.refuse_other(config)  # before a dataset is made
    dataset, path = open_data(config, log)
    facts = DataFacts.of(dataset, path, config.environment)
    folder.begin(config, facts)
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
    dataset: Dataset
    facts: DataFacts
    folder: RunFolder
    session: Session
    log: Log

    def run(self) -> None:
        c = self.config
        world_model = self.train_world_model()
        agent = None
        if c.bc.updates or c.leq.updates:
            latents = LatentData(
                world_model,
                self.dataset,
                self.key("latents"),
                c.leq.gamma if c.bc.critic == "monte_carlo" else None,
                c.latent.length,
                c.data.placement,
                self.log,
            )
            nets = build.actor_critic(c, self.facts.observation)
            params = self.pretrain(latents, nets)
            agent = self.train_leq(latents, nets, params)
        self.log("writing imagined videos")
        write_imagined_videos(self.folder, world_model, agent, self.dataset, c.video)

    def train_world_model(self) -> LatentWorldModel:
        c = self.config.latent
        net = build.latent_net(self.config, self.facts.observation)
        phase = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))

        def source():
            sampler = Windows(len(self.dataset.reward), c.batch, c.length)
            names = ("image", "action", "reward", "is_first", "is_terminal")
            arrays = {name: getattr(self.dataset, name) for name in names}
            source, note = place(arrays, sampler, self.config.data.placement)
            self.log(f"dataset: {note}")
            return source

        run = self.phase("world_model", phase, source, c.updates)
        # jitted, here and below: layer by layer, compiling takes several times as long
        state = jax.jit(lambda key: phase.init(key))(self.key("world_model"))
        return LatentWorldModel(run.run(state).params, net)

    def pretrain(self, latents: LatentData, nets: ActorCritic) -> dict[str, Params]:
        """Fresh parameters of actor and critic, after behaviour cloning where asked."""
        c = self.config.bc
        features = latents.world_model.net.features
        params = jax.jit(lambda key: nets.init(key, features))(self.key("actor_critic"))
        if not c.updates:
            return params
        optimizer = build.optimizer(c.optimizer, c.updates)
        learner = Pretraining(latents.world_model, nets, optimizer, self.config)
        phase = latents.phase(learner)
        run = self.phase("bc", phase, lambda: latents.source(c.batch), c.updates)
        return run.run(learner.init(params)).params

    def train_leq(
        self, latents: LatentData, nets: ActorCritic, params: dict[str, Params]
    ) -> Agent:
        """The policy after LEQ, scored in the environment before, after and between."""
        c = self.config.leq
        optimizer = build.optimizer(c.optimizer, c.updates)
        learner = LEQ(latents.world_model, nets, optimizer, self.config)

        def agent(state: LEQState) -> Agent:
            return Agent(latents.world_model, state.params["actor"], nets)

        state = learner.init(params)
        if self.session.checkpoints.latest("leq") is None:
            self.evaluate(agent(state), 0)
        phase = latents.phase(learner)
        run = self.phase("leq", phase, lambda: latents.source(c.batch), c.updates)
        run.evaluate = lambda state, step: self.evaluate(agent(state), step)
        run.evaluate_every = self.config.eval.every
        return agent(run.run(state))

    def evaluate(self, agent: Agent, step: int) -> None:
        """Score the policy after `step` updates of LEQ: to log, metrics and
        scores.json.
        """
        c = self.config.eval
        scores, _ = score(
            agent,
            self.facts.task,
            self.facts.render_style,
            action_repeat=self.facts.action_repeat,
            image_size=self.facts.image_size,
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
        self.log(f"policy after {step:,} updates of LEQ: {describe(scores)}")

    def phase(self, name: str, phase: Any, source: Callable, updates: int) -> PhaseRun:
        key = self.key(f"{name} updates")
        return PhaseRun(self.session, name, phase, source, updates, key)

    def key(self, name: str) -> jax.Array:
        return named_key(self.config.seed, name)


def describe(scores: Scores) -> str:
    """A return with its spread, as one reads it."""
    interval = ""
    if scores["ci_low"] is not None:
        interval = f" (95 % interval {scores['ci_low']:.0f} … {scores['ci_high']:.0f})"
    mean, std = scores["mean"], scores["std"]
    return f"return {mean:.0f} ± {std:.0f}{interval}, {scores['episodes']} episodes"
