"""A run's dreams from moments of episodes, under actions that may be edited.

Shapes: M members, H imagined steps, A action size, T entries of an episode. Nothing
here knows of a page.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from dreamer_leq.api.checks import at_least
from dreamer_leq.api.environment import Environment
from dreamer_leq.api.latents import Latents
from dreamer_leq.api.loaded_run import LoadedRun
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.system.errors import UserError
from vd4rl_loader.errors import DataError

KINDS = ("policy", "data", "random", "zero")
LONGEST = 100  # steps of a dream
LONGEST_EPISODE = 5000  # entries of a played one
EPISODES_KEPT = 8  # encoded
SOURCES = ("dataset", "played")


def refuse_unfit(run: LoadedRun) -> None:
    """Raise UserError where a run can't dream, or has no policy."""
    if not run.members:
        raise UserError(f"{run.path} has no world model of single steps to dream with")
    run.initial()  # in the run's own words


@dataclass(frozen=True)
class Moment:
    """Entry `entry` of episode `number`: of the dataset, or of the one that the policy
    played in the environment of that seed.
    """

    source: str
    number: int
    entry: int


@dataclass(frozen=True)
class Episode:
    """Entries and their states of the world model; of a played one also those of the
    environment.
    """

    entries: Mapping[str, np.ndarray]  # [T, ...]
    latents: Latents  # (T,)
    states: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.entries["action"])


@dataclass(frozen=True)
class Dream:
    """What all members make of the same actions from one moment on.

    Attributes:
      action: float32 [H, A].
      seen: what is decoded, [M, H, ...].
      reward: [M, H], in the units of the dataset.
      value: [M, H] of the states that the actions led to, for the policy's own action.
      disagreement: [M, H] about what each action leads to.
      cont: [M, H], the probability that the task goes on.
    """

    action: np.ndarray
    seen: np.ndarray
    reward: np.ndarray
    value: np.ndarray
    disagreement: np.ndarray
    cont: np.ndarray


@dataclass(frozen=True)
class Real:
    """What the environment showed after a moment: [h, ...], h being H or fewer."""

    seen: np.ndarray
    reward: np.ndarray


@dataclass(frozen=True)
class Drive:
    """Where a drive by hand is: in a member's dream, and in the environment's state,
    where it can be put there and its episode goes on.
    """

    moment: Moment
    member: int
    latents: Latents
    physics: np.ndarray | None
    steps: int = 0


@dataclass(frozen=True)
class Driven:
    """A step of it: what is seen and rewarded in the dream, and what in the
    environment.
    """

    seen: np.ndarray
    reward: float
    value: float
    real_seen: np.ndarray | None
    real_reward: float | None


