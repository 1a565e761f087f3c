"""x W + b, with the gradient of W in the form that is fastest on the device.

Autodiff contracts the output's gradient with x, in this order, and transposes what
comes out. XLA's CPU backend takes half as long for the other order, which gives W's
gradient as it is. Accelerators have it as autodiff writes it.
"""

import jax
import jax.numpy as jnp
from jax import Array


def affine(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """[..., I], [I, O], [O] -> [..., O]."""
    product = _product if jax.default_backend() == "cpu" else jnp.matmul
    x = product(x, kernel)
    return x if bias is None else x + bias


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(kept, gradient):
    x, kernel = kept
    lead = tuple(range(x.ndim - 1))
    over_rows = ((lead, lead), ((), ()))
    return gradient @ kernel.T, jax.lax.dot_general(x, gradient, over_rows)


_product.defvjp(_forward, _backward)
