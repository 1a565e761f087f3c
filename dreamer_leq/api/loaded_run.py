"""A run's world model and policy, to be asked from Python."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from dreamer_leq.api import checks
from dreamer_leq.api.environment import Environment
from dreamer_leq.api.export import (
    decoder_program,
    policy_program,
    step_program,
    write_program,
)
from dreamer_leq.api.latents import Imagined, Latents
from dreamer_leq.config import Config
from dreamer_leq.data.entries import episode_firsts
from dreamer_leq.data.frames import stacked
from dreamer_leq.data.latents import encode_dataset
from dreamer_leq.data.opening import AnyDataset, open_data_at
from dreamer_leq.evaluation.agent import Agent, Carry
from dreamer_leq.evaluation.rollouts import score
from dreamer_leq.evaluation.scores import Scores
from dreamer_leq.run import hub
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.errors import UserError
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.imagine import Trajectory, imagine
from dreamer_leq.world_models.interface import WorldModel
from dreamer_leq.world_models.latent import LatentWorldModel

STATES_AT_ONCE = 256  # in one program: bounds the memory that decoding takes


def load_run(
    logdir: str | Path,
    *,
    step: int | str | Path | None = None,
    revision: str | None = None,
    env: str = "",
) -> "LoadedRun":
    """The `LoadedRun` of a folder, as its last checkpoints have it; it may be in
    training. A grid's folder has a world model, but a policy have only the runs in it.

    Args:
      logdir: the folder; or "hf://USER/NAME", a run that was shared on the Hugging Face
        hub, which is fetched into the cache of the hub's client.
      step: the policy after so many updates of the algorithm, of which there is a
        checkpoint, or that checkpoint's path; by default the last one.
      revision: a branch, tag or commit of the hub's; by default the newest state.
      env: an environment of your own to score it in, "module:function" or a registered
        name (docs/own-environment.md); by default that of its training. A run that was
        shared names none by itself.

    Raises:
      UserError: it is no run's folder, or it has no world model yet; or the hub has no
        such run, or can't be reached.
    """
    if revision is not None:
        if not str(logdir).startswith(hub.SCHEME):
            raise UserError(f"revision {revision!r}: {logdir} is not on the hub")
        logdir = f"{logdir}@{revision}"
    return LoadedRun(logdir, step, env)


class LoadedRun:
    """A world model, and the policy that was trained in it; nothing here changes them.

    Attributes:
      path: its folder.
      config: every key of configs.yaml, as the run has it: `run.config.leq.tau`.
      observations: what the world model sees: `("image",)`, `("vector",)` or both.
      action_size: A, numbers of an action.
      members: M, the size of the ensemble; of MLPs, that of its elites; 0 without a
        world model that imagines single steps.
    """

    def __init__(
        self,
        logdir: str | Path,
        step: int | str | Path | None = None,
        env: str = "",
    ) -> None:
        self._folder = RunFolder(logdir, step, env)
        self._facts = self._folder.facts
        self._world_model = self._folder.load_world_model()
        self.path = self._folder.path
        self.config: Config = self._folder.config
        self.observations = self._world_model.observations
        self.action_size = self._facts.action_size
        single = self.config.imagines_steps
        self.members = self._world_model.members if single else 0

    def __repr__(self) -> str:
        return f"LoadedRun({str(self.path)!r}, task={self.config.task!r})"

    # --- data and environment

    def open_dataset(
        self, path: str | Path | None = None, log: Callable[[str], None] = print
    ) -> AnyDataset:
        """The dataset that the run was trained on.

        Args:
          path: where it has moved to. Without it a relative path is one as seen from
            the folder in which training was started.
          log: receives lines for the user.

        Raises:
          DataError: it isn't there, or can't be used.
        """
        return open_data_at(path or self._facts.path, self.config, log)

    def make_env(self, seed: int, *, image: bool = False) -> Environment:
        """The `Environment` of the run, rendered as its dataset was."""
        return Environment(self._facts.environment, seed, image)

    # --- the world model

    def encode(self, episode: Mapping[str, Any], *, seed: int = 0) -> Latents:
        """The `Latents` of T entries, of shape (T,), each inferred from all that came
        before it; of an ensemble of MLPs a state is the vector itself, of stacked
        frames the last images.

        Args:
          episode: `image` uint8 [T, S, S, 3] or `vector` [T, D], and `action` [T, A].
            With `is_first` bool [T] several episodes may follow one another; other
            keys are ignored.
          seed: of the sample that is drawn from each posterior.

        Raises:
          UserError: an array is missing, or of another type or shape; or what encodes
            stacked frames is a policy's, and the run has none yet.

        Example:
          latents = run.encode(episode)
          latents.shape, latents.features.shape  # (T,), (T, F)
        """
        entries = self._entries("episode", episode, action=True)
        if isinstance(self._world_model, LatentWorldModel):
            key = jax.random.key(seed)
            return self._latents(
                encode_dataset(self._world_model, entries, key, episodes=1)
            )
        if isinstance(self._world_model, Frames):
            every = np.arange(len(entries["image"]))
            first = episode_firsts(entries["is_first"] | (every == 0))
            stack = self._world_model.net.config.stack
            return self._latents(
                {"image": stacked(entries["image"], every, first, stack)}
            )
        return self._latents({"vector": entries["vector"]})

    def imagine(
        self,
        start: Latents,
        actions: Any = None,
        *,
        horizon: int | None = None,
        member: int | Literal["all"] | None = None,
        seed: int = 0,
    ) -> Imagined:
        """The `Imagined` H steps from states, under given actions or the policy's.

        Args:
          start: `Latents` of any shape [...].
          actions: [..., H, A] in [-1, 1], or [H, A] for all states; None: the policy.
          horizon: H with the policy; by default that of the run's algorithm.
          member: from 0, the one that imagines; "all": each of them, as a first axis M,
            with the same random numbers; None: one drawn per state and step, as in
            training.
          seed: of the samples drawn from each prediction.

        Raises:
          UserError: a shape, an action, a member or the horizon doesn't fit, or the
            run has no policy yet, or no world model.

        Example:
          actions = episode["action"][1:5]
          run.imagine(latents[0], actions).reward  # [4]
          run.imagine(latents[0], actions, member="all").reward  # [M, 4]
          dream = run.imagine(latents, horizon=5)  # the policy, from every entry
          dream.action  # [T, 5, A]
          run.imagine(dream.latents[:, -1], horizon=5).cont  # goes on there: [T, 5]
          each = run.imagine(latents, horizon=5, member="all")
          disagreement = each.latents.features.std(0).mean(-1)  # [T, 5]
        """
        if not self.members:
            raise UserError(
                f"{self.path} has no world model of single steps to imagine with"
            )
        states = self._states(start)
        agent = self._agent if actions is None else None
        if agent is None:
            actions, horizon = self._actions(actions, start.shape, horizon)
        elif horizon is None:
            horizon = getattr(self.config.own, "horizon", 15)
        horizon = checks.at_least(1, "horizon", horizon)
        steps, packed = _imagine(
            self._world_model,
            agent,
            states,
            actions,
            self._chosen(member),
            jax.random.key(seed),
            horizon,
        )
        lead = (self.members, *start.shape) if member == "all" else start.shape
        shaped = partial(_shaped, lead=lead, horizon=horizon)
        reward = self._facts.reward_transform.inverse(shaped(steps.reward))
        latents = Latents(jax.tree.map(shaped, packed), shaped(steps.features))
        return Imagined(latents, shaped(steps.action), reward, shaped(steps.cont))

    def decode(self, latents: Latents) -> dict[str, np.ndarray]:
        """Observations in states of shape [...] as the model has them, a dict: `image`
        uint8 [..., S, S, 3] or `vector` float32 [..., D].

        Raises:
          UserError: the states are not of this world model.
        """
        states = self._states(latents)
        seen = _in_parts(_decode, self._world_model, states)
        return {n: x.reshape(*latents.shape, *x.shape[1:]) for n, x in seen.items()}

    def disagreement(self, latents: Latents, action: Any) -> np.ndarray:
        """How far apart the members' predictions are of what follows actions [..., A]
        in states of shape [...]: float32 [...], in nats of an RSSM, in standard
        deviations of the dataset of MLPs.

        Raises:
          UserError: a shape or an action doesn't fit, or the run has no world model.
        """
        if not self.members:
            raise UserError(
                f"{self.path} has no world model of single steps to imagine with"
            )
        rows = self._with_action(latents, action)
        found = _in_parts(_disagreement, self._world_model, rows)
        return found.reshape(latents.shape)

    # --- the policy

    def value(self, latents: Latents, action: Any = None) -> np.ndarray:
        """The critic's Q of actions [..., A] in states of shape [...]: float32 [...],
        discounted, of rewards as the algorithm sees them.

        Args:
          latents: the states.
          action: None: the policy's own.

        Raises:
          UserError: a shape or an action doesn't fit, or the run has no policy yet.
        """
        rows = self._states(latents)
        if action is not None:
            rows = self._with_action(latents, action)
        return _in_parts(_value, self._agent, rows).reshape(latents.shape)

    def initial(self, n: int = 1, *, seed: int = 0) -> Carry:
        """The policy's memory before the first entry of n episodes, for `act`.

        Raises:
          UserError: the run has no policy yet.
        """
        return self._agent.initial(checks.at_least(1, "n", n), seed)

    def act(
        self, carry: Carry, observation: Mapping[str, Any]
    ) -> tuple[np.ndarray, Carry]:
        """Actions float32 [n, A] in [-1, 1] for n environments, or [A] for one, and the
        next memory.

        Args:
          carry: the memory, of `initial` or of the call before; it may be used again.
          observation: `image` uint8 [n, S, S, 3] or `vector` [n, D], and `is_first`
            [n]; or what one environment shows, all without the axis n.

        Raises:
          UserError: an array is missing, or of another type or shape.
        """
        single = isinstance(observation, Mapping) and not np.ndim(
            observation.get("is_first")
        )
        if single:
            observation = {name: np.asarray(x)[None] for name, x in observation.items()}
        entry = self._entries("observation", observation)
        found, expected = len(entry["is_first"]), len(carry.action)
        if found != expected:
            raise UserError(
                f"observation: of {found} environments, but the memory is of "
                f"{expected}: call initial({found})"
            )
        action, carry = self._agent.act(carry, entry)
        return (action[0] if single else action), carry

    def evaluate(
        self,
        episodes: int | None = None,
        *,
        seed: int | None = None,
        workers: int | None = None,
    ) -> Scores:
        """Scores of the policy in its environment as eval.py computes them, a dict:
        what scores.json holds.

        Args:
          episodes: one in each of as many environments; by default `eval.episodes`.
          seed: of the first environment, the others count up; by default `eval.seed`.
          workers: processes, 0: as many as there are cores; by default `eval.workers`.

        Raises:
          UserError: an argument doesn't fit, or the run has no policy yet.
          WorkerError: an environment's process failed.

        Example:
          scores = run.evaluate(episodes=2, workers=1)
          scores["mean"], scores["ci_low"], scores["ci_high"]  # 95 % interval
          scores["normalized"]  # percent of the task's reference
          scores["returns"], scores["lengths"]  # of each episode
        """
        c = self.config.eval
        return score(
            self._agent,
            self._facts.environment,
            self.config.about.reference,
            episodes=_given(1, "episodes", episodes, c.episodes),
            seed=_given(0, "seed", seed, c.seed),
            workers=_given(0, "workers", workers, c.workers),
        )[0]

    # --- without this library

    def export(
        self,
        path: str | Path,
        part: Literal["policy", "step", "decoder"] = "policy",
    ) -> Path:
        """Writes a part of the run, weights and all, as one file that JAX alone loads
        and runs (docs/share-and-export.md), on CPUs, CUDA's GPUs and TPUs; returns its
        path. All parts take and give dicts of arrays with a leading axis n, of any
        length.

        `policy(observation, memory)` gives the action [n, A] and the next memory, as
        `act` does; before the first entry all of the memory is zero, as after
        `initial(n, seed=0)`. `step(state, action, member, key)` gives the next state,
        reward [n] and cont [n], as `imagine` does; a state is that of `Latents`, key
        uint32 [2]. `decoder(state)` gives what `decode` does.

        Args:
          path: the file.
          part: which part.

        Raises:
          UserError: the run lacks this part, the package flatbuffers is missing, or
            the file can't be written.

        Example:
          run.export("policy.stablehlo")
          run.export("step.stablehlo", part="step")
        """
        world, actions = self._world_model, self.action_size
        transform = self._facts.reward_transform
        parts: dict[str, Callable[[], bytearray]] = {
            "policy": lambda: policy_program(self._agent, self._observed),
            "step": lambda: step_program(world, actions, transform),
            "decoder": lambda: decoder_program(world),
        }
        if part not in parts:
            raise UserError(f"part {part!r}: give one of {', '.join(parts)}")
        if part != "policy" and not self.members:
            raise UserError(f"{self.path} has no world model of single steps to export")
        return write_program(path, parts[part])

    # --- what is behind it

    @property
    def _observed(self) -> dict[str, jax.ShapeDtypeStruct]:
        """What the policy is shown, of one environment."""
        dtypes = {"image": np.uint8, "vector": np.float32, "is_first": np.bool_}
        wanted = self._shapes | {"is_first": ()}
        return {n: jax.ShapeDtypeStruct(x, dtypes[n]) for n, x in wanted.items()}

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of what the world model sees, by name."""
        spec = self._facts.observation
        sizes = {"image": (spec.image_size, spec.image_size, 3)}
        sizes["vector"] = (spec.vector_size,)
        return {name: sizes[name] for name in self.observations}

    @cached_property
    def _agent(self) -> Agent:
        return self._folder.load_agent(self._world_model)

    def _entries(
        self, name: str, given: Mapping[str, Any], action: bool = False
    ) -> dict[str, np.ndarray]:
        """The arrays [n, ...] that the world model reads, checked."""
        if action and isinstance(given, Mapping) and "action" in given:
            first = np.arange(len(given["action"])) == 0
            given = {"is_first": first, **given}
        wanted = {"is_first": ()} | ({"action": (self.action_size,)} if action else {})
        found = checks.observations(name, given, self._shapes | wanted)
        if action:
            label = f"{name}['action']"
            found["action"] = checks.actions(label, found["action"], self.action_size)
        return found

    def _actions(
        self, actions: Any, shape: tuple[int, ...], horizon: int | None
    ) -> tuple[np.ndarray, int]:
        """Actions [H, B, A] for states of `shape`, B of them, and H."""
        if horizon is not None:
            raise UserError("horizon: the actions say how many steps; leave it out")
        found = checks.actions("actions", actions, self.action_size)
        if found.ndim == 2:
            found = np.broadcast_to(found, (*shape, *found.shape))
        if found.shape[:-2] != shape:
            axes = ", ".join(map(str, (*shape, "H", self.action_size)))
            raise UserError(
                f"actions: shape {found.shape}, expected ({axes}) or "
                f"(H, {self.action_size})"
            )
        steps = checks.at_least(1, "horizon", found.shape[-2])
        return found.reshape(-1, steps, self.action_size).swapaxes(0, 1), steps

    def _chosen(self, member: int | str | None) -> np.ndarray | None:
        """The members that imagine, one after the other; None: drawn ones."""
        if member is None:
            return None
        if isinstance(member, str) and member == "all":
            return np.arange(self.members)
        if checks.at_least(0, "member", member) >= self.members:
            raise UserError(
                f"member {member}: the world model has members 0 to {self.members - 1}"
            )
        return np.array([member])

    def _states(self, latents: Latents) -> dict[str, np.ndarray]:
        """The states as flat arrays [B, ...]."""
        if not isinstance(latents, Latents):
            kind = type(latents).__name__
            raise UserError(f"expected Latents, as encode() gives them, got {kind}")
        if latents.features.shape[-1] != self._world_model.feature_size:
            raise UserError(
                f"latents: {latents.features.shape[-1]} features, but this run's world "
                f"model has {self._world_model.feature_size}: are they of another run?"
            )
        if not latents.features.size:
            raise UserError(f"latents: none, their shape is {latents.shape}")
        lead = len(latents.shape)
        return {n: x.reshape(-1, *x.shape[lead:]) for n, x in latents.state.items()}

    def _with_action(self, latents: Latents, action: Any) -> dict[str, np.ndarray]:
        """`_states` and the actions in them, [B, A]."""
        states = self._states(latents)
        found = checks.actions("action", action, self.action_size)
        expected = (*latents.shape, self.action_size)
        if found.shape != expected:
            raise UserError(f"action: shape {found.shape}, expected {expected}")
        return states | {"action": found.reshape(-1, self.action_size)}

    def _latents(self, states: dict[str, np.ndarray]) -> Latents:
        world = self._world_model
        if isinstance(world, Frames):
            world = self._agent.world_model
        return Latents(states, _in_parts(_features, world, states))


