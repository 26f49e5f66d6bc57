"""The probability flow: diffusion backwards, or forwards, without noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def probability_flow(
    denoise: Callable[[Array, Array], Array], x: Array, start: Array | float, end: Array | float, steps: int
) -> tuple[Array, Array, Array]:
    """Carry x ~ p_start to x' ~ p_end, p_sigma = p * N(0, sigma^2), by dx/d sigma = (x - D(x, sigma)) / sigma.

    The probability flow of Song et al. 2021. Between two noise levels, with D taken to go on in log sigma as straight
    as from the level before (Adams and Bashforth's method, exponential in what does not depend on D):

        x' = r x + (1 - r) D + (1 - (1 - r)/h) (D - D_before),   r = sigma'/sigma, h = -log r

    Second order in h, one call of `denoise` a step and one at the end. x: (n, n). Returns x', D(x, start) and
    D(x', end), (n, n) each.
    """
    h = jnp.log(jnp.asarray(start / end, x.dtype)) / steps
    r = jnp.exp(-h)
    count = jnp.arange(steps + 1)

    def step(carry, i):
        x, before = carry
        D = denoise(x, start * r**i)
        change = D - jnp.where(i > 0, before, D)
        # the denoiser stands in one place of the program, or it would be compiled three times: the last step stays
        return (jnp.where(i < steps, r * x + (1 - r) * D + (1 - (1 - r) / h) * change, x), D), D

    (x, _), D = jax.lax.scan(step, (x, jnp.zeros_like(x)), count)
    return x, D[0], D[-1]
