"""Guidance by the first two moments of x | x_t, both of which the denoiser knows (MMPS, Rozet et al. 2024)."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..prior import Denoiser


class Measurement(NamedTuple):
    """y = A x + N(0, I). A: one image (n, n) to an array of y's shape; columns: images (n*n, k) to (y.size, k)."""

    A: Callable[[Array], Array]
    columns: Callable[[Array], Array]
    y: Array


class LocalGaussian(NamedTuple):
    """p(x | x_t) in k directions: mean D, (n, n), orthonormal columns E, (n*n, k), and variances sigma^2 share, (k,).

    share: the eigenvalues of dD/dx_t; 0 for directions that are left out.
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


def positive_part(Q: Array, Y: Array) -> tuple[Array, Array]:
    """Orthonormal directions (m, k) and eigenvalues (k,) of a positive J with Y = J Q in the directions Q.

    Q: orthonormal columns, or zero ones that don't count. A network's derivative J is neither symmetric nor positive:
    Q^T Y is made symmetric, with eigenvectors U and eigenvalues m. The most negative of m tells the error of all. Where
    m is greater than that, Nystrom's formula Y U m^-1 U^T Y^T extends it beyond Q; elsewhere the eigenvalue is
    taken to be as large as its error, in Q U alone: were it 0, nothing that the data say there would be believed,
    where too wide a prior only lets their noise in until the next level. What lies beyond all these has eigenvalue 0.
    Where x given x_t has two modes, eigenvalues exceed 1.
    """
    inner = Q.T @ Y
    m, U = jnp.linalg.eigh((inner + inner.T) / 2)
    error = jnp.maximum(1e-5 * m[-1], -m[0])
    known = m > error
    B = jnp.where(known, (Y @ U) * jax.lax.rsqrt(jnp.where(known, m, 1.0)), (Q @ U) * jnp.sqrt(error))
    share, V = jnp.linalg.eigh(B.T @ B)
    inside = share > 1e-6 * share[-1]
    directions = (B @ V) * jnp.where(inside, jax.lax.rsqrt(jnp.where(inside, share, 1.0)), 0.0)
    return directions, jnp.where(inside, share, 0.0)


def prior_gaussian(denoiser: Callable[[Array, Array], Array], x_t: Array, sigma: Array, probes: Array) -> LocalGaussian:
    """The mean D of x | x_t and its covariance sigma^2 dD/dx_t along the orthonormal columns of `probes`, (n*n, k)."""
    D, push = jax.linearize(lambda x: denoiser(x, sigma), x_t)
    Y = jax.lax.map(lambda q: push(q.reshape(x_t.shape)).ravel(), probes.T, batch_size=16).T
    return LocalGaussian(D, *positive_part(probes, Y), sigma)


def local_gaussian(
    denoiser: Denoiser, x_t: Array, sigma: Array, probes: Array, measurement: Measurement, krylov: int
) -> LocalGaussian:
    """The mean D of x | x_t and its covariance C = sigma^2 dD/dx_t (Tweedie's second formula) where the data look.

    The derivative is taken along the orthonormal columns of `probes`, (n*n, k), and along `krylov` directions more:
    those of A^T r, A^T A C A^T r, ..., r being what is left of y - A D with the first k alone. They are the ones by
    which conjugate gradients would explain it.
    """
    D = denoiser(x_t, sigma)
    # the fast products of GPUs, of 10 bits of mantissa: they err less than a trained network's derivative does anyway
    with jax.default_matmul_precision("default"):
        push = jax.linearize(lambda x: denoiser(x, sigma), x_t)[1]
    transpose = jax.linear_transpose(measurement.A, jax.ShapeDtypeStruct(x_t.shape, x_t.dtype))

    def J(q: Array) -> Array:
        return push(q.reshape(x_t.shape)).ravel()

    def towards(r: Array) -> Array:
        return transpose(r)[0].ravel()

    Y = jax.lax.map(J, probes.T, batch_size=16).T
    k = probes.shape[1]
    first = moment_matching(lambda *_: D, LocalGaussian(D, *positive_part(probes, Y), sigma), measurement)
    _, _, left = first.fitted(x_t, sigma)
    Q, Y = (jnp.pad(t, ((0, 0), (0, krylov))) for t in (probes, Y))

    def step(carry, i):
        Q, Y, left = carry
        v = towards(left)
        length = jnp.linalg.norm(v)
        for _ in range(2):  # once is not enough in single precision
            v = v - Q @ (Q.T @ v)
        # where nothing is left but rounding, there are no more directions
        q = jnp.where(jnp.linalg.norm(v) > 1e-5 * length, v / jnp.linalg.norm(v), 0.0)
        y = J(q)
        left = measurement.A((sigma**2 * y).reshape(x_t.shape))
        return (Q.at[:, k + i].set(q), Y.at[:, k + i].set(y), left), None

    (Q, Y, _), _ = jax.lax.scan(step, (Q, Y, left), jnp.arange(krylov))
    return LocalGaussian(D, *positive_part(Q, Y), sigma)


class MomentMatching(eqx.Module):
    """E[x | x_t, y] for y = A x + N(0, I), with p(x | x_t) taken to be N(D, C):

        D + C A^T (A C A^T + I)^-1 (y - A D)

    exact if the prior is Gaussian and C complete. C is that of `local`, carried to other noise levels. AE: A applied to
    local.directions, (y.size, k).
    """

    denoiser: Callable[[Array, Array], Array]
    local: LocalGaussian
    measurement: Measurement
    AE: Array

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        """x_t: (n, n). Returns (n, n)."""
        D, along, _ = self.fitted(x_t, sigma)
        return D + (self.local.directions @ along).reshape(D.shape)

    def fitted(self, x_t: Array, sigma: Array | float) -> tuple[Array, Array, Array]:
        """D, how far the mean lies from it along the local directions, (k,), and what the mean leaves of y."""
        D, sd = self.denoiser(x_t, sigma), self.local.sd(sigma)
        H = self.AE * sd
        precision = H.T @ H + jnp.eye(len(sd), dtype=H.dtype)
        r = self.measurement.y - self.measurement.A(D)
        c = jax.scipy.linalg.solve(precision, H.T @ r.ravel(), assume_a="pos")
        return D, sd * c, r - (H @ c).reshape(r.shape)


def moment_matching(
    denoiser: Callable[[Array, Array], Array], local: LocalGaussian, measurement: Measurement
) -> MomentMatching:
    """The guided denoiser; applies A to the local directions once."""
    return MomentMatching(denoiser, local, measurement, measurement.columns(local.directions))
