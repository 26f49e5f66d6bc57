"""The variance-exploding noise of Song et al. 2021 (arXiv:2011.13456) as a function of diffusion time."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Schedule(NamedTuple):
    """sigma(t) = sigma_min (sigma_max / sigma_min)^t for t in [0, 1]; the defaults are those of arXiv:2511.04792."""

    sigma_min: float = 0.001
    sigma_max: float = 50.0

    def sigma(self, t: Array | float) -> Array:
        """The noise level at time t."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** jnp.asarray(t)

    def time(self, sigma: Array | float) -> Array:
        """The time at which the noise level is sigma."""
        return jnp.log(jnp.asarray(sigma) / self.sigma_min) / jnp.log(self.sigma_max / self.sigma_min)

    def ladder(self, steps: int, start: float = 1.0, end: float = 0.0) -> Array:
        """steps + 1 noise levels, evenly spaced in time from `start` to `end`."""
        return self.sigma(jnp.linspace(start, end, steps + 1))
