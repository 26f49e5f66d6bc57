"""What moves a lens, and a noisy image with it, along their log density.

log p(y | l), with x = x0 + basis c integrated out, is the fit of the best source less log det P / 2, P = H^T H + I the
precision of c. The best source solves P c = H^T b, and conjugate gradients with P of a lens nearby get there in a few
steps of one image each, where H itself has hundreds: gradients at the price of a few images (`quick_slopes`). The
determinant's part is small, and changes little where a flight goes: it is taken from elsewhere (`climb`). With lens
light flights by such forces were hardly accepted, for a reason that is not known, and all of the gradient is computed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..sampler.flight import Forces, White
from .problem import Problem, condition

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


def posterior_slopes(problem: Problem, basis: Array, eta: Array, x0: Array) -> tuple[Array, Array]:
    """Gradients of log p(y | l) + log p(l) in eta (d,) and x0 (n, n) for x = x0 + basis c, c ~ N(0, I), with lens light
    integrated out. basis: (n*n, r), r >= 1.
    """

    def log_posterior(eta: Array) -> tuple[Array, Array]:
        p = problem.params(eta)
        value, c, _ = condition(*problem.system_at(p, basis, x0))
        return value - problem.log_det(p) - jnp.sum(eta**2) / 2, c

    by_eta, c = jax.grad(log_posterior, has_aux=True)(eta)
    r = basis.shape[1]
    x, a = x0 + (basis @ c[:r]).reshape(x0.shape), c[r:]
    # V^-1 (y~ - A~ x0) is what the posterior mean of x leaves
    return by_eta, problem.linear(problem.params(eta)).T.mv(problem.residual(eta, x, a))


def quick_slopes(problem: Problem, basis: Array, L: Array, occam: Array, eta: Array, x0: Array) -> tuple[Array, Array]:
    """`posterior_slopes` without lens light, but for what the determinant's gradient differs from occam.

    L: lower Cholesky factor of P at a lens nearby, (r, r). occam: gradient of -log det P / 2 in eta, (d,).
    """
    no_light = jnp.zeros(0, x0.dtype)
    A = problem.linear(problem.params(eta)).mv
    H = lambda c: A((basis @ c).reshape(x0.shape))  # noqa: E731
    transpose = jax.linear_transpose(H, jax.ShapeDtypeStruct(L.shape[:1], x0.dtype))
    c, _ = jax.scipy.sparse.linalg.cg(
        lambda c: c + transpose(H(c))[0],
        transpose(problem.residual(eta, x0, no_light))[0],
        tol=TOLERANCE,
        maxiter=STEPS,
        M=lambda c: jax.scipy.linalg.cho_solve((L, True), c),
    )

    def fit(eta: Array, x: Array) -> Array:
        chi2 = jnp.sum(problem.residual(eta, x, no_light) ** 2)
        return -chi2 / 2 - problem.log_det(problem.params(eta)) - jnp.sum(eta**2) / 2

    by_eta, by_x = jax.grad(fit, (0, 1))(eta, x0 + (basis @ c).reshape(x0.shape))
    return by_eta + occam, by_x