@partial(jax.jit, static_argnames="horizon")
def _imagine(
    world_model: WorldModel,
    agent: Agent | None,
    states: dict[str, Array],
    action: Array | None,
    members: Array | None,
    key: Array,
    horizon: int,
) -> tuple[Trajectory, dict[str, Array]]:
    """The steps, each with what it led to, and the packed states, of each of `members`,
    one after the other along axis 1: [H, M * B, ...]; of drawn members [H, B, ...].
    """
    start = world_model.starts(states)

    def path(member: Array | None) -> tuple[Trajectory, dict[str, Array]]:
        how = agent.policy if action is None else action
        found = imagine(world_model, how, start, key, horizon, member=member)
        after = jax.tree.map(lambda x: x[1:], (found.state, found.features))
        found = found.replace(state=after[0], features=after[1])
        return found, world_model.pack(found.state)

    if members is None:
        return path(None)
    out = jax.vmap(path, out_axes=1)(members)
    return jax.tree.map(lambda x: x.reshape(horizon, -1, *x.shape[3:]), out)


@jax.jit
def _decode(world_model: WorldModel, states: dict[str, Array]) -> dict[str, Array]:
    return world_model.decode(world_model.starts(states))


@jax.jit
def _features(world_model: WorldModel, states: dict[str, Array]) -> Array:
    return world_model.features(world_model.starts(states))


