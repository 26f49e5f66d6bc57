"""A surface through the pixel values of many images at once, and its derivative: sums of gathers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

INTERPOLATIONS = ("bilinear", "cubic")


def spline_weights(t: Array, interpolation: str) -> tuple[list[Array], list[Array]]:
    """Weights of the pixels around u = floor(u) + t, from floor(u) (bilinear) or floor(u) - 1 (cubic) on, and d/dt."""
    if interpolation == "bilinear":
        one = jnp.ones_like(t)
        return [1 - t, t], [-one, one]
    s = 1 - t
    weights = [s**3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - s**2 + s**3 / 2, t**3 / 6]
    return weights, [-(s**2) / 2, 1.5 * t**2 - 2 * t, 2 * s - 1.5 * s**2, t**2 / 2]


def _taps(u: Array, v: Array, n: int, interpolation: str):
    """For each pixel that a position sees: its row in the table, and its weight with the derivatives along u and v."""
    i, j = jnp.floor(v), jnp.floor(u)
    first = 0 if interpolation == "bilinear" else -1
    along_v, along_u = (spline_weights(t, interpolation) for t in (v - i, u - j))
    for di, (wi, si) in enumerate(zip(*along_v, strict=True), first):
        for dj, (wj, sj) in enumerate(zip(*along_u, strict=True), first):
            row, col = i + di, j + dj
            inside = (row >= 0) & (row < n) & (col >= 0) & (col < n)
            index = (jnp.clip(row, 0, n - 1) * n + jnp.clip(col, 0, n - 1)).astype(jnp.int32)
            yield index, wi * wj * inside, wi * sj * inside, si * wj * inside


def interpolate(table: Array, u: Array, v: Array, n: int, interpolation: str = "bilinear") -> Array:
    """Spline surface of r images at once, zero outside the grid.

    table: (n*n, r), one image's spline coefficients a column; u (column), v (row): positions (...) in pixels, centres
    at integers. Returns (..., r). Beyond the last pixel centre the image falls to zero within one pixel (bilinear) or
    two (cubic); it is never extrapolated.
    """
    terms = (weight[..., None] * table[index] for index, weight, _, _ in _taps(u, v, n, interpolation))
    return functools.reduce(jnp.add, terms)


# The derivative by hand: it is an interpolation too, and costs as much; the transposed gathers that differentiating the
# sum would give cost ten times more.
interpolate_for_gradients = jax.custom_jvp(interpolate, nondiff_argnums=(3, 4))


@interpolate_for_gradients.defjvp
def _interpolate_jvp(n, interpolation, primals, tangents):
    (table, u, v), (dtable, du, dv) = primals, tangents
    slope_u = sum(w[..., None] * table[index] for index, _, w, _ in _taps(u, v, n, interpolation))
    # XLA fuses a sum of gathers into one loop if nothing else reads them: the barrier keeps the two sums apart
    same, slope_u = jax.lax.optimization_barrier((table, slope_u))
    slope_v = sum(w[..., None] * same[index] for index, _, _, w in _taps(u, v, n, interpolation))
    # a product with ones, whose transpose is a matrix product too: XLA's sums along rows are ten times slower
    ones = jnp.ones((1, table.shape[1]), table.dtype)
    slope_v = jax.lax.optimization_barrier(slope_v)
    moved = sum(s * (d.reshape(-1, 1) @ ones).reshape(s.shape) for s, d in ((slope_u, du), (slope_v, dv)))
    return interpolate(table, u, v, n, interpolation), moved + interpolate(dtable, u, v, n, interpolation)


def coefficients(table: Array, n: int, interpolation: str) -> Array:
    """Spline coefficients of images (n*n, r): the surface passes through the pixel values at the pixel centres."""
    if interpolation == "bilinear":
        return table
    values = 2 / 3 * np.eye(n) + (np.eye(n, k=1) + np.eye(n, k=-1)) / 6
    inverse = jnp.asarray(np.linalg.inv(values), table.dtype)
    rows = (inverse @ table.reshape(n, -1)).reshape(n, n, -1)
    return jnp.einsum("jk,ikr->ijr", inverse, rows).reshape(table.shape)
