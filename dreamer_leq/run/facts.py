"""What a run keeps of its dataset, so that it can be scored without it."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from dreamer_leq.config.checks import given
from dreamer_leq.config.tasks import Task
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.world_models.latent import ObservationSpec
from vd4rl_loader.states import RewardTransform

_KINDS = {
    **{"path": str, "environment": dict, "reward": dict, "statistics": dict},
    "return_histogram": dict,
    **dict.fromkeys(("image_size", "vector_size", "action_size"), int),
}
_LARGEST_SIZE = 1 << 20  # numbers of an observation or action

_STORAGE = (
    *("path", "environment", "statistics", "source_bytes", "return_histogram"),
    *("make", "time_limit"),
)
HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class DataFacts:
    """What a run keeps of its dataset, so that it can be scored without it."""

    path: str
    environment: dict[str, Any]  # as envs.suites reads it
    image_size: int  # 0: none
    vector_size: int  # 0: none
    action_size: int
    reward: dict[str, float]  # how algorithms see rewards: scale and bias
    statistics: dict[str, Any]
    # of the episodes' returns: edges [K+1], counts [K]; earlier runs have none
    return_histogram: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, dataset: AnyDataset, path: str, task: Task, reward: RewardTransform
    ) -> "DataFacts":
        spec, environment = dataset.spec, dict(task.environment)
        if task.suite == "own":
            environment["source_image_size"] = task.pixels and spec.source_image_size
        elif task.suite == "ogbench" and task.pixels:
            environment["image_size"] = spec.image_size
        elif task.pixels:
            environment["task"] = spec.task or environment["task"]
            environment["render"] = spec.render.to_json()
            environment["action_repeat"] = spec.action_repeat
            environment["image_size"] = spec.image_size
        facts = cls(
            path,
            environment,
            spec.image_size if task.pixels else 0,
            spec.vector_size,
            spec.action_size,
            asdict(reward),
            dataset.statistics(),
            _histogram(dataset.returns()),
        )
        if task.suite != "own":
            return facts
        return facts.scored_in(environment["make"], environment["time_limit"])

    def rewards(self, dataset: AnyDataset) -> np.ndarray:
        """Rewards as algorithms see them: float32 [N], 0 where an episode begins."""
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

    def scored_in(self, env: str, time_limit: int = 0) -> "DataFacts":
        """The same with an environment of the user's, in its data's sizes."""
        style = self.environment.get("render", {})
        source = self.environment.get("source_image_size", style.get("size"))
        sizes = {"vector_size": self.vector_size, "action_size": self.action_size}
        sizes |= {"image_size": self.image_size}
        sizes |= {"source_image_size": source or self.image_size}
        about = {"suite": "own", "make": env, "time_limit": time_limit}
        return replace(self, environment=about | sizes)

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


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _histogram(returns: np.ndarray) -> dict[str, list[float]]:
    counts, edges = np.histogram(returns, HISTOGRAM_BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
