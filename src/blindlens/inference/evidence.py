"""The exact evidence: with a Gaussian prior the source integrates out and 12 numbers remain.

p(y | l) = N(y~; A~ mu, A~ S A~^T + I)  (Suyu et al. 2006, generalised to any Gaussian prior and linear lens light);
x | l, y is Gaussian.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from ..prior import GaussianPrior
from .parallel import in_turns, spread
from .problem import Problem, condition, draw


class Evidence(eqx.Module):
    """log p(y | l) as a function of eta, for the Gaussian prior x = x0 + basis c, c ~ N(0, I); basis: (n*n, r)."""

    problem: Problem
    basis: Array
    x0: Array

    def conditioned(self, eta: Array) -> tuple[Array, Array]:
        """`log_evidence`, and the lower Cholesky factor of the precision of c | l, y; eta: (d,)."""
        p = self.problem.params(eta)
        value, _, L = condition(*self.problem.system_at(p, self.basis, self.x0))
        return value - self.problem.log_det(p), L

    def log_evidence(self, eta: Array) -> Array:
        """log p(y | l) without the constant -N/2 log(2 pi); eta: (d,)."""
        return self.conditioned(eta)[0]

    def log_posterior(self, eta: Array) -> Array:
        """log p(y | l) + log N(eta; 0, I), unnormalised."""
        return self.log_evidence(eta) - jnp.sum(eta**2) / 2

    def source(self, key: Array, eta: Array) -> tuple[Array, Array]:
        """An exact draw of (x, a) | l, y: (n, n) in model units and (k,) light amplitudes."""
        _, c, L = condition(*self.problem.system(eta, self.basis, self.x0))
        return self.unpack(draw(key, c, L))

    def unpack(self, c: Array) -> tuple[Array, Array]:
        r = self.basis.shape[1]
        return self.x0 + (self.basis @ c[:r]).reshape(self.x0.shape), c[r:]


class Mode(NamedTuple):
    """A local maximum of the lens posterior with its Laplace approximation.

    eta: (d,); factor: lower Cholesky factor of the covariance, (d, d); log_posterior at the maximum.
    """

    eta: Array
    factor: Array
    log_posterior: Array


def fisher(evidence: Evidence, eta: Array) -> Array:
    """The marginal Fisher matrix at eta, J^T V^-1 J + I, (d, d).

    J: derivative of the model image at the posterior mean source; V = H H^T + I: noise plus the source's own freedom.
    """
    problem = evidence.problem
    b, H = problem.system(eta, evidence.basis, evidence.x0)
    _, c, L = condition(b, H)
    x, a = evidence.unpack(c)
    J = jax.vmap(lambda t: jax.jvp(lambda e: problem.residual(e, x, a).ravel(), (eta,), (t,))[1])(
        jnp.eye(eta.size, dtype=eta.dtype)
    )
    half = jax.scipy.linalg.solve_triangular(L, (J @ H).T, lower=True)
    return J @ J.T - half.T @ half + jnp.eye(eta.size, dtype=eta.dtype)


@eqx.filter_jit
def _slopes(evidence: Evidence, eta: Array) -> Array:
    """Gradients of the log posterior, (K, d)."""
    return spread(lambda evidence, eta: jax.grad(evidence.log_posterior)(eta), evidence, eta)


def curved(evidence: Evidence, mode: Mode, reach: float = 1.5, least: float = 0.1) -> Mode:
    """The mode with the curvature that gradients `reach` standard deviations to either side show.

    The Fisher matrix takes the image for linear in lens and source together. Where it is not, as along the slope with
    the source's size and place, the posterior is wider. The precision becomes `least` of the Fisher
    matrix's at the least.
    """
    d, F = mode.eta.size, np.asarray(mode.factor, np.float64)
    ends = np.concatenate([-F.T, F.T]) * reach + np.asarray(mode.eta, np.float64)
    slopes = np.asarray(_slopes(evidence, jnp.asarray(ends, mode.eta.dtype)), np.float64)
    H = (slopes[:d] - slopes[d:]) @ F / (2 * reach)
    if not np.isfinite(H).all():
        return mode
    size, axes = np.linalg.eigh((H + H.T) / 2)
    covariance = F @ (axes / np.maximum(size, least)) @ axes.T @ F.T
    return mode._replace(factor=jnp.asarray(np.linalg.cholesky(covariance), mode.factor.dtype))


def climb(evidence: Evidence, eta: Array, steps: int | Array, settled: float = 1e-2) -> Mode:
    """A maximum of the log posterior, with the marginal Fisher matrix there as the curvature: Levenberg-Marquardt from
    eta (d,) with that matrix; never lower than where it began.

    Ends after `steps` steps, or when two accepted steps in succession gain less than `settled` nats each. Where the log
    posterior is not finite at eta, it stays -inf.
    """
    value_and_grad = jax.value_and_grad(evidence.log_posterior)

    def unfinished(carry):
        *_, i, small = carry
        return (i <= steps) & (small < 2)

    def step(carry):
        eta, value, grad, F, damping, i, small = carry
        move = jnp.linalg.solve(F + damping * jnp.diag(jnp.diagonal(F)), grad)
        length = jnp.linalg.norm(move)
        trial = eta + move * jnp.minimum(1.0, 1.0 / length)
        new_value, new_grad = value_and_grad(trial)
        better = new_value > value
        small = jnp.where(better, jnp.where(new_value - value < settled, small + 1, 0), small)
        # where even the shortest steps only lose, rounding hides what is left to gain
        small = jnp.where(damping > 1e4, 2, small)
        F = jax.lax.cond(better, lambda: fisher(evidence, trial), lambda: F)
        damping = jnp.where(better, jnp.maximum(damping / 5, 1e-4), damping * 6)
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        return (pick(trial, eta), pick(new_value, value), pick(new_grad, grad), F, damping, i + 1, small)

    # the first step goes nowhere and is better than nothing: a program with every derivative once, not twice
    nothing = (jnp.asarray(-jnp.inf, eta.dtype), jnp.zeros_like(eta), jnp.eye(eta.size, dtype=eta.dtype))
    start = (eta, *nothing, jnp.asarray(0.05, eta.dtype), 0, 0)
    eta, value, _, F, *_ = jax.lax.while_loop(unfinished, step, start)
    lam, v = jnp.linalg.eigh(F)
    covariance = (v / jnp.maximum(lam, 1.0)) @ v.T  # the prior alone gives curvature 1
    return Mode(eta, jnp.linalg.cholesky(covariance), value)


class Informed(NamedTuple):
    """The directions of the source that the data inform: x = rest + basis c with c = dual^T (x - mean) ~ N(0, I).

    basis, dual: (n*n, k). Under the prior `rest` is independent of c. tail: at most what the evidence loses with it.
    """

    basis: Array
    dual: Array
    tail: float

    def rest(self, key: Array, prior: GaussianPrior, count: int) -> Array:
        """Draws of `rest` less its mean under the prior, (count, n, n)."""
        g = (prior.sample(key, (count,)) - prior.mean).reshape(count, -1)
        return (g - (g @ self.dual) @ self.basis.T).reshape(count, *prior.mean.shape)


@eqx.filter_jit
def log_posterior(evidence: Evidence, eta: Array) -> Array:
    """Evidence.log_posterior, compiled once for all problems of a size."""
    return evidence.log_posterior(eta)


@eqx.filter_jit
def sources(evidence: Evidence, keys: Array, eta: Array) -> tuple[Array, Array]:
    """Exact draws of x (N, n, n) and a (N, k) given the lenses (N, d)."""
    return jax.lax.map(lambda args: evidence.source(*args), (keys, eta))


@eqx.filter_jit
def scatter(evidence: Evidence, eta: Array) -> Array:
    """Standard deviation of the prior's sources in each pixel, in units of the noise, (ny, nx)."""
    H = evidence.problem.system(eta, evidence.basis, evidence.x0)[1][:, : evidence.basis.shape[1]]
    return jnp.sqrt(jnp.sum(H**2, 1)).reshape(evidence.problem.operator.shape)


