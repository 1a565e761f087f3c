"""A recurrence in time whose parameters get their gradient from all steps at once.

Autodiff adds every step's share of it inside the backward scan. With the few rows that
a step has, reading and writing a sum as large as the parameters, step for step, takes
longer than the rest. Here the backward scan holds only what depends on the step after
it: the gradients of the carried state. The parameters' come after it, from one
application of the cell to the rows of all steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

Cell = Callable[[Any, Any, Any], tuple[Any, Any]]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(cell: Cell, params: Any, start: Any, xs: Any) -> tuple[Any, Any]:
    """cell(params, carry, x) -> (carry, out) from `start` over the first axis of `xs`.

    carry, x and out are trees of [N, ...], without anything that the rows share: a
    random key would be. Returns the carries after every step and the outs, [T, N, ...].
    """
    return _run(cell, params, start, xs, None)


def _run(cell: Cell, params: Any, start: Any, xs: Any, shifts: Any) -> tuple[Any, Any]:
    """The recurrence, with `shifts` [T, N, ...] added to the carries."""

    def step(carry, inputs):
        x, shift = inputs
        carry, out = cell(params, carry, x)
        if shift is not None:
            carry = jax.tree.map(jnp.add, carry, shift)
        return carry, (carry, out)

    return jax.lax.scan(step, start, (xs, shifts))[1]


def _forward(cell, params, start, xs):
    steps = len(jax.tree.leaves(xs)[0])
    shifts = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), start)
    result, back = jax.vjp(partial(_run, cell, params), start, xs, shifts)
    before = lambda x, y: jnp.concatenate([x[None], y[:-1]])  # noqa: E731
    begin = jax.tree.map(before, start, result[0])
    return result, (params, begin, xs, back)


def _backward(cell, kept, cotangent):
    params, begin, xs, back = kept
    # a shift's gradient is all that a carry receives, from now and later
    of_start, of_xs, of_carries = back(cotangent)
    begin, xs, ends = jax.tree.map(rows, (begin, xs, (of_carries, cotangent[1])))
    _, by_params = jax.vjp(lambda params: cell(params, begin, xs), params)
    return *by_params(ends), of_start, of_xs


recur.defvjp(_forward, _backward)


def rows(x: jax.Array) -> jax.Array:
    """[T, N, ...] -> [T * N, ...], in an order that `steps` knows."""
    x = x.swapaxes(0, 1) if _divided() else x
    return x.reshape(-1, *x.shape[2:])


def steps(x: jax.Array, length: int) -> jax.Array:
    """[T * N, ...] -> [T, N, ...], T being `length`: what `rows` has done, undone."""
    if _divided():
        return x.reshape(-1, length, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(length, -1, *x.shape[1:])


def _divided() -> bool:
    """A mesh keeps its parts of N where a row's steps follow each other."""
    return not jax.sharding.get_abstract_mesh().empty
