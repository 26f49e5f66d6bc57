"""What moves a lens, and a noisy image with it, along their log density.

log p(y | l), with x = x0 + basis c integrated out, is the fit of the best source less log det P / 2, P = H^T H + I the
precision of c. The best source solves P c = H^T b, and conjugate gradients with P of a lens nearby get there in a few
steps of one image each, where H itself has hundreds: gradients at the price of a few images (`quick_slopes`). The
determinant's part is small, and changes little where a flight goes: it is taken from elsewhere (`climb`). With lens
light flights by such forces had to take shorter steps, and all of the gradient is computed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..sampler.flight import Forces, White
from .problem import Problem, condition

STEPS, TOLERANCE = 32, 1e-5
"""Of the conjugate gradients, at the most; relative, in the norm of their preconditioner. So precise that the lens
nearby does not matter."""


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
    A = problem.linear(problem.params(eta))
    y = problem.residual(eta, jnp.zeros_like(x0), jnp.zeros(0, x0.dtype))

    # the conjugate gradients begin at x = 0, and their first step is to x0: A and A^T stand once in the program, which
    # takes seconds less to compile than a library's with a start beside its loop
    def unfinished(carry):
        *_, size, first, k = carry
        return (k <= STEPS) & (size > TOLERANCE**2 * first)

    def step(carry):
        x, c, left, _, p, size, first, k = carry
        image = jnp.where(k == 0, x0, (basis @ p).reshape(x0.shape))
        moved = A.mv(image)
        length = jnp.where(k == 0, 1.0, size / (jnp.sum(moved**2) + jnp.sum(p**2)))
        c, left, x = c + length * p, left - length * moved, x + length * image
        by_x = A.T.mv(left)
        s = basis.T @ by_x.ravel() - c
        z = jax.scipy.linalg.cho_solve((L, True), s)
        new = s @ z
        p = z + jnp.where(k == 0, 0.0, new / size) * p
        return x, c, left, by_x, p, new, jnp.where(k == 0, new, first), k + 1

    blank, nothing, one = jnp.zeros_like(x0), jnp.zeros_like(L[0]), jnp.ones((), x0.dtype)
    start = (blank, nothing, y, blank, nothing, one, one, 0)
    x, _, _, by_x, *_ = jax.lax.while_loop(unfinished, step, start)

    def fit(eta: Array) -> Array:
        chi2 = jnp.sum(problem.residual(eta, x, jnp.zeros(0, x.dtype)) ** 2)
        return -chi2 / 2 - problem.log_det(problem.params(eta)) - jnp.sum(eta**2) / 2

    return jax.grad(fit)(eta) + occam, by_x
