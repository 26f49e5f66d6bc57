"""Guidance by the first two moments of x | x_t, both of which the denoiser knows (MMPS, Rozet et al. 2024)."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..prior import Denoiser


class LocalGaussian(NamedTuple):
    """p(x | x_t) in k directions: mean D, (n, n), orthonormal columns E, (n*n, k), and variances sigma^2 share, (k,).

    share: in [0, 1], the eigenvalues of dD/dx_t; 0 for directions that are left out.
    """

    mean: Array
    directions: Array
    share: Array
    sigma: Array

    def sd(self, sigma: Array | float) -> Array:
        """Standard deviations in the k directions at another noise level, (k,).

        1/v(s) = 1/v(sigma) + 1/s^2 - 1/sigma^2: what is left of a Gaussian prior when the noise changes.
        """
        r = (sigma / self.sigma) ** 2
        return sigma * jnp.sqrt(self.share / (self.share + r * (1 - self.share)))


def local_gaussian(denoiser: Denoiser, x_t: Array, sigma: Array, probes: Array) -> LocalGaussian:
    """The mean D of x | x_t and its covariance C = sigma^2 dD/dx_t (Tweedie's second formula).

    The derivative is taken along the k orthonormal columns of `probes`, Q (n*n, k); with Y = C Q, Nystrom's formula
    gives C ~ Y (Q^T Y)^-1 Y^T. A network's derivative is neither symmetric nor positive: Q^T Y is made symmetric, and
    directions are left out in which it is no greater than the most negative of its eigenvalues, which tells its error.
    """
    D, push = jax.linearize(lambda x: denoiser(x, sigma), x_t)
    Y = jax.lax.map(lambda q: push(q.reshape(x_t.shape)).ravel(), probes.T, batch_size=16).T
    inner = probes.T @ Y
    m, U = jnp.linalg.eigh((inner + inner.T) / 2)
    kept = m > jnp.maximum(1e-5 * m[-1], -m[0])
    B = (Y @ U) * jnp.where(kept, jax.lax.rsqrt(jnp.where(kept, m, 1.0)), 0.0)
    share, V = jnp.linalg.eigh(B.T @ B)
    inside = share > 1e-6 * share[-1]
    directions = (B @ V) * jnp.where(inside, jax.lax.rsqrt(jnp.where(inside, share, 1.0)), 0.0)
    return LocalGaussian(D, directions, jnp.where(inside, jnp.minimum(share, 1.0), 0.0), sigma)


class MomentMatching(eqx.Module):
    """E[x | x_t, y] for y = A x + N(0, I), with p(x | x_t) taken to be N(D, C):

        D + C A^T (A C A^T + I)^-1 (y - A D)

    exact if the prior is Gaussian and C complete. C is that of `local`, carried to other noise levels. A: an image to
    an array of y's shape, linear; AE: A applied to local.directions, (y.size, k).
    """

    denoiser: Denoiser
    local: LocalGaussian
    A: Callable[[Array], Array]
    AE: Array
    y: Array

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        """x_t: (n, n). Returns (n, n)."""
        D, sd = self.denoiser(x_t, sigma), self.local.sd(sigma)
        H = self.AE * sd
        precision = H.T @ H + jnp.eye(len(sd), dtype=H.dtype)
        c = jax.scipy.linalg.solve(precision, H.T @ (self.y - self.A(D)).ravel(), assume_a="pos")
        return D + (self.local.directions @ (sd * c)).reshape(D.shape)