@eqx.filter_jit
def grams(evidence: Evidence, eta: Array) -> Array:
    """H^T H of the source's columns at several lenses, (K, d) to (K, r, r)."""

    def gram(evidence: Evidence, eta: Array) -> Array:
        H = evidence.problem.system(eta, evidence.basis, evidence.x0)[1][:, : evidence.basis.shape[1]]
        return H.T @ H

    return spread(gram, evidence, eta)


def informed(evidence: Evidence, modes: Array, tail: float, most: int) -> Informed:
    """The fewest prior directions that hold all but `tail` of the data's information about the source.

    evidence: with orthogonal basis columns (those of a GaussianPrior). modes: eta (K, d). With H(l)^T H(l) = U D U^T, a
    direction of D_i is worth log(1 + D_i)/2 nats of the evidence, at most D_i/2; U comes from the mean over the modes.
    At most `most` directions are kept, whatever the tail is then; and in single precision D is known to 1e-6 of its
    largest value only, so that a direction below that is not counted.
    """
    r = evidence.basis.shape[1]
    total = in_turns(grams, evidence, modes).mean(0, np.float64)
    D, U = scipy.linalg.eigh(total, subset_by_index=(max(0, r - most), r - 1))
    D, U = np.maximum(D[::-1], 0), U[:, ::-1]
    D[1e-6 * D[0] > D] = 0
    left = np.maximum(np.trace(total) - np.append(0.0, np.cumsum(D)), 0.0)
    k = max(1, int(np.argmax(left <= tail)) if left[-1] <= tail else len(D))
    basis = np.asarray(evidence.basis, np.float64)
    rotated = basis @ U[:, :k]
    dual = (basis / np.sum(basis**2, 0)) @ U[:, :k]
    f32 = evidence.basis.dtype
    return Informed(jnp.asarray(rotated, f32), jnp.asarray(dual, f32), float(left[k]) / 2)
