"""Joint sampling with a prior that only has a denoiser, in the coordinates of its probability flow.

The flow carries x_t ~ p_sigma, the sources with noise, to sources x = Phi(x_t) ~ p without any randomness: it is a
change of variables. So p(l, x | y) is

    p(l, x_t | y) ∝ p_sigma(x_t) p(l) p(y | l, Phi(x_t)),

in which nothing is approximated but the flow, by its finite steps and its end, if the denoiser is that of a prior. No
direction of the first factor is stiffer than 1/sigma^2. Its gradient is known, and its changes are that gradient's work
(`sampler.flight`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import LatentConfig
from ..prior import Denoiser
from ..sampler.diffusion import probability_flow
from ..sampler.flight import Forces, Kind, Place, White, flights
from .evidence import Evidence
from .gauge import regauged
from .parallel import spread, taken
from .problem import Problem, condition
from .slopes import Slopes, posterior_slopes


class Point(NamedTuple):
    """eta (d,), x_t (n, n)."""

    eta: Array
    x_t: Array


class Seen(NamedTuple):
    """At the end of a sweep: the source x (n, n), light amplitudes a (k,), chi2 per pixel; acceptance of flights; of
    the source's translations and growth, (2,).
    """

    x: Array
    a: Array
    chi2_per_pixel: Array
    acceptance: Array
    gauge_acceptance: Array


class Latent(eqx.Module):
    """The sampler for one problem, or for several of one kind, stacked. probes: Q, (n*n, k), the directions in which
    the data may be stiff.
    """

    problem: Problem
    prior: Denoiser
    probes: Array
    stage: LatentConfig = eqx.field(static=True)

    def source(self, x_t: Array) -> tuple[Array, Array]:
        """x = Phi(x_t), and E[x | x_t], (n, n) each."""
        _, D, x = probability_flow(self.prior, x_t, self.stage.sigma, self.stage.end, self.stage.steps)
        return x, D

    def latent(self, key: Array, x: Array) -> Array:
        """An x_t with Phi(x_t) = x but for noise of `end`: the flow the other way."""
        noise = self.stage.end * jax.random.normal(key, x.shape, x.dtype)
        return probability_flow(self.prior, x + noise, self.stage.end, self.stage.sigma, 2 * self.stage.steps)[0]

    @property
    def nothing(self) -> Array:
        """A basis for a source that is known."""
        return jnp.zeros((self.prior.n**2, 1), self.problem.y.dtype)

    def slopes(self, eta: Array, x_t: Array) -> Slopes:
        """Of log p(l, x_t | y)."""
        x, pull, D = jax.vjp(self.source, x_t, has_aux=True)
        by_eta, by_x = posterior_slopes(self.problem, self.nothing, eta, x)
        return Slopes(by_eta, pull(by_x)[0], (D - x_t) / self.stage.sigma**2)

    def metric(self, eta: Array, x_t: Array) -> Array:
        """The precision of (eta, x_t/sigma) about a point, along eta and Q, (d + k, d + k): that of the image, lens
        light integrated out, plus the priors'.

        Along x_t the image is taken to change as if p(x | x_t) were the Gaussian of its moments: dPhi = J^(1/2) with
        J = dD/dx_t, whose part along Q is made symmetric and positive; the prior's stiffness there is 1 - J.
        """
        problem, Q, sigma, d = self.problem, self.probes, self.stage.sigma, len(eta)
        push = jax.linearize(lambda x_t: self.prior(x_t, sigma), x_t)[1]
        Y = jax.lax.map(lambda q: push(q.reshape(x_t.shape)).ravel(), Q.T, batch_size=16).T
        inner = Q.T @ Y
        share, U = jnp.linalg.eigh((inner + inner.T) / 2)
        root = U * jnp.sqrt(jnp.maximum(share, 0.0))
        x, _ = self.source(x_t)
        b, H = problem.system(eta, Q @ root, x)
        _, c, factor = condition(b, H[:, Q.shape[1] :]) if problem.light is not None else (0.0, jnp.zeros(0), None)
        along_eta = jax.jacfwd(lambda eta: problem.residual(eta, x, c).ravel())(eta)
        F = jnp.concatenate([-along_eta, sigma * H[:, : Q.shape[1]] @ U.T], 1)
        P = F.T @ F
        if problem.light is not None:
            half = jax.scipy.linalg.solve_triangular(factor, H[:, Q.shape[1] :].T @ F, lower=True)
            P = P - half.T @ half
        P = P.at[:d, :d].add(jnp.eye(d, dtype=P.dtype))
        P = P.at[d:, d:].add((U * jnp.maximum(1 - share, LEAST)) @ U.T)
        return (P + P.T) / 2

    def log_likelihood(self, eta: Array, x_t: Array) -> Array:
        """log p(y | l, Phi(x_t)), lens light integrated out."""
        return Evidence(self.problem, self.nothing, self.source(x_t)[0]).log_evidence(eta)

    def sweep(self, key: Array, point: Point, L: Array, angle: Array, adapt: Array) -> tuple[Point, Seen, Array]:
        """Translations, then flights. L: what `White` calls so. The last result is `metric` where flights begin, if
        `adapt`.
        """
        light_key, gauge_key, fly_key = jax.random.split(key, 3)

        stage, sigma = self.stage, jnp.asarray(self.stage.sigma, point.x_t.dtype)
        gauge_keys = jax.random.split(gauge_key, stage.translations)
        eta, x_t, moved = regauged(gauge_keys, *point, sigma, self.problem, self.prior, self.log_likelihood)
        P = jax.lax.cond(adapt, lambda: self.metric(eta, x_t), lambda: jnp.zeros_like(L))
        white = White(L, self.probes, sigma)

        def f(w: Array) -> Array:
            eta, x_t = white.at(w)
            return self.log_likelihood(eta, x_t) - jnp.sum(eta**2) / 2

        def forces(w: Array, whole: Array) -> Forces:
            return self.slopes(*white.at(w)).forces(white)

        fly_keys, each = jax.random.split(fly_key, stage.moves), jnp.ones(stage.moves, int)
        kinds = Kind(angle * each, stage.leaps * each, each > 0)
        w = white.of(eta, x_t)
        w, acceptance = flights(fly_keys, Place(w, f(w)), f, forces, kinds, len(eta))
        eta, x_t = white.at(w)
        x, _ = self.source(x_t)
        a = jnp.zeros(0, x_t.dtype)
        if self.problem.light is not None:
            a = Evidence(self.problem, self.nothing, x).source(light_key, eta)[1]
        return Point(eta, x_t), Seen(x, a, self.problem.chi2(eta, x, a), jnp.mean(acceptance), moved), P

    @eqx.filter_jit
    def begin(self, keys: Array, x: Array) -> Array:
        """x_t for sources x, (K, n, n)."""
        return spread(lambda sampler, item: sampler.latent(*item), self, (keys, x))

    @eqx.filter_jit
    def run(
        self, keys: Array, points: Point, which: Array, L: Array, angles: Array, adapt: Array
    ) -> tuple[Point, Seen, Array]:
        """A sweep of every chain, of a stack of problems. keys (K,); which: the chain's problem, (K,); L by problem;
        angles (K,).
        """

        def one(shared, item):
            many, L, adapt = shared
            key, point, which, angle = item
            problem, probes, L = taken((many.problem, many.probes, L), which)
            return Latent(problem, many.prior, probes, many.stage).sweep(key, point, L, angle, adapt)

        return spread(one, (self, L, adapt), (keys, points, which, angles))


def factored(metrics: np.ndarray) -> np.ndarray:
    """L of `White`, lower, for means of metrics, (..., m, m): where the data are good, single precision leaves their
    least eigenvalues unknown or below zero; they become LEAST.
    """
    lam, v = np.linalg.eigh(metrics)
    return np.linalg.cholesky((v * np.maximum(lam, LEAST)[..., None, :]) @ np.swapaxes(v, -1, -2))


LEAST = 0.03
"""Of the prior's stiffness in the metric, in units of 1/sigma^2."""