@jax.jit
def _disagreement(world_model: WorldModel, rows: dict[str, Array]) -> Array:
    return world_model.disagreement(world_model.starts(rows), rows["action"])


@jax.jit
def _value(agent: Agent, rows: dict[str, Array]) -> Array:
    features = agent.world_model.features(agent.world_model.starts(rows))
    action = rows.get("action")
    if action is None:
        action = agent.policy(features, jax.random.key(0))
    return agent.value(features, action)


def _in_parts(
    function: Callable[[Any, dict[str, Array]], Any],
    model: WorldModel | Agent,
    states: dict[str, np.ndarray],
) -> Any:
    """`function` of states [B, ...] as NumPy arrays, some at a time.

    Their number is rounded up to a power of two, so that few programs are compiled.
    """
    count = len(next(iter(states.values())))
    size = min(STATES_AT_ONCE, 1 << (count - 1).bit_length())
    parts = []
    for first in range(0, count, size):
        rows = np.arange(first, first + size).clip(max=count - 1)
        part = function(model, {name: x[rows] for name, x in states.items()})
        parts.append(jax.tree.map(np.asarray, part))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def _given(least: int, name: str, value: int | None, default: int) -> int:
    return checks.at_least(least, name, default if value is None else value)


def _shaped(x: Array, lead: tuple[int, ...], horizon: int) -> np.ndarray:
    """[H, B, ...] -> [*lead, H, ...]"""
    x = np.asarray(x).swapaxes(0, 1)
    return np.ascontiguousarray(x).reshape(*lead, horizon, *x.shape[2:])
