"""The reverse diffusion started in the middle."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def reverse_sde(
    key: Array, denoise: Callable[[Array, Array], Array], z: Array, rho: Array, steps: int, sigma_min: float = 1e-3
) -> Array:
    """Draw x | z = x + N(0, rho^2 I) by the reverse variance-exploding SDE from sigma = rho to sigma_min.

    Stochastic Heun on the exact bridge: x_s = (1 - r) D + r x_t + s sqrt(1 - r) eps with r = (s/t)^2 for s < t, where
    D is the mean of the denoiser's values at both ends of the step, the far end predicted with the same eps. Freezing
    D over a step instead loses variance in proportion to the step (docs/status.md).
    Two denoiser calls a step. z: (n, n). Returns (n, n).
    """
    ladder = rho * (sigma_min / rho) ** jnp.linspace(0, 1, steps + 1)

    def step(carry, inputs):
        x, D = carry
        key, t, s = inputs
        r = (s / t) ** 2
        moved = r * x + s * jnp.sqrt(1 - r) * jax.random.normal(key, x.shape, x.dtype)
        D_end = denoise(moved + (1 - r) * D, s)
        x = moved + (1 - r) * (D + D_end) / 2
        return (x, denoise(x, s)), None

    keys = jax.random.split(key, steps)
    (_, D), _ = jax.lax.scan(step, (z, denoise(z, ladder[0])), (keys, ladder[:-1], ladder[1:]))
    return D


def probability_flow(denoise: Callable[[Array, Array], Array], x: Array, start: Array, end: Array, steps: int) -> Array:
    """Carry x ~ p_start to p_end, p_sigma = p * N(0, sigma^2), by dx/d sigma = (x - D(x, sigma)) / sigma.

    The probability flow of Song et al. 2021, by Heun's method in log sigma, 2 calls a step. x: (n, n). Returns (n, n).
    """
    ladder = start * (end / start) ** jnp.linspace(0, 1, steps + 1)

    def step(x, sigmas):
        now, then = sigmas
        # dx = (x - D) d log sigma; with D frozen the solution is exact, x' = D + (then/now) (x - D)
        D = denoise(x, now)
        r = then / now
        D_end = denoise(D + r * (x - D), then)
        # D linear in log sigma between the ends
        h = jnp.log(r)
        slope = (r - 1) / h
        return r * x + (1 - r) * D + (D_end - D) * (1 - slope), None

    return jax.lax.scan(step, x, (ladder[:-1], ladder[1:]))[0]
