"""What moves a lens, and a noisy image with it, along their log density."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..sampler.flight import Forces, White
from .problem import Problem, condition


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
