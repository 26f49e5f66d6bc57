"""Moment-matching posterior sampling (MMPS; Rozet et al. 2024, arXiv:2405.13712), as published."""

from collections.abc import Callable

import equinox as eqx
import jax
from jax import Array

from ..linear import LinearOperator
from .guided import Guidance, Guided
from .solvers import conjugate_gradients


class MMPS(Guided):
    """p(y | x_t) ~ N(y; A D, I + A V A^T) with V = sigma^2 dD/dx_t, the covariance of x given x_t.

    E[x | x_t, y] = D + V A^T (I + A V A^T)^-1 (y - A D): exact for a Gaussian prior. V is applied by gradients through
    the denoiser, one a step of the conjugate gradients, which must be few: V is symmetric and positive for an exact
    denoiser only, and with a network many steps diverge. `MomentMatching` is the form that bears many directions.
    """

    denoiser: Callable[[Array, Array], Array]
    A: LinearOperator
    y: Array
    tolerance: float = eqx.field(static=True, default=1e-4)
    steps: int = eqx.field(static=True, default=3)

    def evaluate(self, x_t: Array, sigma: Array) -> Guidance:
        D, pull = jax.vjp(lambda x: self.denoiser(x, sigma), x_t)
        A, T = self.A, self.A.T

        def spread(u: Array) -> Array:
            return sigma**2 * pull(T.mv(u))[0]

        u, residual = conjugate_gradients(lambda u: u + A.mv(spread(u)), self.y - A.mv(D), self.tolerance, self.steps)
        return Guidance(D + spread(u), D, residual)
