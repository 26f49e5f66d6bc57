"""The reverse diffusion started in the middle: a draw of x | z for z = x + rho eps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def reverse_sde(
    key: Array, denoise: Callable[[Array, Array], Array], z: Array, rho: Array, steps: int, sigma_min: float = 1e-3
) -> Array:
    """Draw x | z = x + N(0, rho^2 I) by the reverse variance-exploding SDE from sigma = rho to sigma_min.

    Exact transition of the Ornstein-Uhlenbeck bridge with the denoiser held over a step (Song et al. 2021, DDPM-like
    ancestral form): x_s = D + (s/t)^2 (x_t - D) + s sqrt(1 - s^2/t^2) eps for s < t. One denoiser call a step.
    z: (n, n). Returns (n, n).
    """
    ladder = rho * (sigma_min / rho) ** jnp.linspace(0, 1, steps + 1)

    def step(x, inputs):
        key, t, s = inputs
        D = denoise(x, t)
        ratio = (s / t) ** 2
        noise = s * jnp.sqrt(1 - ratio) * jax.random.normal(key, x.shape, x.dtype)
        return D + ratio * (x - D) + noise, None

    x, _ = jax.lax.scan(step, z, (jax.random.split(key, steps), ladder[:-1], ladder[1:]))
    return denoise(x, ladder[-1])
