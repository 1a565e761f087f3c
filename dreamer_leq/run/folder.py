"""A run's folder: what lies where, and how to read it back.

config.yaml     the resolved configuration
info.json       versions, commit, seed, devices, the dataset's facts and statistics
metrics.jsonl   one record a line; tensorboard/ shows the same
checkpoints/    one folder for each phase, with its last steps; in a run that was shared
                a .safetensors file, with its networks
latents/        while a policy is trained: latents that fit into no memory
scores.json     evaluations in the environment, by updates of the algorithm
analysis/       how wrong the world model and the values are
videos/         what the policy does, what the world model imagines
report.html     all of it on one page
tau0.1-seed0/   of a grid: its runs, each with a folder such as this one
"""

import os
from contextlib import AbstractContextManager
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_leq import config as configs
from dreamer_leq.config import Config, tasks
from dreamer_leq.config.checks import optimizers
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.config.shared_keys import WORLD_MODEL_KEYS, begins
from dreamer_leq.config.tree import WORLD_MODELS
from dreamer_leq.envs.own import is_registered
from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.run import build, hub, shared
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.run.provenance import run_info
from dreamer_leq.system.devices import present
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import (
    FORMAT,
    read_json,
    refuse_newer,
    remove_leftovers,
    write_json,
)
from dreamer_leq.system.locks import only_user
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.world_models.interface import WorldModel
from vd4rl_loader.paths import WORDS, expanded, is_path

# Keys on which pretrained networks depend, beside those of the world model.
_NETWORK_KEYS = (
    *("seed", "seeds", "critic.", "encoding.samples"),
    *("actor.network", "actor.layers", "actor.units", "actor.layer_norm"),
)
_MEND = "put the file back as it was, or train the run again"


