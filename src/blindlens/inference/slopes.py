"""What moves a lens, and a noisy image with it, along their log density: gradients at the price of a few images.

log p(y | l), with x = x0 + basis c and lens light integrated out, is the fit of the best source less log det P / 2,
P = H^T H + I the precision of c and the light's amplitudes. The best source solves P c = H^T b, and conjugate gradients
with P of a lens nearby get there in a few steps of one image each, where H itself has hundreds. The determinant's part
of the gradient is small, and hardly changes over a posterior: it is taken from elsewhere (`climb`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..sampler.flight import Forces, White
from .problem import Problem

STEPS, TOLERANCE = 32, 1e-5
"""Of the conjugate gradients, at the most: so precise that the lens nearby does not matter."""


class Slopes(NamedTuple):
    """Of log p(l, x_t | y) = log p(x_t) + f(eta, x_t): the gradients of f in eta (d,) and x_t (n, n); the score
    d log p/d x_t, (n, n).
    """

    by_eta: Array
    by_x: Array
    score: Array

    def forces(self, white: White) -> Forces:
        """The same in the coordinates of a flight."""
        zero = jnp.zeros_like(self.by_eta)
        return Forces(white.slope(self.by_eta, self.by_x), white.slope(zero, self.score))


def posterior_slopes(
    problem: Problem, basis: Array, L: Array, occam: Array, eta: Array, x0: Array
) -> tuple[Array, Array]:
    """Gradients of log p(y | l) + log p(l) in eta (d,) and x0 (n, n) for x = x0 + basis c, c ~ N(0, I).

    basis: (n*n, r), r >= 1. L: lower Cholesky factor of P at a lens nearby, (r + k, r + k). occam: gradient of
    -log det P / 2 in eta, (d,).
    """
    p, r = problem.params(eta), basis.shape[1]
    A, light = problem.linear(p).mv, problem.whitening(p) * problem.light_images(p)

    def H(c: Array) -> Array:
        return A((basis @ c[:r]).reshape(x0.shape)) + jnp.tensordot(c[r:], light, 1)

    transpose = jax.linear_transpose(H, jax.ShapeDtypeStruct(L.shape[:1], x0.dtype))
    b = problem.residual(eta, x0, jnp.zeros(len(L) - r, x0.dtype))
    c, _ = jax.scipy.sparse.linalg.cg(
        lambda c: c + transpose(H(c))[0],
        transpose(b)[0],
        tol=TOLERANCE,
        maxiter=STEPS,
        M=lambda c: jax.scipy.linalg.cho_solve((L, True), c),
    )

    def fit(eta: Array, x: Array) -> Array:
        chi2 = jnp.sum(problem.residual(eta, x, c[r:]) ** 2)
        return -chi2 / 2 - problem.log_det(problem.params(eta)) - jnp.sum(eta**2) / 2

    by_eta, by_x = jax.grad(fit, (0, 1))(eta, x0 + (basis @ c[:r]).reshape(x0.shape))
    return by_eta + occam, by_x
