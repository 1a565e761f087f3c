"""Grids: several coefficients and seeds, trained side by side on one world model.

Every member is a run of its own, in a folder of its own, that equals the run which
would be trained alone. Where there is a single run it is its own only member, and
nothing is stacked.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from operator import itemgetter
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.session import Run, open_logger

T = TypeVar("T")


def open_members(run: Run, stack: ExitStack) -> tuple[Run, ...]:
    """The members of `run`, their folders begun; `stack` closes their metrics."""
    members = []
    for name, config in run.config.members.items():
        folder = RunFolder(config.folder)
        folder.begin(config, run.facts)
        logger = stack.enter_context(open_logger(folder, config))
        session = replace(run.session, logger=logger)
        if not folder.is_done:
            session.forget_unsaved(config.phases)
        own = dict(config=config, folder=folder, session=session)
        members.append(replace(run, **own, log=_named(run.log, name)))
    return tuple(members) or (run,)


def _named(log: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda text: log(f"{name}: {text}")


def to_train(members: Sequence[Run]) -> tuple[Run, ...]:
    """The members of a grid that are not trained yet; a run that is none, as it is."""
    if len(members) == 1:
        return tuple(members)
    return tuple(member for member in members if not member.folder.is_done)


def of_same_seed(members: Sequence[Run]) -> list[list[int]]:
    """The places of the members of each seed: their policies begin as the same."""
    places: dict[int, list[int]] = {}
    for i, member in enumerate(members):
        places.setdefault(member.config.seed, []).append(i)
    return list(places.values())


def one_per_seed(members: Sequence[Run]) -> tuple[Run, ...]:
    """The first member of each seed, in order."""
    first: dict[int, Run] = {}
    for member in members:
        first.setdefault(member.config.seed, member)
    return tuple(first.values())


def stack(trees: Sequence[T]) -> T:
    """[...] of each member -> [M, ...]; that of an only one as it is."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def split(tree: T, members: int) -> list[T]:
    """The inverse of `stack`."""
    if members == 1:
        return [tree]
    return [jax.tree.map(itemgetter(i), tree) for i in range(members)]


def keys(members: Sequence[Run], name: str) -> Array:
    """The random key of a component for each member: [M], or that of the only one."""
    return stack([member.key(name) for member in members])


def in_turns(function: Callable[..., Any], members: int) -> Callable[..., Any]:
    """As `mapped`, for what gives a CPU enough to do for each member: there it is done
    for one after the other.
    """
    if members == 1 or jax.default_backend() != "cpu":
        return mapped(function, members)
    return lambda *args: jax.lax.map(lambda own: function(*own), args)


def mapped(function: Callable[..., Any], members: int) -> Callable[..., Any]:
    """`function` over the members of its arguments."""
    return function if members == 1 else jax.vmap(function)
