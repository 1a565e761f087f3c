"""What a case of the benchmark is: a phase of training, at a size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.data.sampling import Sampler


@dataclass(frozen=True)
class Rare:
    """What a phase does once in `every` updates: `run(phase, state, arrays)` gives the
    new state.
    """

    name: str
    every: int
    run: Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Setup:
    """A phase with made-up data.

    `make()` gives the phase, its first state and the arrays of its dataset; it can be
    traced, so that the shapes alone can be had too. `dtype` is that of the phase's
    matrix products, `size` what a reader has to know of how large it is. Several
    `members` of a grid are the leading axis of the state.
    """

    make: Callable[[], tuple[Any, Any, dict[str, Any]]]
    sampler: Sampler
    size: str
    dtype: str
    rare: Rare | None = None
    members: int = 1


def side_by_side(setup: Setup, members: int) -> Setup:
    """The phase of a grid: this many members, which begin alike."""

    def make():
        phase, state, arrays = setup.make()
        state = jax.tree.map(lambda x: jnp.stack([x] * members), state)
        return phase, state, arrays

    size = f"{members} x {setup.size}"
    return replace(setup, make=make, size=size, members=members)


def made_up(arrays: dict[str, Any], reads: Sequence[str]) -> dict[str, Any]:
    """What a learner `reads` beside transitions, from arrays of one long episode."""
    found = {"return": arrays["reward"], "next_action": arrays["action"]}
    found["rank"] = jnp.zeros_like(arrays["reward"])
    return {name: found[name] for name in reads}


SEEDS = {"1 seed": (), "4 seeds": ("--seeds", "4")}
TAU = ("--leq.tau", "0.1", "0.3", "0.4", "0.5")
GRIDS = {
    "1 run": (),
    "9 runs": (*TAU[:-1], "--seeds", "3"),
    "20 runs": (*TAU, "--seeds", "5"),
}
GRID = {"1 τ": (), "4 τ": TAU}


@dataclass(frozen=True)
class Case:
    """Flags and dataset of the paper's size, and what makes them fit for a CPU.

    `setup(config, entries)` builds it. Variants, by name with the flags they add, are
    measured in turn in one process, so that their ratio holds on a busy machine too.
    A case that is not `timed` is only compiled, and tells the memory it would take.
    `on` names the devices on which it is measured without being asked for.
    """

    about: str
    setup: Callable[[Config, int], Setup]
    flags: tuple[str, ...]
    entries: int
    small: tuple[str, ...] = ()
    small_entries: int | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"": ()})
    timed: bool = True
    on: tuple[str, ...] = ("cpu", "gpu")

    def config(self, variant: str, small: bool, flags: tuple[str, ...] = ()) -> Config:
        """With `flags` over everything else. Raises UserError for what can't be."""
        size = self.small if small else ()
        return configs.load([*self.flags, *size, *self.variants[variant], *flags])

    def entries_for(self, small: bool) -> int:
        """Entries of the made-up dataset."""
        return self.small_entries if small and self.small_entries else self.entries
