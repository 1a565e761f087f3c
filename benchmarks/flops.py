"""Floating-point operations of a program: of its matrix products and convolutions.

They are counted in the traced program, where every loop says how often it runs. XLA's
own cost analysis takes a loop's body once, and the updates of a world model or of LEQ
are loops over time; without loops both counts are the same. A multiply-add counts as
two. Everything else (activations, norms, the optimiser) is left out, so that the share
of the matmul peak that follows from it says how much of the machine the products get.
So are the sums over rows that are written as products where that is faster.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters.partial_eval import dce_jaxpr


def flops(program: Jaxpr) -> int:
    """Of all products that the program's results need; of branches, the dearest.

    Raises ValueError for a product in a loop of which the program doesn't say how often
    it runs.
    """
    needed, _ = dce_jaxpr(program, [True] * len(program.outvars))
    return _of_program(needed)


def _of_program(program: Jaxpr) -> int:
    return sum(map(_of_equation, program.eqns))


def _of_equation(equation: JaxprEqn) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        is_sum = "sum_of_rows" in str(equation.source_info.name_stack)
        return 0 if is_sum else _of_product(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inner = [_of_program(program) for program in _inner(equation.params)]
    if name == "cond":
        return max(inner)
    if name == "while" and any(inner):
        raise ValueError("a product in a loop of unknown length can't be counted")
    return equation.params.get("length", 1) * sum(inner)  # a scan's


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _of_product(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    inner = np.prod([shape[axis] for axis in contracted], dtype=int)
    return 2 * int(inner) * equation.outvars[0].aval.size


def _of_convolution(equation: JaxprEqn) -> int:
    """Without the products with padding and with the zeros of a dilated input."""
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel = (x.aval.shape for x in equation.invars)
    out = equation.outvars[0].aval.shape
    batch, features, *sides = (out[axis] for axis in numbers.out_spec)
    inputs = kernel[numbers.rhs_spec[1]]
    taps = 1
    for i, side in enumerate(sides):
        taps *= _taps(
            side,
            image[numbers.lhs_spec[2 + i]],
            kernel[numbers.rhs_spec[2 + i]],
            params["window_strides"][i],
            params["padding"][i][0],
            params["lhs_dilation"][i],
            params["rhs_dilation"][i],
        )
    return 2 * batch * features * inputs * taps


def _taps(
    out: int,
    image: int,
    kernel: int,
    stride: int,
    padding: int,
    image_dilation: int,
    kernel_dilation: int,
) -> int:
    """Pairs of an output and a kernel position that meet an input, along one axis."""
    first = np.arange(out)[:, None] * stride - padding
    place = first + np.arange(kernel) * kernel_dilation
    inside = (place >= 0) & (place <= (image - 1) * image_dilation)
    return int((inside & (place % image_dilation == 0)).sum())