class RunFolder:
    """The folder of one run, to be begun, gone on with or read."""

    def __init__(
        self, path: str | Path, step: int | str | Path | None = None, env: str = ""
    ) -> None:
        """With `step`, the policy is loaded as it was after so many updates of the
        algorithm, instead of the last ones; a checkpoint's path says the number, too.
        `env` is an environment of the user's to score it in, instead of the run's.
        A `path` such as hf://USER/NAME is fetched from the hub.
        Raises UserError for what is no path of this machine, and no step; and for what
        others have shared and can't be.
        """
        self.fetched = str(path).startswith(hub.SCHEME)  # into the client's cache
        if not self.fetched and not is_path(str(path)):
            raise UserError(f"{str(path)!r} is not {WORDS}")
        fetch = hub.fetched if self.fetched else expanded
        self.path = Path(fetch(str(path)))
        if shared.is_shared(self.path):
            shared.vet(self.path)
        self.step = None if step is None else _step(str(step), self.path)
        if not tasks.is_env(env):
            raise UserError(f"--env {env}: expected {tasks.ENV_WORDS}")
        self.env = env

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
        self._refuse_other_things()
        if shared.has_policy(self.path):
            raise UserError(
                f"{self.path} holds a shared run, with which training can't go on: "
                f"choose another --logdir, where --pretrained {self.path} takes over "
                "its world model"
            )
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
        if len(differing) == 1 and differing[0].endswith(".updates"):
            self._refuse_longer(differing[0], config)
        elif differing and set(differing) <= _grid_keys(config):
            self._refuse_other_members(differing, config)
        elif differing:
            raise UserError(
                f"{self.path} holds a run with another {', '.join(differing)}: choose "
                "another --logdir, or repeat its settings to go on with it"
            )

    def _refuse_longer(self, key: str, config: Config) -> None:
        """Raise UserError where a phase can't go on to another number of updates."""
        section = key.partition(".")[0]
        phases = self.config.phases
        phase = section if section in phases else phases[0]
        later = phases[phases.index(phase) + 1 :]
        old = getattr(self.config, section)
        reached = self.checkpoints(1).latest(phase) or 0
        wanted = getattr(config, section).updates
        members = list(config.members)
        together = self.checkpoints(1).extra(phase).get("members", members)
        if phase == config.algorithm and together != members:
            raise UserError(
                f"{self.path}: its members were trained apart: go on with each in its "
                f"own folder, such as --logdir {self.path / members[0]}"
            )
        if any(self.checkpoints(1).latest(name) is not None for name in later):
            reason = f"{later[0]} has begun with what {old.updates} updates made"
        elif reached > wanted:
            reason = f"{reached} are done"
        elif reached and any(
            o.schedule != "constant" for o in optimizers(old).values()
        ):
            reason = f"the schedule of its learning rate ends after {old.updates}"
        else:
            return
        raise UserError(
            f"{self.path}: {key} can't become {wanted}: {reason}; choose another "
            f"--logdir, where --pretrained {self.path} takes over what is done before"
        )

    def _refuse_other_members(self, keys: list[str], config: Config) -> None:
        """Raise UserError where a grid can't go on with other members: those that it
        has are to be trained first.
        """
        old = self.config
        said = f"{self.path} holds a run with another {', '.join(keys)}"
        if not (old.members and config.members):
            raise UserError(
                f"{said}: choose another --logdir, where --pretrained {self.path} "
                f"takes over its world model (for seeds beside its own --seed "
                f"{old.seed + old.seeds}), or repeat its settings to go on with it"
            )
        names = [name for name, run in self.members.items() if not run.is_done]
        if names and self.checkpoints(1).latest(old.algorithm) is not None:
            raise UserError(
                f"{said}: let its own command finish {', '.join(names)} first; others "
                "can be added then"
            )

    @property
    def is_done(self) -> bool:
        """Whether the algorithm has all its updates; of a member of a grid, whether its
        last state has been put here.
        """
        config = self.config
        return self.checkpoints(1).latest(config.algorithm) == config.own.updates

    def _refuse_other_things(self) -> None:
        """Raise UserError where there is, or can be, no such folder to write to."""
        there = (self.path, *self.path.absolute().parents)
        nearest = next(path for path in there if os.path.lexists(path))
        if not nearest.is_dir():
            kind = "a link to nothing" if nearest.is_symlink() else "a file, no folder"
            raise UserError(
                f"--logdir {self.path}: {nearest} is {kind}: choose another"
            )
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(
                f"--logdir {self.path}: {nearest} can't be written to: give yourself "
                "the right to it, or choose another"
            )

    def in_use(self) -> AbstractContextManager[None]:
        """That no other process trains in the folder. Raises UserError where one does,
        with its host and number.
        """
        return only_user(self.path, "train")

    def refuse_busy(self) -> None:
        """Raise UserError where another process trains in the folder."""
        if self.path.is_dir():
            with self.in_use():
                pass

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
        differing = [key for key in keys if begins(key, WORLD_MODEL_KEYS)]
        data = self._differing(facts) if facts else []
        if not WORLD_MODELS[config.world_model].own_rewards:
            data = [name for name in data if name != "reward"]
        if differing := differing + data:
            raise UserError(
                f"--pretrained {self.path}: it has another {', '.join(differing)}; "
                "only what comes after the world model may differ"
            )
        if not self._is_over("world_model"):
            raise UserError(
                f"--pretrained {self.path}: its world model is still to be trained: "
                "let its own command finish it"
            )

    def _is_over(self, phase: str) -> bool:
        """Whether a phase has all its updates."""
        checkpoints = self.checkpoints(1)
        begun = checkpoints.latest(self.config.algorithm) is not None
        return begun or bool(checkpoints.extra(phase).get("over"))

    def take_over(self, other: "RunFolder", config: Config) -> str:
        """Take the checkpoints of what `other` has trained as `config` wants it, where
        this run has none and `refuse_to_pretrain` had no objection; returns a line for
        the log.

        They are shared with `other` where the file system can do that: they are never
        written again.
        """
        networks, differing = _shared_networks(other.config, config)
        if networks and other.facts.reward != self.facts.reward:
            networks, differing = [], ["reward"]
        there = other.checkpoints(1)
        networks = [phase for phase in networks if other._is_over(phase)]
        networks = [phase for phase in networks if not there.has_weights(phase)]
        networks = [phase for phase in networks if there.latest(phase) is not None]
        for phase in (*networks, "world_model"):  # the last one says that all are here
            if self.checkpoints(1).latest(phase) is None:
                there.copy(phase, self.path / "checkpoints")
        if differing:
            return (
                f"pretrained: the world model of {other.path}; not its policy, which "
                f"has another {', '.join(differing)}"
            )
        policy = " and cloned policy" if networks else ""
        return f"pretrained: the world model{policy} of {other.path}"

    @property
    def has_world_model(self) -> bool:
        """Whether there is one, trained, in training or taken over."""
        return self.checkpoints(1).latest("world_model") is not None

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
        return self._scored(facts)

    def _scored(self, facts: DataFacts) -> DataFacts:
        """With the environment that it was trained for, or `env`. What others shared
        names none: nothing is imported because they said so; and from the run's own
        folder, which may be theirs, never.
        """
        if self.env:
            return facts.scored_in(self.env, facts.environment.get("time_limit", 0))
        name = facts.environment.get("make", "")
        inside = Path.cwd().is_relative_to(self.path.resolve())
        theirs = self.fetched or shared.is_shared(self.path) or inside
        if theirs and name and not is_registered(str(name)):
            hidden = {"make": "", "named": str(name)}
            return replace(facts, environment=facts.environment | hidden)
        return facts

    @property
    def members(self) -> dict[str, "RunFolder"]:
        """The folders of a grid's members by name; empty for one run."""
        names = self.config.members
        return {n: RunFolder(self.path / n, self.step, self.env) for n in names}

    @property
    def runs(self) -> list["RunFolder"]:
        """A grid's members, or this run."""
        return list(self.members.values()) or [self]

    def checkpoints(self, keep: int) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", keep)

    def kept_checkpoints(self, config: Config) -> Checkpoints:
        """Checkpoints to write: `config` says which of them are kept."""

        def best(phase: str) -> list[int]:
            wanted = config.checkpoint.keep_best and phase == config.algorithm
            return self.best_steps if wanted else []

        return Checkpoints(self.path / "checkpoints", config.checkpoint.keep, best)

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

    @property
    def best_steps(self) -> list[int]:
        """The updates after which the policy scored best, once there are scores."""
        scores = {int(step): found["mean"] for step, found in self.scores.items()}
        return [max(scores, key=scores.get)] if scores else []

    def load_world_model(self) -> WorldModel:
        """The world model as its last checkpoint has it."""
        present()  # before JAX says in pages what it lacks
        config = self.config
        checkpoints = self.checkpoints(config.checkpoint.keep)
        return kind_of(config).load(config, self.facts, checkpoints)

    @property
    def policy_phase(self) -> str | None:
        """The phase that trained the policy last; None where there is no policy yet."""
        latest, phases = self.checkpoints(1).latest, self.config.phases[:0:-1]
        return next((phase for phase in phases if latest(phase) is not None), None)

    @property
    def without_policy(self) -> str:
        """Why there is no policy, where there is none."""
        if self.config.learns_policy:
            return "has no policy yet: its world model is in training"
        return (
            "has no policy: only its world model was trained; its imagination is shown "
            "by eval.py --open-loop, and a policy trained on it by --pretrained"
        )

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
        if self.step is not None:
            phase = config.algorithm
        if phase is None:
            raise UserError(f"{self.path} {self.without_policy}")
        world = world or self.load_world_model()
        learner = build.learner(config, phase, world, self.facts.action_size)
        expected = jax.eval_shape(learner.networks, jax.random.key(0))
        checkpoints = self.checkpoints(config.checkpoint.keep)
        params, _ = checkpoints.restore(phase, expected, self.step, "params")
        return Agent.of(learner, jax.tree.map(jnp.asarray, params))


