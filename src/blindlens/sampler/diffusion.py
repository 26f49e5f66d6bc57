"""The probability flow: diffusion backwards without noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def flow_step(denoise: Callable[[Array, Array], Array], x: Array, now: Array, then: Array) -> Array:
    """One step of Heun's method in log sigma, 2 calls."""
    # dx = (x - D) d log sigma; with D frozen the solution is exact, x' = D + (then/now) (x - D)
    D = denoise(x, now)
    r = then / now
    D_end = denoise(D + r * (x - D), then)
    # D linear in log sigma between the ends
    slope = (r - 1) / jnp.log(r)
    return r * x + (1 - r) * D + (D_end - D) * (1 - slope)


def probability_flow(denoise: Callable[[Array, Array], Array], x: Array, start: Array, end: Array, steps: int) -> Array:
    """Carry x ~ p_start to p_end, p_sigma = p * N(0, sigma^2), by dx/d sigma = (x - D(x, sigma)) / sigma.

    The probability flow of Song et al. 2021, by Heun's method in log sigma, 2 calls a step. x: (n, n). Returns (n, n).
    """
    ladder = start * (end / start) ** jnp.linspace(0, 1, steps + 1)

    def step(x, sigmas):
        return flow_step(denoise, x, *sigmas), None

    return jax.lax.scan(step, x, (ladder[:-1], ladder[1:]))[0]
