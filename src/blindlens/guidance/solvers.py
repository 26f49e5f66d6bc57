"""(I + r^2 A A^T) u = v, on the pixels of the image."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from ..linear import LinearOperator


class Solution(NamedTuple):
    """u, of v's shape, and the relative residual |v - (I + r^2 A A^T) u| / |v|."""

    u: Array
    residual: Array


def _residual(matvec, u: Array, v: Array) -> Array:
    return jnp.linalg.norm(v - matvec(u)) / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)


def conjugate_gradients(matvec, v: Array, tolerance: float, steps: int) -> Solution:
    """matvec(u) = v for a positive definite matvec, until the residual falls below `tolerance` |v|; it is measured."""
    u, _ = jax.scipy.sparse.linalg.cg(matvec, v, tol=tolerance, maxiter=steps)
    return Solution(u, _residual(matvec, u, v))


class Solver(eqx.Module):
    """Solves (I + r2 A A^T) u = v."""

    @abc.abstractmethod
    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution: ...


class ConjugateGradients(Solver):
    """For any operator; nothing is kept. tolerance: of the relative residual; steps: at the most."""

    tolerance: float = eqx.field(static=True, default=1e-4)
    steps: int = eqx.field(static=True, default=200)

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        T = A.T
        return conjugate_gradients(lambda u: u + r2 * A.mv(T.mv(u)), v, self.tolerance, self.steps)


class Cholesky(Solver):
    """The dense matrix, factored in every call: for small problems and for checks."""

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        dense = A.dense()
        V = jnp.eye(dense.shape[0], dtype=dense.dtype) + r2 * dense @ dense.T
        u = jax.scipy.linalg.solve(V, v.ravel(), assume_a="pos")
        return Solution(u.reshape(v.shape), _residual(lambda u: V @ u, u, v.ravel()))


class Spectral(Solver):
    """A A^T = U diag(lam) U^T, decomposed once: two matrix products a call, for every r^2. For a known lens.

    U: (N, N), lam: (N,).
    """

    U: Array
    lam: Array

    @staticmethod
    def of(A: LinearOperator) -> "Spectral":
        """Decomposes A in double precision; not to be traced. N^2 numbers and N^3 work, N the image's pixels."""
        dense = np.asarray(A.dense(), np.float64)
        lam, U = scipy.linalg.eigh(dense @ dense.T, driver="evd")
        return Spectral(jnp.asarray(U, jnp.float32), jnp.asarray(np.maximum(lam, 0), jnp.float32))

    def __call__(self, A: LinearOperator, r2: Array, v: Array) -> Solution:
        def apply(f: Array, v: Array) -> Array:
            return self.U @ (f * (self.U.T @ v))

        u = apply(1 / (1 + r2 * self.lam), v.ravel())
        return Solution(u.reshape(v.shape), _residual(lambda u: u + r2 * apply(self.lam, u), u, v.ravel()))
