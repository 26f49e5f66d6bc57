"""Unadjusted Langevin steps in a region with walls."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Walk(NamedTuple):
    """position: (d,), where it ends. refused: share of steps that would have left the region. finite: no gradient was
    infinite or NaN.
    """

    position: Array
    refused: Array
    finite: Array


def langevin(
    key: Array,
    position: Array,
    log_density: Callable[[Array], Array],
    size: Array | float,
    steps: int,
    inside: Callable[[Array], Array] = lambda position: jnp.asarray(True),
    factor: Array | None = None,
) -> Walk:
    """`steps` moves v + size P grad log p(v) + (2 size)^1/2 P^1/2 xi; a move that leads outside is not made.

    factor: F with P = F F^T, by default the identity. Nothing corrects the error of a step: for a Gaussian of
    precision Q, the variance comes out as Q^-1 (I - size P Q / 2)^-1, and at size P Q >= 2 there is none.
    """
    gradient = jax.grad(log_density)

    def step(v: Array, key: Array):
        noise, slope = jax.random.normal(key, v.shape, v.dtype), gradient(v)
        finite = jnp.all(jnp.isfinite(slope))
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        drift = slope if factor is None else factor @ (factor.T @ slope)
        kick = noise if factor is None else factor @ noise
        new = v + size * drift + jnp.sqrt(2 * jnp.asarray(size, v.dtype)) * kick
        stays = inside(new)
        return jnp.where(stays, new, v), (~stays, finite)

    position, (refused, finite) = jax.lax.scan(step, position, jax.random.split(key, steps))
    return Walk(position, jnp.mean(refused), jnp.all(finite))
