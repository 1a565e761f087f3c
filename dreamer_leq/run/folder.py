"""A run's folder: what lies where, and how to read it back.

config.yaml     the resolved configuration
info.json       versions, commit, seed, devices, the dataset's facts and statistics
metrics.jsonl   one record a line; tensorboard/ shows the same
checkpoints/    world_model/, bc/, fqe/, leq/, each with its last steps
scores.json     evaluations in the environment, by updates of LEQ
analysis/       how wrong the world model and the values are
videos/         what the policy does, what the world model imagines
report.html     all of it on one page
tau*-seed*/     of a grid: its runs, each with a folder such as this one
"""

import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.config.checks import given
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.config.tasks import Task
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.run import build
from dreamer_leq.run.provenance import run_info
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import (
    link_or_copy,
    read_json,
    remove_leftovers,
    replacing_folder,
    write_json,
)
from dreamer_leq.system.format_version import FORMAT, refuse_newer
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.world_models.ensemble_training import abstract_best, elites
from dreamer_leq.world_models.interface import WorldModel
from dreamer_leq.world_models.latent import LatentWorldModel, ObservationSpec
from vd4rl_loader.states import RewardTransform

# Keys on which the world model depends, and those on which the cloned policy does too.
_WORLD_MODEL_KEYS = ("task", "world_model", "latent.", "ensemble.", "precision")
_PRETRAINING_KEYS = (
    *("seed", "seeds", "bc.", "fqe.", "critic.", "leq.gamma"),
    *("actor.network", "actor.layers", "actor.units", "actor.layer_norm"),
)

_KINDS = {
    **{"path": str, "environment": dict, "reward": dict, "statistics": dict},
    "return_histogram": dict,
    **dict.fromkeys(("image_size", "vector_size", "action_size"), int),
}
_LARGEST_SIZE = 1 << 20  # numbers of an observation or action
_MEND = "put the file back as it was, or train the run again"

_STORAGE = ("path", "environment", "statistics", "source_bytes", "return_histogram")
HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class DataFacts:
    """What a run keeps of its dataset, so that it can be scored without it."""

    path: str
    environment: dict[str, Any]  # as envs.suites reads it
    image_size: int  # 0: none
    vector_size: int  # 0: none
    action_size: int
    reward: dict[str, float]  # how LEQ sees rewards: scale and bias
    statistics: dict[str, Any]
    # of the episodes' returns: edges [K+1], counts [K]; earlier runs have none
    return_histogram: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, dataset: AnyDataset, path: str, task: Task, reward: RewardTransform
    ) -> "DataFacts":
        spec, environment = dataset.spec, dict(task.environment)
        if task.pixels:
            environment["task"] = spec.task or environment["task"]
            environment["render"] = spec.render.to_json()
            environment["action_repeat"] = spec.action_repeat
            environment["image_size"] = spec.image_size
        return cls(
            path,
            environment,
            spec.image_size if task.pixels else 0,
            0 if task.pixels else spec.vector_size,
            spec.action_size,
            asdict(reward),
            dataset.statistics(),
            _histogram(dataset.returns()),
        )

    def rewards(self, dataset: AnyDataset) -> np.ndarray:
        """Rewards as LEQ sees them: float32 [N], 0 where an episode begins."""
        reward = self.reward_transform(np.asarray(dataset.reward))
        return np.where(np.asarray(dataset.is_first), 0.0, reward).astype(np.float32)

    def problems(self) -> Iterator[str]:
        """What can't be, of facts that were read: field and what is wrong."""
        for known in fields(self):
            value, kind = getattr(self, known.name), _KINDS[known.name]
            if type(value) is not kind:
                yield f"{known.name}: is {given(value)}, expected {kind.__name__}"
                return
        for name in ("image_size", "vector_size", "action_size"):
            if not 0 <= getattr(self, name) <= _LARGEST_SIZE:
                yield f"{name}: is {given(getattr(self, name))}"
        numbers = [self.reward.get(name) for name in ("scale", "bias")]
        if len(self.reward) != 2 or not all(map(_is_finite, numbers)):
            yield "reward: expected scale and bias, two numbers"

    @property
    def content(self) -> dict[str, Any]:
        """What tells one dataset from another, wherever and however it is stored."""
        flat = asdict(self) | self.environment | self.statistics
        return {k: v for k, v in flat.items() if k not in _STORAGE}

    @property
    def observation(self) -> ObservationSpec:
        return ObservationSpec(self.image_size, self.vector_size, self.action_size)

    @property
    def reward_transform(self) -> RewardTransform:
        return RewardTransform(**self.reward)


