"""A^T (I + r^2 A A^T)^-1 v: the linear algebra of CLA and PiGDM.

The result is asked for in the source's pixels: where r^2 A A^T is large, u = (I + r^2 A A^T)^-1 v is a small
difference of large numbers, and A^T u is not.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from ..linear import LinearOperator


class Solution(NamedTuple):
    """value: A^T u, (n, n). residual: relative, of the equations that were solved."""

    value: Array
    residual: Array


class Solver(eqx.Module):
    """r2, v -> A^T (I + r2 A A^T)^-1 v."""

    @abc.abstractmethod
    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution: ...


class ConjugateGradients(Solver):
    """For any operator; nothing is kept.

    With B = r A, w = r A^T u minimises |B w - v|^2 + |w|^2. The conjugate gradients of that least-squares problem
    (Hestenes & Stiefel 1952) never form B B^T, whose condition reaches 1e8 at large noise; stopped early they have
    fitted the best-determined part. residual: of the normal equations, |B^T (v - B w) - w| / |B^T v|.

    tolerance: of the residual; steps: at the most, A and A^T once each.
    """

    tolerance: float = eqx.field(static=True, default=1e-4)
    steps: int = eqx.field(static=True, default=200)

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        r, T = jnp.sqrt(r2), A.T
        first = r * T.mv(v)
        enough = self.tolerance**2 * jnp.sum(first**2)

        def unfinished(carry):
            *_, size, k = carry
            return (size > enough) & (k < self.steps)

        def step(carry):
            w, rest, p, size, k = carry
            q = r * A.mv(p)
            length = size / (jnp.sum(q**2) + jnp.sum(p**2))
            w, rest = w + length * p, rest - length * q
            s = r * T.mv(rest) - w
            new = jnp.sum(s**2)
            return w, rest, s + new / size * p, new, k + 1

        w, _, _, size, _ = jax.lax.while_loop(unfinished, step, (jnp.zeros_like(first), v, first, jnp.sum(first**2), 0))
        tiny = jnp.finfo(v.dtype).tiny
        # where r = 0 there is nothing to solve
        value = jnp.where(r2 > 0, w / jnp.where(r2 > 0, r, 1.0), T.mv(v))
        return Solution(value, jnp.sqrt(size / jnp.maximum(jnp.sum(first**2), tiny)))


class Cholesky(Solver):
    """The dense matrix, factored in every call: for small problems and for checks."""

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        dense = A.dense()
        V = jnp.eye(dense.shape[0], dtype=dense.dtype) + r2 * dense @ dense.T
        u = jax.scipy.linalg.solve(V, v.ravel(), assume_a="pos")
        residual = jnp.linalg.norm(v.ravel() - V @ u) / jnp.linalg.norm(v)
        return Solution((dense.T @ u).reshape(A.in_shape), residual)


class Spectral(Solver):
    """A = U diag(s) V^T, decomposed once: two matrix products a call, for every r^2. For a known lens.

    U: (N, k), s: (k,), V: (n*n, k), k the rank of A in double precision.
    """

    U: Array
    s: Array
    V: Array

    @staticmethod
    def of(A: LinearOperator) -> "Spectral":
        """Decomposes A in double precision; not to be traced. N^2 numbers and N^3 work, N the image's pixels."""
        pixels = int(np.prod(A.in_shape))
        columns = jax.lax.map(A.mv, jnp.eye(pixels).reshape(pixels, *A.in_shape), batch_size=64)
        dense = np.asarray(columns, np.float64).reshape(pixels, -1).T
        lam, U = scipy.linalg.eigh(dense @ dense.T, driver="evd")
        kept = lam > 1e-12 * lam[-1]
        U, s = U[:, kept], np.sqrt(lam[kept])
        return Spectral(*(jnp.asarray(t) for t in (U, s, dense.T @ U / s)))

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        """residual: 0, as nothing is iterated."""
        coefficients = self.s / (1 + r2 * self.s**2) * (self.U.T @ v.ravel())
        return Solution((self.V @ coefficients).reshape(A.in_shape), jnp.zeros((), v.dtype))


def conjugate_gradients(
    matvec: Callable[[Array], Array], v: Array, tolerance: float, steps: int
) -> tuple[Array, Array]:
    """u with matvec(u) = v for a positive definite matvec, and the relative residual |v - matvec(u)| / |v|, measured.

    At most `steps` steps, fewer when the residual falls below `tolerance`.
    """
    u, _ = jax.scipy.sparse.linalg.cg(matvec, v, tol=tolerance, maxiter=steps)
    return u, jnp.linalg.norm(v - matvec(u)) / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)
