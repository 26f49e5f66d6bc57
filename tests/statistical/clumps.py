"""A prior of clumps that come and go, known exactly: independent coefficients of Haar wavelets, most of them near 0."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from blindlens.prior import Denoiser, GaussianPrior

BLOCK, LARGE, SMALL = 2, 1, 0
"""Kinds of coefficients: means of 4 x 4 pixels, differences of 2 x 2 and of single ones."""


class SparsePrior(Denoiser):
    """x = mean + W h, W orthonormal, (n*n, n*n); h_i ~ p_i N(0, wide_i^2) + (1 - p_i) N(0, narrow_i^2), independent.

    kind: of each coefficient.
    """

    mean: Array
    W: Array
    p: Array
    wide: Array
    narrow: Array
    kind: Array
    n: int
    scale: float
    offset: float = 0.0
    name: str = "sparse"

    def coefficients(self, x: Array) -> Array:
        return (x - self.mean).reshape(*x.shape[:-2], -1) @ self.W

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        s2 = jnp.broadcast_to(jnp.asarray(sigma, x_t.dtype), x_t.shape[:-2])[..., None] ** 2
        u, wide, narrow = self.coefficients(x_t), self.wide**2, self.narrow**2
        a, b = wide + s2, narrow + s2
        odds = jnp.log(self.p / (1 - self.p)) + jnp.log(b / a) / 2 + u**2 / 2 * (1 / b - 1 / a)
        r = jax.nn.sigmoid(odds)
        h = (r * wide / a + (1 - r) * narrow / b) * u
        return self.mean + (h @ self.W.T).reshape(x_t.shape)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        which, normal = jax.random.split(key)
        size = (*shape, self.n**2)
        h = jnp.where(jax.random.uniform(which, size) < self.p, self.wide, self.narrow)
        return self.mean + ((h * jax.random.normal(normal, size)) @ self.W.T).reshape(*shape, self.n, self.n)

    def gaussian(self) -> GaussianPrior:
        """The Gaussian of the same mean and covariance."""
        p, wide, narrow = (np.asarray(t, np.float64) for t in (self.p, self.wide, self.narrow))
        sd = np.sqrt(p * wide**2 + (1 - p) * narrow**2)
        order = np.argsort(sd)[::-1][: len(sd) - 1]
        basis = jnp.asarray(np.asarray(self.W, np.float64)[:, order] * sd[order], jnp.float32)
        return GaussianPrior(self.mean, basis, float(sd.max()), self.scale, self.offset, self.n, "moments")


def haar(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns (n*n, n*n), two levels of wavelets, and their kinds, (n*n,)."""
    W, kind = np.eye(n * n), np.full((n, n), BLOCK)
    for level, m in ((SMALL, n), (LARGE, n // 2)):
        pairs = np.arange(0, m, 2)
        one = np.zeros((m, m))
        one[pairs, pairs // 2] = one[pairs + 1, pairs // 2] = 0.5**0.5
        one[pairs, m // 2 + pairs // 2], one[pairs + 1, m // 2 + pairs // 2] = 0.5**0.5, -(0.5**0.5)
        step = np.eye(n * n).reshape(n, n, n, n)
        step[:m, :m] = 0
        step[:m, :m, :m, :m] = np.kron(one, one).reshape(m, m, m, m)
        W = W @ step.reshape(n * n, n * n)
        kind[:m, :m] = level
        kind[: m // 2, : m // 2] = BLOCK
    return W, kind.ravel()


def clumpy(n: int = 16, scale: float = 10.0) -> SparsePrior:
    """A bright middle with clumps of one and two pixels' size, one in eight and one in four of those possible."""
    W, kind = haar(n)
    g = (np.arange(n) + 0.5) / n * 2 - 1
    x, y = np.meshgrid(g, g)

    def brightness(x, y):
        return np.exp(-(x**2 + y**2) / (2 * 0.4**2)) + 0.02

    # in the order of SMALL, LARGE, BLOCK
    contrast, size, share = np.array([0.8, 0.5, 0.35]), np.array([2.0, 4.0, 4.0]), np.array([0.12, 0.25, 0.999])
    where = (W**2).T
    wide = brightness(where @ x.ravel(), where @ y.ravel()) * (contrast * size)[kind]
    narrow = np.where(kind == BLOCK, wide, wide / 12)
    arrays = (jnp.asarray(t, jnp.float32) for t in (brightness(x, y), W, share[kind], wide, narrow))
    return SparsePrior(*arrays, jnp.asarray(kind), n, scale)
