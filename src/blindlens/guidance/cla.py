"""Convolved likelihood approximation (Remy et al. 2023; Adam et al. 2022): the noise of x_t is the data's too."""

from collections.abc import Callable

from jax import Array

from ..linear import LinearOperator
from .guided import Guidance, Guided
from .solvers import ConjugateGradients, Solver
from .variances import Variance


class CLA(Guided):
    """p(y | x_t) ~ N(y; A x_t, I + r_t^2 A A^T); its score is A^T (I + r_t^2 A A^T)^-1 (y - A x_t).

    Derived with r_t^2 = sigma^2 for a prior much wider than the noise. No gradient goes through the denoiser.
    """

    denoiser: Callable[[Array, Array], Array]
    A: LinearOperator
    y: Array
    variance: Variance
    solver: Solver = ConjugateGradients()

    def evaluate(self, x_t: Array, sigma: Array) -> Guidance:
        D = self.denoiser(x_t, sigma)
        back, residual = self.solver(self.A, self.variance(sigma), self.y - self.A.mv(x_t))
        return Guidance(D + sigma**2 * back, D, residual)