class DreamSession:
    """Asks a run; remembers the episodes that were looked at or played."""

    def __init__(self, run: LoadedRun, dataset: AnyDataset | None) -> None:
        """For a run that `refuse_unfit` had no objection to; without its dataset there
        are only the episodes that are played here.
        """
        self.run, self.dataset = run, dataset
        self.observed = run.observations[0]
        self._recorded = lru_cache(EPISODES_KEPT)(self._encoded)
        self._played: dict[int, Episode] = {}
        self._simulators: dict[int, Environment] = {}
        self._drive: Drive | None = None

    # --- moments

    def lengths(self) -> dict[str, dict[int, int]]:
        """Entries of each episode, by source and number."""
        offsets = self.dataset.offsets if self.dataset else [0]
        recorded = np.diff(offsets).tolist()
        played = {seed: len(episode) for seed, episode in self._played.items()}
        return {"dataset": dict(enumerate(recorded)), "played": played}

    def play(self, seed: int) -> Episode:
        """Lets the policy play in the environment of a seed, and remembers it."""
        seed = at_least(0, "seed", seed)
        if seed not in self._played:
            self._played[seed] = self._play(seed)
        return self._played[seed]

    def episode(self, moment: Moment) -> Episode:
        """The episode of a moment. Raises UserError where there is no such moment."""
        known = self.lengths().get(moment.source, {})
        if moment.number not in known:
            raise UserError(f"there is no episode {moment.number} of {moment.source}")
        if not 0 <= moment.entry < known[moment.number]:
            raise UserError(f"episode {moment.number} has no entry {moment.entry}")
        if moment.source == "played":
            return self._played[moment.number]
        return self._recorded(moment.number)

    def value(self, moment: Moment) -> float:
        """What the critic expects of the policy there."""
        return float(self.run.value(self._start(moment)))

    def expected_reward(self, moment: Moment) -> float:
        """That of the policy's next action, meaned over members."""
        start = self._start(moment)
        return float(self.run.imagine(start, horizon=1, member="all").reward.mean())

    def seen(self, moment: Moment) -> np.ndarray:
        """What is observed at a moment."""
        return self.episode(moment).entries[self.observed][moment.entry]

    def reconstructed(self, moment: Moment) -> np.ndarray:
        """What the model makes of it."""
        return self.run.decode(self._start(moment))[self.observed]

    def real(self, moment: Moment, steps: int) -> Real:
        """What followed in the episode."""
        entries = self.episode(moment).entries
        rows = slice(moment.entry + 1, moment.entry + 1 + steps)
        return Real(entries[self.observed][rows], entries["reward"][rows])

    # --- dreams

    def actions(self, moment: Moment, kind: str, steps: int, seed: int) -> np.ndarray:
        """Actions [H, A] of a kind. The policy's are those that it takes as the first
        member dreams; the data's are followed by zeros where the episode ends.
        """
        if at_least(1, "steps", steps) > LONGEST:
            raise UserError(f"steps is {steps}: give at most {LONGEST}")
        found = np.zeros((steps, self.run.action_size), np.float32)
        if kind == "policy":
            start = self._start(moment)
            return self.run.imagine(start, horizon=steps, member=0, seed=seed).action
        if kind == "random":
            return np.random.default_rng(seed).uniform(-1, 1, found.shape).astype("f4")
        if kind == "data":
            later = self.episode(moment).entries["action"][moment.entry + 1 :][:steps]
            found[: len(later)] = later
        elif kind != "zero":
            raise UserError(f"actions {kind!r}: give one of {', '.join(KINDS)}")
        return found

    def dream(self, moment: Moment, actions: Any, seed: int) -> Dream:
        """The dream of all members under actions [H, A] in [-1, 1]."""
        if len(actions) > LONGEST:
            raise UserError(f"{len(actions)} steps: give at most {LONGEST}")
        start = self._start(moment)
        found = self.run.imagine(start, actions, member="all", seed=seed)
        before = _shifted(start, found.latents)
        return Dream(
            found.action[0],
            self.run.decode(found.latents)[self.observed],
            found.reward,
            self.run.value(found.latents),
            self.run.disagreement(before, found.action),
            found.cont,
        )

    # --- the environment

    def can_simulate(self, moment: Moment) -> bool:
        """Whether the environment can be put back there: the policy played it here."""
        return moment.source == "played" and bool(self.episode(moment).states)

    def simulate(self, moment: Moment, actions: np.ndarray) -> Real:
        """What the environment shows under the same actions, until the task ends it."""
        if not self.can_simulate(moment):
            raise UserError("the simulator can't be put back into a dataset's episode")
        state, entries = self.episode(moment).states[moment.entry], []
        for action in actions:
            entry, state = self._simulated(moment.number, state, action)
            entries.append(entry)
            if entry["is_terminal"]:
                break
        seen = np.stack([entry[self.observed] for entry in entries])
        return Real(seen, np.array([entry["reward"] for entry in entries]))

    # --- by hand, one step after the other

    def begin_drive(self, moment: Moment, member: int) -> None:
        """Goes to a moment, from which `drive` goes on in one member's dream."""
        if not 0 <= member < self.run.members:
            raise UserError(f"there is no member {member + 1}")
        physics = None
        if self.can_simulate(moment):
            physics = self.episode(moment).states[moment.entry]
        self._drive = Drive(moment, member, self._start(moment), physics)

    def drive(self, action: Any) -> Driven:
        """The next step of the dream, and of the environment where there is one."""
        at = self._drive
        if at is None:
            raise UserError("nothing is driven: begin at a moment")
        given = np.asarray(action, np.float32)
        found = self.run.imagine(
            at.latents, given[None], member=at.member, seed=at.steps
        )
        entry, physics = None, None
        if at.physics is not None:
            entry, physics = self._simulated(at.moment.number, at.physics, given)
            physics = None if entry["is_terminal"] else physics
        latents = found.latents[0]
        self._drive = Drive(at.moment, at.member, latents, physics, at.steps + 1)
        return Driven(
            self.run.decode(latents)[self.observed],
            float(found.reward[0]),
            float(self.run.value(latents)),
            entry[self.observed] if entry else None,
            float(entry["reward"]) if entry else None,
        )

    def close(self) -> None:
        """Frees the environments."""
        for env in self._simulators.values():
            env.close()
        self._simulators.clear()

    # --- behind it

    def _start(self, moment: Moment) -> Latents:
        return self.episode(moment).latents[moment.entry]

    def _encoded(self, number: int) -> Episode:
        entries = self.dataset.episode(number)
        return Episode(entries, self.run.encode(entries))

    def _play(self, seed: int) -> Episode:
        action = np.zeros(self.run.action_size, np.float32)
        entries, states = [], []
        with self.run.make_env(seed) as env:
            entry, memory = env.reset(), self.run.initial()
            while True:
                entries.append({**entry, "action": action})
                with contextlib.suppress(DataError):  # one without such states
                    states.append(env.get_state())
                if entry["is_last"] or len(entries) >= LONGEST_EPISODE:
                    break
                action, memory = self.run.act(memory, entry)
                entry = env.step(action)
        columns = {name: np.stack([e[name] for e in entries]) for name in entries[0]}
        return Episode(columns, self.run.encode(columns), tuple(states))

    def _simulated(
        self, seed: int, state: np.ndarray, action: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        """The entry to which an action leads from a state, and the state after it."""
        if seed not in self._simulators:
            env = self._simulators[seed] = self.run.make_env(seed)
            env.reset()  # as the episode began, with the same goal
        env = self._simulators[seed]
        env.set_state(state)
        entry, state = env.step(action), env.get_state()
        if entry["is_last"]:  # maybe by its own clock alone: another one goes on
            self._simulators.pop(seed).close()
        return entry, state


def _shifted(start: Latents, led_to: Latents) -> Latents:
    """The states [M, H] in which the actions were taken, from those to which they led
    and the first one.
    """

    def shifted(first: np.ndarray, after: np.ndarray) -> np.ndarray:
        first = np.broadcast_to(first, (len(after), 1, *first.shape))
        return np.concatenate([first, after[:, :-1]], 1)

    state = {name: shifted(x, led_to.state[name]) for name, x in start.state.items()}
    return Latents(state, shifted(start.features, led_to.features))