class RunFolder:
    """The folder of one run, to be begun, gone on with or read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def begin(self, config: Config, facts: DataFacts) -> None:
        """Write config.yaml and info.json, where `refuse_other` had no objection.

        Raises UserError where the folder holds a run on other data.
        """
        self._refuse_other_data(facts)
        _ = self.scores  # damaged ones would be noticed after the training
        remove_leftovers(self.path)
        configs.save(config, self.path / "config.yaml")
        write_json(self.path / "info.json", run_info(config.seed, asdict(facts)))

    def refuse_other(self, config: Config) -> None:
        """Raise UserError where the folder holds a run of another configuration."""
        if not os.path.lexists(self.path / "config.yaml"):
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
        if not os.path.lexists(self.path / "info.json"):
            return
        if differing := self._differing(facts):
            raise UserError(
                f"{self.path} holds a run on other data than {facts.path} (another "
                f"{', '.join(differing)}): choose another --logdir, or give its own "
                "data to go on with it"
            )

    def _differing(self, facts: DataFacts) -> list[str]:
        old, new = self.facts.content, facts.content
        return [key for key in new if old.get(key) != new[key]]

    def refuse_to_pretrain(self, config: Config, facts: DataFacts | None) -> None:
        """Raise UserError where the world model is not trained here, or is not that of
        `config` on the data of `facts` (None: not known yet).
        """
        keys = configs.difference(self.config, config)
        differing = [key for key in keys if _begins(key, _WORLD_MODEL_KEYS)]
        differing += self._differing(facts) if facts else []
        if differing:
            raise UserError(
                f"--pretrained {self.path}: it has another {', '.join(differing)}; "
                "only what comes after the world model may differ"
            )
        if self.checkpoints(1).latest("leq") is None:
            raise UserError(f"--pretrained {self.path}: its pretraining is not over")

    def take_over(self, other: "RunFolder", config: Config) -> str:
        """Take the checkpoints of what `other` has trained as `config` wants it, where
        this run has none and `refuse_to_pretrain` had no objection; returns a line for
        the log.

        They are shared with `other` where the file system can do that: they are never
        written again.
        """
        keys = configs.difference(other.config, config)
        differing = [key for key in keys if _begins(key, _PRETRAINING_KEYS)]
        phases = ("world_model",) if differing else ("world_model", "bc", "fqe")
        for phase in phases:
            old, new = (run.path / "checkpoints" / phase for run in (other, self))
            if old.exists() and not new.exists():
                with replacing_folder(new) as temporary:
                    copy = partial(shutil.copytree, old, temporary, dirs_exist_ok=True)
                    copy(copy_function=link_or_copy)
        if differing:
            return (
                f"pretrained: the world model of {other.path}; not its policy, which "
                f"has another {', '.join(differing)}"
            )
        return f"pretrained: the world model and cloned policy of {other.path}"

    @property
    def config(self) -> Config:
        file = self.path / "config.yaml"
        if not os.path.lexists(file):
            raise UserError(f"{self.path} is not a run's folder: it has no config.yaml")
        version = self._format
        refuse_newer(version, str(self.path))
        try:
            return configs.read(file)
        except UserError as error:
            if version == FORMAT:
                raise
            raise UserError(
                f"{error}; the run is of an earlier version of dreamer-leq (its commit "
                "is in info.json): read it with that one, or train it again"
            ) from None

    @property
    def _format(self) -> int:
        file = self.path / "info.json"
        info = read_json(file) if os.path.lexists(file) else {}
        return info.get("format", 0) if isinstance(info, dict) else 0

    @property
    def facts(self) -> DataFacts:
        file = self.path / "info.json"
        if not os.path.lexists(file):
            raise UserError(f"{self.path} is not a run's folder: it has no info.json")
        refuse_newer(self._format, str(self.path))
        info = read_json(file)
        stored = info.get("dataset") if isinstance(info, dict) else None
        if not isinstance(stored, dict):
            raise UserError(f"{file}: dataset: missing, or without fields; {_MEND}")
        known = fields(DataFacts)
        needed = [x.name for x in known if x.default_factory is MISSING]
        if missing := [name for name in needed if name not in stored]:
            raise UserError(
                f"{file} is of an earlier version: its dataset lacks {missing[0]}; "
                "train the run again"
            )
        facts = DataFacts(**{x.name: stored[x.name] for x in known if x.name in stored})
        for problem in facts.problems():
            raise UserError(f"{file}: dataset.{problem}; {_MEND}")
        return facts

    @property
    def members(self) -> dict[str, "RunFolder"]:
        """The folders of a grid's members by name; empty for one run."""
        return {name: RunFolder(self.path / name) for name in self.config.members}

    @property
    def runs(self) -> list["RunFolder"]:
        """A grid's members, or this run."""
        return list(self.members.values()) or [self]

    def checkpoints(self, keep: int) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", keep)

    def video(self, name: str) -> Path:
        return self.path / "videos" / f"{name}.mp4"

    @property
    def scores(self) -> dict[str, Any]:
        """What `add_scores` has put into scores.json, by updates of LEQ."""
        file = self.path / "scores.json"
        if not os.path.lexists(file):
            return {}
        known = read_json(file)
        if isinstance(known, dict) and all(name.isdecimal() for name in known):
            return known
        raise UserError(
            f"{file}: expected scores by updates of LEQ; remove it to go on without"
        )

    def add_scores(self, updates: int, scores: dict[str, Any]) -> None:
        """Put the evaluation after `updates` updates of LEQ into scores.json."""
        known = self.scores
        known[str(updates)] = scores
        ordered = {name: known[name] for name in sorted(known, key=int)}
        write_json(self.path / "scores.json", ordered)

    def load_world_model(self) -> WorldModel:
        """The world model as its last checkpoint has it."""
        config, facts = self.config, self.facts
        checkpoints = self.checkpoints(config.checkpoint.keep)
        if config.world_model == "mlp_ensemble":
            net = build.ensemble_net(config, facts.observation)
            expected = abstract_best(net)
            best, _ = checkpoints.restore("world_model", expected, subtree="best")
            rule = build.termination(config)
            return elites(best, net, rule, facts.reward_transform)
        net = build.latent_net(config, facts.observation)
        expected = jax.eval_shape(net.init, jax.random.key(0))
        params, _ = checkpoints.restore("world_model", expected, subtree="params")
        return LatentWorldModel(params, net)

    @property
    def policy_phase(self) -> str | None:
        """The phase that trained the policy last; None where there is no policy yet."""
        checkpoints = self.checkpoints(1)
        phases = ("leq", "fqe", "bc")
        return next((p for p in phases if checkpoints.latest(p) is not None), None)

    @property
    def scorable(self) -> bool:
        """Whether there is a policy, or one of each member of a grid."""
        return all(run.policy_phase is not None for run in self.runs)

    def load_actor_critic(self, features: int) -> dict[str, Params]:
        """Actor and critic as the last checkpoint of LEQ, FQE or behaviour cloning has
        them.
        """
        config = self.config
        checkpoints, phase = self.checkpoints(config.checkpoint.keep), self.policy_phase
        if members := self.members:
            raise UserError(
                f"{self.path} is a grid; give one of its runs: {', '.join(members)}"
            )
        if phase is None:
            raise UserError(
                f"{self.path} has no policy yet: its world model is in training"
            )
        nets = build.actor_critic(config, self.facts.observation)
        expected = jax.eval_shape(
            lambda key: nets.init(key, features), jax.random.key(0)
        )
        return checkpoints.restore(phase, expected, subtree="params")[0]

    def load_agent(self, world_model: WorldModel | None = None) -> Agent:
        """The policy as the last checkpoint has it; `world_model` is the run's, where
        it has been loaded already.
        """
        world_model = world_model or self.load_world_model()
        params = self.load_actor_critic(world_model.feature_size)
        nets = build.actor_critic(self.config, self.facts.observation)
        return Agent(world_model, jax.tree.map(jnp.asarray, params["actor"]), nets)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _histogram(returns: np.ndarray) -> dict[str, list[float]]:
    counts, edges = np.histogram(returns, HISTOGRAM_BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _begins(key: str, names: tuple[str, ...]) -> bool:
    """Whether a key is one of `names`, or of those sections that end in a dot."""
    return any(
        key.startswith(name) if name.endswith(".") else key == name for name in names
    )
