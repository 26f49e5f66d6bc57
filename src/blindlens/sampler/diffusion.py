"""The probability flow: diffusion backwards, or forwards, without noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def probability_flow(
    denoise: Callable[[Array, Array], Array], x: Array, start: Array | float, end: Array | float, steps: int
) -> tuple[Array, Array]:
    """Carry x ~ p_start to p_end, p_sigma = p * N(0, sigma^2), by dx/d sigma = (x - D(x, sigma)) / sigma.

    The probability flow of Song et al. 2021. Between two noise levels, with D taken to go on in log sigma as straight
    as from the level before (Adams and Bashforth's method, exponential in what does not depend on D):

        x' = r x + (1 - r) D + (1 - (1 - r)/h) (D - D_before),   r = sigma'/sigma, h = -log r

    Second order in h, one call of `denoise` a step. x: (n, n). Returns x at `end` and D(x, start), (n, n) each.
    """
    h = jnp.log(jnp.asarray(start / end, x.dtype)) / steps
    r = jnp.exp(-h)
    sigmas = start * r ** jnp.arange(steps)

    def step(carry, sigma):
        x, before = carry
        D = denoise(x, sigma)
        return (r * x + (1 - r) * D + (1 - (1 - r) / h) * (D - before), D), None

    D = denoise(x, sigmas[0])
    (x, _), _ = jax.lax.scan(step, (r * x + (1 - r) * D, D), sigmas[1:])
    return x, D