def _step(given: str, folder: Path) -> int:
    """The number of updates that is given, or that a checkpoint of the folder has."""
    if given.isdecimal() and len(given) < 16:
        return int(given)
    checkpoint = Path(expanded(given)) if is_path(given) else Path()
    home = checkpoint.parent.parent.parent.resolve()
    if checkpoint.is_dir() and checkpoint.name.isdecimal() and home == folder.resolve():
        return int(checkpoint.name)
    raise UserError(
        f"step {given[:100]}: give a number of updates, 0 or more, or the path of a "
        f"checkpoint of the run, such as {folder}/checkpoints/leq/0"
    )


def _shared_networks(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """The phases whose networks `new` would train as `old` has, and the keys because of
    which there are none.
    """
    phases = [name for name in new.phases[1:-1] if name in old.phases[1:-1]]
    if not phases:
        return [], []
    names = (*_NETWORK_KEYS, *(f"{phase}." for phase in phases))
    differing = [key for key in configs.difference(old, new) if begins(key, names)]
    if old.gamma != new.gamma:
        differing.append(f"{new.algorithm}.gamma")
    return ([] if differing else phases), differing


def _grid_keys(config: Config) -> set[str]:
    """The keys by which the members of a grid differ."""
    return {"seeds", *(f"{config.algorithm}.{name}" for name in config.varying)}
