"""What info.json says of a run, checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamer_leq.pages.parts import curve, number


@dataclass(frozen=True)
class Histogram:
    """Of the returns of the dataset's episodes: edges [K+1], counts [K]."""

    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Histogram":
        counts = curve(data["counts"])
        return cls(curve(data["edges"], len(counts) + 1), counts)


@dataclass(frozen=True)
class Info:
    """`histogram` is None in runs of earlier versions."""

    path: str
    episodes: int
    steps: int
    return_mean: float
    return_max: float
    histogram: Histogram | None
    packages: dict[str, str]
    python: str
    platform: str
    devices: tuple[str, ...]
    commit: str | None
    dirty: bool

    @classmethod
    def of(cls, data: Any) -> "Info":
        dataset, git = data["dataset"], data["git"] or {}
        statistics, histogram = dataset["statistics"], dataset.get("return_histogram")
        return cls(
            path=str(dataset["path"]),
            episodes=int(statistics["episodes"]),
            steps=int(statistics["steps"]),
            return_mean=number(statistics["return_mean"]),
            return_max=number(statistics["return_max"]),
            histogram=Histogram.of(histogram) if histogram else None,
            packages={k: str(v) for k, v in data["packages"].items() if v},
            python=str(data["python"]),
            platform=str(data["platform"]),
            devices=tuple(map(str, data["devices"])),
            commit=git.get("commit"),
            dirty=bool(git.get("dirty")),
        )
