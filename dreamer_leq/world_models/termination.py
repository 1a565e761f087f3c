"""When an imagined step of a state-vector task ends its episode: the true rules.

They are known for these tasks (paper App. A); `ensemble.termination: learned` is the
ablation without them. All take the sampled successor [N, D] in raw units.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array


def _hopper(s: Array) -> Array:
    """Fallen, or out of range. |s| < 100 on both sides: the public code lost the
    lower bound by taking the absolute value of a truth value.
    """
    sane = jnp.isfinite(s).all(-1) & (jnp.abs(s[..., 1:]) < 100).all(-1)
    return ~(sane & (s[..., 0] > 0.7) & (jnp.abs(s[..., 1]) < 0.2))


def _walker2d(s: Array) -> Array:
    sane = (jnp.abs(s) < 100).all(-1)
    upright = (s[..., 0] > 0.8) & (s[..., 0] < 2.0) & (jnp.abs(s[..., 1]) < 1.0)
    return ~(sane & upright)


def _hopper_x(s: Array) -> Array:
    """NeoRL's Hopper: x position first, the range of what follows the joints' z."""
    sane = (jnp.abs(s[..., 3:]) < 100).all(-1)
    return ~(sane & (s[..., 1] > 0.7) & (jnp.abs(s[..., 2]) < 0.2))


def _walker2d_x(s: Array) -> Array:
    sane = (jnp.abs(s[..., 3:]) < 100).all(-1)
    upright = (s[..., 1] > 0.8) & (s[..., 1] < 2.0) & (jnp.abs(s[..., 2]) < 1.0)
    return ~(sane & upright)


def _halfcheetah(s: Array) -> Array:
    """Only a model's runaway state ends it; the real task never does."""
    return ~(jnp.abs(s) < 100).all(-1)


def _never(s: Array) -> Array:
    return jnp.zeros(s.shape[:-1], bool)


_RULES: dict[str, Callable[[Array], Array]] = {
    "hopper": _hopper,
    "walker2d": _walker2d,
    "halfcheetah": _halfcheetah,
    "hopper_x": _hopper_x,
    "walker2d_x": _walker2d_x,
    "never": _never,
}


@dataclass(frozen=True)
class Termination:
    """One task's rule: a name of those above, or "goal" with a disc in the plane.

    "learned" is that of a task whose rule isn't known: it has no `done`, the ensemble
    learns from (s, a) when a step ends an episode (`EnsembleNet.learns_ends`).
    """

    rule: str
    goal: tuple[float, float] | None = None
    radius: float = 0.0

    def done(self, successor: Array) -> Array:
        """Whether the step to `successor` [..., D] ended the episode: [...]."""
        if self.rule == "goal":
            return self.at_goal(successor)
        return _RULES[self.rule](successor)

    def at_goal(self, successor: Array) -> Array:
        """Whether x and y, the first two numbers, lie inside the goal's disc: [...]."""
        offset = successor[..., :2] - jnp.asarray(self.goal)
        return jnp.square(offset).sum(-1) < self.radius**2
