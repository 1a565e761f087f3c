"""How cost grows: one size changes, everything else stays a case's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dreamer_leq.system.errors import UserError

ENTRIES = "entries"  # of the dataset, which is no key of a configuration
SIZE = "size"  # of the model, which is another case
MODELS = ("world_model", "leq")  # of all sizes


@dataclass(frozen=True)
class Curve:
    """Updates of `case` with each of the values for `key`."""

    axis: str
    case: str
    key: str
    values: tuple[int, ...]
    flags: tuple[str, ...] = ()

    def points(self) -> Iterator[tuple[int, str, tuple[str, ...], int]]:
        """(value, case, flags, entries; 0 for the case's own)"""
        for value in self.values:
            if self.key == ENTRIES:
                yield value, self.case, self.flags, value
            elif self.key == SIZE:
                yield value, f"{self.case}_{value}m", self.flags, 0
            else:
                flags = (*self.flags, f"--{self.key}", str(value))
                yield value, self.case, flags, 0


def curves(small: bool) -> list[Curve]:
    """Those of a CPU, or of an accelerator."""
    size = "1m" if small else "12m"
    model, leq = f"world_model_{size}", f"leq_{size}"
    batches = (1, 2, 4, 8, 16) if small else (4, 8, 16, 32, 64)
    starts = (8, 32, 128, 512) if small else (64, 256, 1024, 4096)
    few = ("--ensemble.elites", "1")  # no more than there are members
    return [
        Curve("batch", model, "latent.batch", batches),
        Curve("batch", leq, "leq.batch", starts),
        Curve("batch", "state_leq", "leq.batch", (32, 128, 512, 2048)),
        Curve("horizon", model, "latent.length", (4, 8, 16, 32, 64)),
        Curve("horizon", leq, "leq.horizon", (1, 2, 5, 10, 15)),
        Curve("horizon", "state_leq", "leq.horizon", (1, 2, 5, 10, 20)),
        Curve("members", model, "latent.members", (1, 2, 4, 7, 14)),
        Curve("members", leq, "latent.members", (1, 2, 4, 7, 14)),
        Curve("members", "state_ensemble", "ensemble.members", (1, 2, 4, 7, 14), few),
        Curve("members", "state_leq", "ensemble.elites", (1, 2, 5, 7)),
        *[Curve("size (million)", name, SIZE, (1, 12, 25, 50)) for name in MODELS],
        Curve("dataset", model, ENTRIES, (1000, 10_000, 100_000)),
        Curve("dataset", leq, ENTRIES, (1000, 10_000, 100_000)),
        Curve("dataset", "state_ensemble", ENTRIES, (10_000, 100_000, 1_000_000)),
        Curve("dataset", "state_leq", ENTRIES, (10_000, 100_000, 1_000_000)),
    ]


def check_plotting() -> None:
    """Raises UserError where nothing can plot: before hours are spent measuring."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "--sweep plots with matplotlib: pip install -e '.[benchmarks]'"
        ) from None


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """A column per axis: time of an update above, memory of its program below.

    found: for every curve its axis, case and key, and points with value and row.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    axes = list(dict.fromkeys(curve["axis"] for curve in found))
    figure = Figure(figsize=(4 * len(axes), 7), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
    for axis, (above, below) in zip(axes, panels.T, strict=True):
        for curve in found:
            if curve["axis"] == axis and curve["points"]:
                _draw(curve, above, below)
        for panel in (above, below):
            panel.set_xscale("log", base=10 if axis == "dataset" else 2)
            panel.set_yscale("log")
            panel.xaxis.set_major_formatter("{x:,.0f}")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
            panel.grid(alpha=0.3)
        below.set_xlabel(axis)
        # above the panel, where no curve runs
        above.legend(
            title=axis, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1)
        )
    panels[0, 0].set_ylabel("ms per update, from - to")
    panels[1, 0].set_ylabel("MiB of the program and its data")
    figure.savefig(path, dpi=120)


def _draw(curve: dict[str, Any], above: Any, below: Any) -> None:
    values = [point["value"] for point in curve["points"]]
    rows = [point["row"] for point in curve["points"]]
    times = [[1e3 * seconds for seconds in row["seconds"]] for row in rows]
    label = curve["case"] + (f", {curve['key']}" if "." in curve["key"] else "")
    line = above.plot(values, [median(t) for t in times], marker="o", label=label)[0]
    lowest, highest = [min(t) for t in times], [max(t) for t in times]
    above.fill_between(values, lowest, highest, alpha=0.2, color=line.get_color())
    sizes = [sum(row["planned_memory"].values()) / 2**20 for row in rows]
    below.plot(values, sizes, marker="o", color=line.get_color())
