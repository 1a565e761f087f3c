"""Policies from which datasets are collected, and how their files look.

A folder of policies belongs to one task and holds one `<agent steps>.npz` per
checkpoint (w0, b0, w1, b1, w2, b2; any float dtype) and a `returns.json` that names the
checkpoints "medium" and "expert". The package brings some: `policies/README.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.files.untrusted import NpzFile, refuse_size

_BUNDLED = Path(__file__).parents[1] / "policies"
_LOG_STD_RANGE = (-10.0, 2.0)


@dataclass(frozen=True)
class Policy:
    """A tanh-Gaussian actor on a state observation, in NumPy.

    Attributes:
      layers: (weight [I, O], bias [O]) pairs, float32, with ReLU in between. The last
        layer gives the mean [A] and the logarithm of the standard deviation [A].
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def sizes(self) -> tuple[int, int]:
        """Observation size D and action size A."""
        return len(self.layers[0][0]), len(self.layers[-1][1]) // 2

    def act(
        self,
        observation: np.ndarray,
        rng: np.random.Generator,
        mode: str = "sampled",
        noise: float = 0.0,
    ) -> np.ndarray:
        """An action, float32 [A] in [-1, 1].

        Args:
          observation: float32 [D].
          rng: source of the randomness; untouched by mode "mean" without noise.
          mode: "mean" or "sampled".
          noise: standard deviation of Gaussian noise added to the action, which is
            clipped to [-1, 1] afterwards.
        """
        if mode == "sampled":
            action, _ = self.sample(observation, rng)
        else:
            action = np.tanh(self._gaussian(observation)[0])
        if noise:
            jitter = noise * rng.standard_normal(action.shape, np.float32)
            action = np.clip(action + jitter, -1.0, 1.0)
        return action.astype(np.float32)

    def sample(
        self, observation: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """A sampled action, float32 [A] in [-1, 1], and its log-density."""
        mean, log_std = self._gaussian(observation)
        noise = rng.standard_normal(mean.shape, np.float32)
        u = mean + np.exp(log_std) * noise
        log_normal = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
        # log(1 - tanh(u)^2), which does not vanish where tanh rounds to 1
        log_slope = 2 * (np.log(2.0) - u - np.logaddexp(0.0, -2 * u))
        return np.tanh(u), float((log_normal - log_slope).sum())

    def _gaussian(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log standard deviation [A], before the tanh."""
        hidden = observation
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        weight, bias = self.layers[-1]
        mean, log_std = np.split(hidden @ weight + bias, 2)
        return mean, np.clip(log_std, *_LOG_STD_RANGE)


@dataclass(frozen=True)
class PolicyFolder:
    """The checkpoints of one task.

    Attributes:
      path: the folder.
      checkpoints: agent steps of every checkpoint, ascending.
      medium: the checkpoint at about half of the expert's return.
      expert: the best checkpoint.
    """

    path: Path
    checkpoints: tuple[int, ...]
    medium: int
    expert: int

    def load(self, checkpoint: int) -> Policy:
        """Reads the weights of one checkpoint."""
        path = _checkpoint_files(self.path)[checkpoint]
        try:
            arrays = _weights(path)
            count = len(arrays) // 2
            return Policy(
                tuple((arrays[f"w{i}"], arrays[f"b{i}"]) for i in range(count))
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: not a policy checkpoint (arrays w0, b0, w1, b1, ...): {error}"
            ) from error


def _weights(path: Path) -> dict[str, np.ndarray]:
    with NpzFile.opened(path) as file:
        stored = file.declared(file.names())
        refuse_size(stored.values())
        arrays = file.read(stored)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def bundled_tasks() -> list[str]:
    """The tasks for which the package brings policies."""
    return sorted(_bundled_folders())


def open_policies(task: str, folder: str | Path | None = None) -> PolicyFolder:
    """The policies of a task: the package's own, or those in `folder`.

    Raises:
      DataError: the package brings none for the task, or the folder is not one.
    """
    if folder is None and task not in bundled_tasks():
        raise DataError(
            f"no policies for {task} come with this package, only for "
            f"{', '.join(bundled_tasks())}: use level random, or give a folder of "
            "your own with --policy"
        )
    path = _bundled_folders()[task] if folder is None else Path(folder)
    levels = _read_levels(path / "returns.json")
    checkpoints = tuple(sorted(_checkpoint_files(path)))
    for level, steps in levels.items():
        if steps not in checkpoints:
            raise DataError(
                f"{path / 'returns.json'}: {level} is {steps}, but the folder's "
                f"checkpoints are {', '.join(map(str, checkpoints)) or 'none'}"
            )
    return PolicyFolder(path, checkpoints, **levels)


def _bundled_folders() -> dict[str, Path]:
    records = _BUNDLED.glob("*/returns.json")
    return {json.loads(path.read_text())["task"]: path.parent for path in records}


def _checkpoint_files(path: Path) -> dict[int, Path]:
    return {int(file.stem): file for file in path.glob("*.npz") if file.stem.isdigit()}


def _read_levels(path: Path) -> dict[str, int]:
    try:
        fields = json.loads(path.read_text())
        return {"medium": int(fields["medium"]), "expert": int(fields["expert"])}
    except FileNotFoundError:
        raise DataError(
            f"{path}: missing; it names the checkpoints medium and expert"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected the agent steps of medium and expert: {error!r}"
        ) from error
