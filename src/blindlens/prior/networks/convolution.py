"""A convolution whose derivative in the image is a convolution written like itself.

JAX transposes a convolution into one with the kernel's axes exchanged by name alone. For that XLA's CPU compiler has no
fast program inside of a loop: a hundred times slower than the convolution itself (jax 0.10). Here the kernel is
exchanged and turned as an array, which is as fast as forward.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(x: Array, weight: Array) -> Array:
    """x (N, n, m, in) with weight (k, k, in, out), stride 1, padded with zeros to the same size: (N, n, m, out).

    In the precision of products that is the default where it is called. k odd.
    """
    return _convolve.bind(x, weight, precision=jax.config.jax_default_matmul_precision)  # pyright: ignore


def _by_lax(x: Array, weight: Array, *, precision: str | None) -> Array:
    return jax.lax.conv_general_dilated(
        x, weight, (1, 1), "SAME", dimension_numbers=_LAYOUT, precision=precision or jax.lax.Precision.DEFAULT
    )


def _abstract(x, weight, *, precision):
    return ShapedArray((*x.shape[:3], weight.shape[3]), x.dtype)


def _towards_image(cotangent: Array, x, weight: Array, *, precision: str | None) -> Array:
    turned = jnp.flip(weight, (0, 1)).swapaxes(2, 3)
    return _convolve.bind(cotangent, turned, precision=precision)


def _towards_weight(cotangent: Array, x: Array, weight, *, precision: str | None) -> Array:
    return jax.linear_transpose(lambda w: _by_lax(x, w, precision=precision), weight.aval)(cotangent)[0]


def _batched(args, dims, *, precision):
    (x, weight), (dim, of_weight) = args, dims
    if of_weight is not None:  # networks side by side
        return jax.vmap(functools.partial(_by_lax, precision=precision), dims)(x, weight), 0
    x = jnp.moveaxis(x, dim, 0)
    y = _convolve.bind(x.reshape(-1, *x.shape[2:]), weight, precision=precision)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


_convolve = Primitive("convolve")
_convolve.def_impl(lambda x, weight, *, precision: jax.jit(functools.partial(_by_lax, precision=precision))(x, weight))
_convolve.def_abstract_eval(_abstract)
mlir.register_lowering(_convolve, mlir.lower_fun(_by_lax, multiple_results=False))
ad.defbilinear(_convolve, _towards_image, _towards_weight)
batching.primitive_batchers[_convolve] = _batched
