"""x W, x + b and x · scale, with the gradients of W, b and scale in the form that is
fastest on the device.

Accelerators have them as autodiff writes them, and so has a mesh, where rows are kept
apart. On XLA's CPU backend

- W's gradient, x transposed times the output's gradient g, takes half as long as in
  the order that autodiff has, transposed afterwards;
- with far more inputs than outputs it takes up to half as long again where a product
  needn't read across wide rows: of x or of gᵀ x, whichever is smaller, the transpose
  is written down;
- it takes less again with all rows on one axis;
- sums over rows take a third of the time as a product with rows of ones, of which a
  single one would have no fast form;
- W's gradient with one output is such a sum.
"""

import jax
import jax.numpy as jnp
from jax import Array

_ROWS_OF_ONES = 8


def affine(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """x W + b: [..., I], [I, O], [O] -> [..., O]."""
    product = _product if _on_cpu() else jnp.matmul
    x = product(x, kernel)
    return x if bias is None else shifted(x, bias)


@jax.custom_vjp
def known_affine(y: Array, x: Array, kernel: Array, bias: Array | None) -> Array:
    """x W + b where it is known to be y, for its gradients alone: the product isn't
    made again.
    """
    return y


def _known_forward(y, *parts):
    return y, (y, parts)


def _known_backward(kept, gradient):
    y, parts = kept
    return jnp.zeros_like(y), *jax.vjp(affine, *parts)[1](gradient)


known_affine.defvjp(_known_forward, _known_backward)


def shifted(x: Array, bias: Array) -> Array:
    """x + b: [..., I], [I] -> [..., I]."""
    return _shifted(x, bias) if _on_cpu() else x + bias


def scaled(x: Array, scale: Array) -> Array:
    """x · scale: [..., I], [I] -> [..., I]."""
    return _scaled(x, scale) if _on_cpu() else x * scale


def _on_cpu() -> bool:
    """One, and not a mesh of them."""
    alone = jax.sharding.get_abstract_mesh().empty
    return alone and jax.default_backend() == "cpu"


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _sum_of_rows(x: Array) -> Array:
    """[..., I] -> [I]."""
    return _summed(_rows(x))


@jax.custom_jvp
def _summed(x: Array) -> Array:
    """[N, I] -> [I], which can be differentiated itself: for gradients of gradients."""
    return _product_with_ones(x)


@_summed.defjvp
def _summed_along(x: tuple[Array], along: tuple[Array]) -> tuple[Array, Array]:
    return _summed(*x), along[0].sum(-2)


@jax.custom_batching.custom_vmap
@jax.named_scope("sum_of_rows")
def _product_with_ones(x: Array) -> Array:
    """[..., N, I] -> [..., I]."""
    *lead, rows, _ = x.shape
    return (jnp.ones((*lead, _ROWS_OF_ONES, rows), x.dtype) @ x)[..., 0, :]


@_product_with_ones.def_vmap
def _side_by_side(size: int, batched: list[bool], x: Array) -> tuple[Array, bool]:
    """Each has its own ones: to share them, all would have to be moved together."""
    del size, batched
    return _product_with_ones(x), True


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _product_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _product_backward(kept, gradient):
    x, kernel = kept
    of_x = gradient @ kernel.T
    if kernel.shape[1] == 1:
        return of_x, _sum_of_rows(x * gradient)[:, None]
    return of_x, _of_kernel(_rows(x), _rows(gradient))


_product.defvjp(_product_forward, _product_backward)


def _of_kernel(x: Array, gradient: Array) -> Array:
    """xᵀ g: [N, I], [N, O] -> [I, O]."""
    (rows, inputs), outputs = x.shape, gradient.shape[1]
    if inputs < 2 * outputs:
        return jax.lax.dot_general(x, gradient, (((0,), (0,)), ((), ())))
    first = jax.lax.optimization_barrier  # else XLA makes one product of it again
    if rows <= outputs:
        return first(x.T) @ gradient
    return first(gradient.T @ x).T


@jax.custom_vjp
def _shifted(x: Array, bias: Array) -> Array:
    return x + bias


def _shifted_forward(x, bias):
    return x + bias, None


def _shifted_backward(kept, gradient):
    return gradient, _sum_of_rows(gradient)


_shifted.defvjp(_shifted_forward, _shifted_backward)


@jax.custom_vjp
def _scaled(x: Array, scale: Array) -> Array:
    return x * scale


def _scaled_forward(x, scale):
    return x * scale, (x, scale)


def _scaled_backward(kept, gradient):
    x, scale = kept
    return gradient * scale, _sum_of_rows(gradient * x)


_scaled.defvjp(_scaled_forward, _scaled_backward)
