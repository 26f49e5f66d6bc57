"""Pseudo-inverse guidance (PiGDM; Song et al., ICLR 2023): x given x_t is a Gaussian of one variance round D."""

from collections.abc import Callable

import jax
from jax import Array

from ..linear import LinearOperator
from .guided import Guidance, Guided
from .solvers import ConjugateGradients, Solver
from .variances import Variance


class PiGDM(Guided):
    """p(y | x_t) ~ N(y; A D, I + r_t^2 A A^T); its score is (dD/dx_t)^T A^T (I + r_t^2 A A^T)^-1 (y - A D).

    The covariance's own dependence on x_t is left out, as in the paper. One gradient through the denoiser a call.
    """

    denoiser: Callable[[Array, Array], Array]
    A: LinearOperator
    y: Array
    variance: Variance
    solver: Solver = ConjugateGradients()

    def evaluate(self, x_t: Array, sigma: Array) -> Guidance:
        D, pull = jax.vjp(lambda x: self.denoiser(x, sigma), x_t)
        back, residual = self.solver(self.A, self.variance(sigma), self.y - self.A.mv(D))
        return Guidance(D + sigma**2 * pull(back)[0], D, residual)
