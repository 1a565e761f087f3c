"""Episodes of a policy in the real environment."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Observation = dict[str, np.ndarray]


class Agent(Protocol):
    """A policy with a memory, for n environments at once."""

    def initial(self, n: int, seed: int) -> Any:
        """The memory before the first observation of n episodes."""

    def act(self, carry: Any, obs: Observation) -> tuple[np.ndarray, Any]:
        """Actions float32 [n, A] for the observations, and the next memory."""


class Environments(Protocol):
    """N environments that move together (`dreamer_leq.envs.vector.VectorEnv`)."""

    def reset(self) -> Observation: ...

    def step(self, actions: np.ndarray) -> Observation: ...


@dataclasses.dataclass(frozen=True)
class EpisodeResults:
    """One episode of each of N environments.

    Attributes:
        returns: float64 [N], the undiscounted sums of rewards.
        lengths: int64 [N], actions taken.
        frames: of each recorded episode uint8 [length + 1, H, W, 3].
        rewards: of each recorded episode float64 [length + 1], 0 at the start.
        seconds: wall-clock time.
    """

    returns: np.ndarray
    lengths: np.ndarray
    frames: list[np.ndarray]
    rewards: list[np.ndarray]
    seconds: float

    @property
    def mean_reward(self) -> float:
        """Reward per action, over all episodes."""
        return float(self.returns.sum() / self.lengths.sum())


def evaluate(
    agent: Agent,
    env: Environments,
    seed: int,
    record: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> EpisodeResults:
    """Runs one episode in each environment, with one batched policy call a step.

    An environment that has finished is still given actions, since all of them move
    together; what it answers then is neither counted nor recorded.

    Args:
        agent: the policy.
        env: N environments, seeded when they were made.
        seed: seeds the agent's memory and sampling.
        record: keep the images of the first `record` environments.
        on_step: called after each step with the number of unfinished episodes.

    Raises:
        ValueError: images are asked for, and the observations have none.
    """
    start = time.perf_counter()
    obs = env.reset()
    n = len(obs["reward"])
    if record and "image" not in obs:
        raise ValueError("there are no images in the observations to record")
    recorder = _Recorder(min(record, n))
    returns, lengths = np.zeros(n), np.zeros(n, np.int64)
    running = np.ones(n, bool)
    recorder.add(obs, running)
    carry = agent.initial(n, seed)
    while running.any():
        actions, carry = agent.act(carry, obs)
        obs = env.step(np.asarray(actions))
        returns[running] += obs["reward"][running]
        lengths[running] += 1
        recorder.add(obs, running)
        running &= ~np.asarray(obs["is_last"])
        if on_step:
            on_step(int(running.sum()))
    frames, rewards = recorder.episodes()
    return EpisodeResults(
        returns, lengths, frames, rewards, time.perf_counter() - start
    )


class _Recorder:
    """Keeps images and rewards of the first `count` environments."""

    def __init__(self, count: int) -> None:
        self._frames: list[list[np.ndarray]] = [[] for _ in range(count)]
        self._rewards: list[list[float]] = [[] for _ in range(count)]

    def add(self, obs: Observation, running: np.ndarray) -> None:
        for i, (frames, rewards) in enumerate(
            zip(self._frames, self._rewards, strict=True)
        ):
            if running[i]:
                # a copy: environments may hand out the same buffer every step
                frames.append(np.array(obs["image"][i]))
                rewards.append(float(obs["reward"][i]))

    def episodes(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        frames = [np.stack(frames) for frames in self._frames]
        return frames, [np.array(rewards) for rewards in self._rewards]
