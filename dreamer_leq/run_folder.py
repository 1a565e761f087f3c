"""A run's folder: what lies where, and how to read it back.

config.yaml     the resolved configuration
info.json       versions, commit, seed, devices, the dataset's facts and statistics
metrics.jsonl   one record a line; tensorboard/ shows the same
checkpoints/    world_model/, bc/, leq/, each with its last steps
scores.json     evaluations in the environment, by updates of LEQ
videos/         what the policy does, what the world model imagines
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_leq import build
from dreamer_leq import config as configs
from dreamer_leq.agent import Agent
from dreamer_leq.config import Config
from dreamer_leq.errors import UserError
from dreamer_leq.files import write_json
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.provenance import run_info
from dreamer_leq.world_models.latent import LatentWorldModel, ObservationSpec
from vd4rl_loader import Dataset, RenderStyle

# Keys that may differ when a run goes on: they change nothing that is learned.
FREE_KEYS = (
    "logdir",
    "data.path",
    "data.skip_bad",
    "data.placement",
    "checkpoint.every",
    "checkpoint.keep",
    "log.wandb",
    "eval.workers",
    "video.sequences",
    "video.length",
    "video.context",
)

_STORAGE = ("path", "statistics", "source_bytes")


@dataclass(frozen=True)
class DataFacts:
    """What a run keeps of its dataset, so that it can be scored without it."""

    path: str
    task: str
    image_size: int
    source_image_size: int
    action_size: int
    action_repeat: int
    render: dict[str, Any]
    statistics: dict[str, Any]

    @classmethod
    def of(cls, dataset: Dataset, path: str, task: str) -> "DataFacts":
        spec = dataset.spec
        return cls(
            path,
            spec.task or task,
            spec.image_size,
            spec.source_image_size,
            spec.action_size,
            spec.action_repeat,
            spec.render.to_json(),
            dataset.statistics(),
        )

    @property
    def content(self) -> dict[str, Any]:
        """What tells one dataset from another, wherever and however it is stored."""
        flat = asdict(self) | self.statistics
        return {k: v for k, v in flat.items() if k not in _STORAGE}

    @property
    def observation(self) -> ObservationSpec:
        return ObservationSpec(self.image_size, 0, self.action_size)

    @property
    def render_style(self) -> RenderStyle:
        return RenderStyle.from_json(self.render)


class RunFolder:
    """The folder of one run, to be begun, gone on with or read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def begin(self, config: Config, facts: DataFacts) -> None:
        """Write config.yaml and info.json, where `refuse_other` had no objection.

        Raises UserError where the folder holds a run on other data.
        """
        self._refuse_other_data(facts)
        configs.save(config, self.path / "config.yaml")
        write_json(self.path / "info.json", run_info(config.seed, asdict(facts)))

    def refuse_other(self, config: Config) -> None:
        """Raise UserError where the folder holds a run of another configuration."""
        if not (self.path / "config.yaml").exists():
            return
        keys = configs.difference(self.config, config)
        differing = [key for key in keys if key not in FREE_KEYS]
        if differing:
            raise UserError(
                f"{self.path} holds a run with another {', '.join(differing)}: choose "
                "another --logdir, or repeat its settings to go on with it"
            )

    def _refuse_other_data(self, facts: DataFacts) -> None:
        """Data may move and be converted, but has to stay the same."""
        if not (self.path / "info.json").exists():
            return
        old, new = self.facts.content, facts.content
        differing = [key for key in new if old.get(key) != new[key]]
        if differing:
            raise UserError(
                f"{self.path} holds a run on other data than {facts.path} (another "
                f"{', '.join(differing)}): choose another --logdir, or give its own "
                "data to go on with it"
            )

    @property
    def config(self) -> Config:
        file = self.path / "config.yaml"
        if not file.exists():
            raise UserError(f"{self.path} is not a run's folder: it has no config.yaml")
        return configs.read(file)

    @property
    def facts(self) -> DataFacts:
        file = self.path / "info.json"
        if not file.exists():
            raise UserError(f"{self.path} is not a run's folder: it has no info.json")
        stored = json.loads(file.read_text())["dataset"]
        names = [field.name for field in fields(DataFacts)]
        return DataFacts(**{name: stored[name] for name in names})

    def checkpoints(self, keep: int) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", keep)

    def video(self, name: str) -> Path:
        return self.path / "videos" / f"{name}.mp4"

    def add_scores(self, updates: int, scores: dict[str, Any]) -> None:
        """Put the evaluation after `updates` updates of LEQ into scores.json."""
        file = self.path / "scores.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        known[str(updates)] = scores
        ordered = {name: known[name] for name in sorted(known, key=int)}
        write_json(file, ordered)

    def load_world_model(self) -> LatentWorldModel:
        """The world model as its last checkpoint has it."""
        config = self.config
        net = build.latent_net(config, self.facts.observation)
        expected = jax.eval_shape(net.init, jax.random.key(0))
        params, _ = self.checkpoints(config.checkpoint.keep).restore(
            "world_model", expected, subtree="params"
        )
        return LatentWorldModel(params, net)

    def load_agent(self) -> Agent:
        """The policy as LEQ's last checkpoint has it, or that of behaviour cloning."""
        config, world_model = self.config, self.load_world_model()
        checkpoints = self.checkpoints(config.checkpoint.keep)
        trained = [p for p in ("leq", "bc") if checkpoints.latest(p) is not None]
        if not trained:
            raise UserError(
                f"{self.path} has no policy yet: its world model is in training"
            )
        nets = build.actor_critic(config, self.facts.observation)
        expected = jax.eval_shape(
            lambda key: nets.init(key, world_model.net.features), jax.random.key(0)
        )
        params, _ = checkpoints.restore(trained[0], expected, subtree="params")
        return Agent(world_model, jax.tree.map(jnp.asarray, params["actor"]), nets)
