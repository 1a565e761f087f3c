"""A run's folder: what lies where, and how to read it back.

config.yaml     the resolved configuration
info.json       versions, commit, seed, devices, the dataset's facts and statistics
metrics.jsonl   one record a line; tensorboard/ shows the same
checkpoints/    one folder for each phase, with its last steps
scores.json     evaluations in the environment, by updates of the algorithm
analysis/       how wrong the world model and the values are
videos/         what the policy does, what the world model imagines
report.html     all of it on one page
tau0.1-seed0/   of a grid: its runs, each with a folder such as this one
"""

import os
import shutil
from dataclasses import MISSING, asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.run import build
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.run.provenance import run_info
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import (
    FORMAT,
    link_or_copy,
    read_json,
    refuse_newer,
    remove_leftovers,
    replacing_folder,
    write_json,
)
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.world_models.interface import WorldModel

# Keys on which the world model depends, and those on which pretrained networks do too.
_WORLD_MODEL_KEYS = (
    *("task", "world_model", "latent.", "ensemble.", "vectors.", "precision"),
)
_NETWORK_KEYS = (
    *("seed", "seeds", "critic."),
    *("actor.network", "actor.layers", "actor.units", "actor.layer_norm"),
)
_MEND = "put the file back as it was, or train the run again"


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
        """Raise UserError where the folder holds a run of another configuration, or of
        an earlier version, whose checkpoints training can't go on from.
        """
        if not os.path.lexists(self.path / "config.yaml"):
            return
        if os.path.lexists(self.path / "info.json") and self._format < FORMAT:
            raise UserError(
                f"{self.path} holds a run of an earlier version of dreamer-leq, which "
                "eval.py can score but training can't go on with: choose another "
                "--logdir, or finish it with that version (its commit is in info.json)"
            )
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
        if self.checkpoints(1).latest(self.config.algorithm) is None:
            raise UserError(f"--pretrained {self.path}: its pretraining is not over")

    def take_over(self, other: "RunFolder", config: Config) -> str:
        """Take the checkpoints of what `other` has trained as `config` wants it, where
        this run has none and `refuse_to_pretrain` had no objection; returns a line for
        the log.

        They are shared with `other` where the file system can do that: they are never
        written again.
        """
        networks, differing = _shared_networks(other.config, config)
        for phase in ("world_model", *networks):
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
        policy = " and cloned policy" if networks else ""
        return f"pretrained: the world model{policy} of {other.path}"

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
        """What `add_scores` has put into scores.json, by updates of the algorithm."""
        file = self.path / "scores.json"
        if not os.path.lexists(file):
            return {}
        known = read_json(file)
        if isinstance(known, dict) and all(name.isdecimal() for name in known):
            return known
        raise UserError(
            f"{file}: expected scores by updates; remove it to go on without"
        )

    def add_scores(self, updates: int, scores: dict[str, Any]) -> None:
        """Put the evaluation after `updates` updates into scores.json."""
        known = self.scores
        known[str(updates)] = scores
        ordered = {name: known[name] for name in sorted(known, key=int)}
        write_json(self.path / "scores.json", ordered)

    def load_world_model(self) -> WorldModel:
        """The world model as its last checkpoint has it."""
        config = self.config
        checkpoints = self.checkpoints(config.checkpoint.keep)
        return kind_of(config).load(config, self.facts, checkpoints)

    @property
    def policy_phase(self) -> str | None:
        """The phase that trained the policy last; None where there is no policy yet."""
        latest, phases = self.checkpoints(1).latest, self.config.phases[:0:-1]
        return next((phase for phase in phases if latest(phase) is not None), None)

    @property
    def scorable(self) -> bool:
        """Whether there is a policy, or one of each member of a grid."""
        return all(run.policy_phase is not None for run in self.runs)

    def load_agent(self, world: WorldModel | None = None) -> Agent:
        """The policy as the last checkpoint of the last phase that trained it has it;
        `world` is the run's world model, where it has been loaded already.
        """
        if members := self.members:
            raise UserError(
                f"{self.path} is a grid; give one of its runs: {', '.join(members)}"
            )
        config, phase = self.config, self.policy_phase
        if phase is None:
            raise UserError(
                f"{self.path} has no policy yet: its world model is in training"
            )
        world = world or self.load_world_model()
        learner = build.learner(config, phase, world, self.facts.action_size)
        expected = jax.eval_shape(learner.networks, jax.random.key(0))
        checkpoints = self.checkpoints(config.checkpoint.keep)
        params, _ = checkpoints.restore(phase, expected, subtree="params")
        return Agent.of(learner, jax.tree.map(jnp.asarray, params))


def _shared_networks(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """The phases whose networks `new` would train as `old` has, and the keys because of
    which there are none.
    """
    phases = [name for name in new.phases[1:-1] if name in old.phases[1:-1]]
    names = (*_NETWORK_KEYS, *(f"{phase}." for phase in phases))
    differing = [key for key in configs.difference(old, new) if _begins(key, names)]
    if phases and old.gamma != new.gamma:
        differing.append(f"{new.algorithm}.gamma")
    return ([] if differing else phases), differing


def _begins(key: str, names: tuple[str, ...]) -> bool:
    """Whether a key is one of `names`, or of those sections that end in a dot."""
    return any(
        key.startswith(name) if name.endswith(".") else key == name for name in names
    )
