"""Many environments at once, in worker processes, stepped in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vd4rl_loader.simulators.workers import Worker, WorkerError, close_all, exchange

__all__ = ["VectorEnv", "WorkerError"]

_PATIENCE = 5.0  # seconds for the environments' own close()
# What simulators raise where their numbers run away; they are not imported here.
_RAN_AWAY = ("PhysicsError", "FatalError")
# Seconds after which one environment hangs. A step takes milliseconds, the first reset
# imports the simulator: both with much to spare, for machines that are busy.
_RESET_LIMIT, _STEP_LIMIT = 600.0, 60.0
# A process has several requests at once: waiting for the next one at each step would
# take twice as long. Bytes of them that a pipe takes, and of one beside its action.
_PIPE, _REQUEST = 2**15, 500


class VectorEnv:
    """N environments in processes that import neither JAX nor the main script.

    An environment whose episode is over stays at its last observation, with is_last
    set and reward 0, and is not simulated any further until `reset`. An episode whose
    physics run away is over too, with `failed` set.
    """

    def __init__(self, make: Sequence[Callable[[], Any]], workers: int) -> None:
        """Starts the processes; each makes its environments at the first `reset`.

        Args:
          make: one picklable factory per environment, importable in a fresh process:
            a dataclass with `__call__`, such as `dmc.DMCFactory`. An environment has
            reset(), step(action) and close(), and observations are dicts of arrays.
          workers: number of processes; never more than environments.
        """
        if not make or workers < 1:
            raise ValueError(f"{len(make)} environments on {workers} workers")
        self._count = len(make)
        self._workers = [
            Worker(_Host(dict(list(enumerate(make))[first::workers])))
            for first in range(min(workers, len(make)))
        ]

    def __len__(self) -> int:
        """The number of environments N."""
        return self._count

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def reset(self) -> dict[str, np.ndarray]:
        """Starts the next episode everywhere.

        Returns:
          The observations, stacked: [N, ...] for every key of the first environment's.
          A key that only some environments have is stacked over those, in their order:
          where only the first M are filmed, "image" is [M, ...].

        Raises:
          WorkerError: an environment raised, or its process died or hangs (then it is
            a WorkerLost), and which. All processes are ended before it is raised.
          DataError: an environment cannot be made, and the user can put it right.
        """
        return self._ask([None] * self._count, _RESET_LIMIT)

    def step(self, actions: np.ndarray) -> dict[str, np.ndarray]:
        """Takes one action in every environment whose episode goes on.

        Args:
          actions: float32 [N, A] in [-1, 1].

        Returns:
          As `reset`.

        Raises:
          WorkerError, DataError: as `reset`.
        """
        if len(actions) != self._count:
            raise ValueError(f"{len(actions)} actions for {self._count} environments")
        return self._ask(list(np.asarray(actions)), _STEP_LIMIT)

    def close(self) -> None:
        """Closes the environments and ends the processes."""
        close_all(self._workers, _PATIENCE)
        self._workers = []

    def _ask(
        self, actions: list[np.ndarray | None], limit: float
    ) -> dict[str, np.ndarray]:
        if not self._workers:
            raise RuntimeError("this VectorEnv is closed")
        requests = list(enumerate(actions))
        queues = [
            (worker, iter(requests[first :: len(self._workers)]))
            for first, worker in enumerate(self._workers)
        ]
        observations: list[Any] = [None] * self._count
        ahead = max(1, _PIPE // (_REQUEST + getattr(actions[0], "nbytes", 0)))
        try:
            for (index, _), answer in exchange(queues, _subject, limit, ahead):
                observations[index] = answer
        except BaseException:
            # not waited for: one may hang
            close_all(self._workers, patience=0.0)
            self._workers = []
            raise
        return {
            key: np.stack([every[key] for every in observations if key in every])
            for key in observations[0]
        }


def _subject(request: tuple[int, np.ndarray | None]) -> str:
    return f"environment {request[0]}"


class _Host:
    """Lives in a worker process and owns its environments."""

    def __init__(self, make: dict[int, Callable[[], Any]]) -> None:
        self._make = make
        self._envs: dict[int, Any] = {}
        self._last: dict[int, dict[str, Any]] = {}

    def __call__(self, request: tuple[int, np.ndarray | None]) -> dict[str, Any]:
        """Steps environment number `index`, or resets it if the action is None."""
        index, action = request
        self._last[index] = {"failed": np.False_} | self._observe(index, action)
        return self._last[index]

    def _observe(self, index: int, action: np.ndarray | None) -> dict[str, Any]:
        if action is None:
            if index not in self._envs:
                self._envs[index] = self._make[index]()
            return self._envs[index].reset()
        if index not in self._last:
            raise RuntimeError("step before reset")
        last = self._last[index]
        if last["is_last"]:
            return {**last, "reward": np.float32(0), "is_first": np.False_}
        try:
            return self._envs[index].step(action)
        except Exception as error:
            if type(error).__name__ not in _RAN_AWAY:
                raise
            ended = {"is_first": np.False_, "is_last": np.True_, "failed": np.True_}
            return {**last, "reward": np.float32(0), **ended}

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs.values():
            env.close()
