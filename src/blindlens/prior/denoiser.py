"""The Denoiser: what every prior on source images is to a sampler."""

import abc
import hashlib

import equinox as eqx
import jax
import numpy as np
from jax import Array


class Denoiser(eqx.Module):
    """D(x_t, sigma) = E[x | x_t] with x_t = x + sigma eps, x an (n, n) image in model units.

    Surface brightness is s = scale * x + offset (C and M of arXiv:2511.04792); the score of p_sigma(x_t) is
    (D - x_t) / sigma^2 (Tweedie's formula).
    """

    n: eqx.AbstractVar[int]
    scale: eqx.AbstractVar[float]
    offset: eqx.AbstractVar[float]
    name: eqx.AbstractVar[str]

    @abc.abstractmethod
    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        """The posterior mean of x, (..., n, n); sigma is a scalar or has the batch shape (...)."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draws of x from the prior, (*shape, n, n)."""

    def digest(self) -> str:
        """A hash of all that decides what the prior is, the same on every machine."""
        found = hashlib.sha256(self.name.encode())
        for leaf in jax.tree.leaves(self):
            found.update(np.ascontiguousarray(leaf).tobytes())
        return found.hexdigest()
