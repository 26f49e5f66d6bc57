"""Split Gibbs with ridge moves: the default joint sampler, for any Denoiser.

The target, with z the source that the data see and x the source of the prior,

    pi(x, z, l) ∝ p(x) p(l) N(z; x, rho^2 I) N(y~; A~_l z, I),

is sampled by three exact steps a sweep:

- x | z: the prior's own reverse diffusion from z at noise level rho;
- z | x, l: Gaussian, by perturb-and-optimise with conjugate gradients;
- ridge moves of lens and source together: in a surrogate Gaussian prior x = x0 + basis c the source integrates out,
  p(l | y) is known, and c = mean(l) + L(l)^-T u. The lens moves at fixed u, so the source follows it; then u is
  redrawn.

If the prior is Gaussian it is its own surrogate, the ridge moves take x with z - x held, and every one of them is
exact. Another prior has no density at hand, but p_rho(z) = int p(x) N(z; x, rho^2 I) dx has a score, which is what its
network was trained for: the ridge moves then take z with x integrated out, and are accepted on p_rho(z')/p_rho(z), a
line integral of that score, over the surrogate's ratio. What is sampled is then the posterior under p_rho: the prior
with white noise of rho in the source's pixels.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import SplitGibbsConfig
from ..prior import Denoiser, GaussianPrior
from ..sampler.diffusion import reverse_sde
from ..sampler.kernels import Info, Mixture, State, init, jump, metropolis, propose, rotate
from .evidence import Evidence
from .parallel import spread
from .problem import Problem, condition, draw


class Chain(NamedTuple):
    """eta (d,), source x (n, n), nu = z - x (n, n), light amplitudes a (k,). Of other priors x is z, and nu is 0."""

    eta: Array
    x: Array
    nu: Array
    a: Array


class SweepInfo(NamedTuple):
    """Statistics of a sweep: log_evidence of l under the surrogate, chi2 per pixel, acceptances, CG residual."""

    log_evidence: Array
    chi2_per_pixel: Array
    acceptance: Array
    jump_acceptance: Array
    translation_acceptance: Array
    source_acceptance: Array
    cg_residual: Array


class Tuning(NamedTuple):
    """What warm-up adapts, one a chain: reference mean (d,), factor (d, d), angle of `rotate`, size of source moves."""

    mean: Array
    factor: Array
    angle: Array
    beta: Array


def log_smoothed_ratio(denoiser: Denoiser, z1: Array, z0: Array, rho: Array | float, nodes: int = 4) -> Array:
    """log p_rho(z1) - log p_rho(z0) by the line integral of the score at sigma = rho.

    int_0^1 <score(z0 + s (z1 - z0), rho), z1 - z0> ds by Gauss-Legendre quadrature: one batched denoiser call.
    """
    s, w = np.polynomial.legendre.leggauss(nodes)
    path = z0 + jnp.asarray((s + 1) / 2, z0.dtype)[:, None, None] * (z1 - z0)
    return jnp.sum(jnp.asarray(w / 2, z0.dtype)[:, None, None] * denoiser.score(path, rho) * (z1 - z0))


def translate(key: Array, state: State, model: Evidence) -> tuple[State, Info]:
    """The source's field moves by up to one of its pixels a side: what the pixel grid cannot tell apart."""
    step_key, accept_key = jax.random.split(key)
    steps = jax.random.randint(step_key, (2,), -1, 2)
    position, inside = model.problem.translated(state.position, steps[0], steps[1])
    # uniform in (xs, ys): the density of eta must not count the prior's shape
    factor = (jnp.sum(position**2) - jnp.sum(state.position**2)) / 2
    return propose(accept_key, state, model.log_posterior, position, jnp.where(inside, factor, -jnp.inf))


class SplitGibbs(eqx.Module):
    """The sampler for one problem. surrogate None: the prior is Gaussian and is its own surrogate.

    basis, dual: the directions of the source that follow the lens (`informed`); ridge moves hold the rest.
    """

    problem: Problem
    prior: Denoiser
    surrogate: GaussianPrior | None
    basis: Array
    dual: Array
    mixture: Mixture
    stage: SplitGibbsConfig = eqx.field(static=True)

    @property
    def source_steps(self) -> int:
        return 0 if self.surrogate is None else self.stage.source_steps

    @property
    def gaussian(self) -> GaussianPrior:
        return self.prior if self.surrogate is None else self.surrogate  # type: ignore[return-value]

    def _coefficients(self, x: Array) -> Array:
        return self.dual.T @ (x - self.gaussian.mean).ravel()

    def _image(self, c: Array) -> Array:
        return (self.basis @ c).reshape(self.gaussian.mean.shape)

    def _log_weight(self, new: tuple[Array, Array], old: tuple[Array, Array], rho: Array) -> Array:
        """log w(z1)/w(z0), w = p_rho / G, for (z, c) each: under G, c ~ N(0, I), and the rest of z is held."""
        (z1, c1), (z0, c0) = new, old
        return log_smoothed_ratio(self.prior, z1, z0, rho) + (jnp.sum(c1**2) - jnp.sum(c0**2)) / 2

    def ridge(
        self, key: Array, chain: Chain, tuning: Tuning, rho: Array, local: Array
    ) -> tuple[Chain, tuple[Array, ...]]:
        """Lens and source move together; nu and the part of x outside the basis are held. local: with an HMC move."""
        r = self.basis.shape[1]
        c = jnp.concatenate([self._coefficients(chain.x), chain.a])
        rest = chain.x - self._image(c[:r])
        model = Evidence(self.problem, self.basis, rest + chain.nu)
        counts = (1, self.stage.jumps, self.stage.translations)
        moves = sum(counts)
        keys = jax.random.split(key, moves + self.source_steps + 1)

        def solve(eta):
            return condition(*self.problem.system(eta, self.basis, model.x0))

        def source(eta, u):
            _, mean, L = solve(eta)
            c = mean + jax.scipy.linalg.solve_triangular(L, u, trans="T", lower=True)
            return rest + self._image(c[:r]), c[:r]

        state = init(chain.eta, model.log_posterior)
        exact = self.surrogate is None
        if not exact:
            _, mean, L = solve(chain.eta)
            u = L.T @ (c - mean)
        x = (chain.x, c[:r])

        def move(carry, inputs):
            state, x = carry
            key, kind = inputs
            move_key, accept_key = jax.random.split(key)
            target = model.log_posterior
            proposal, info = jax.lax.switch(
                kind,
                (
                    lambda: jax.lax.cond(
                        local,
                        lambda: rotate(
                            move_key, state, target, tuning.mean, tuning.factor, tuning.angle, self.stage.leaps
                        ),
                        lambda: (state, Info(jnp.asarray(jnp.nan), jnp.asarray(False))),
                    ),
                    lambda: jump(move_key, state, target, self.mixture),
                    lambda: translate(move_key, state, model),
                ),
            )
            if not exact:
                # a chain reversible for the surrogate's posterior, thinned by the exact ratio of the priors
                new_x = source(proposal.position, u)
                (proposal, x), second = metropolis(
                    accept_key, (proposal, new_x), (state, x), self._log_weight(new_x, x, rho)
                )
                info = info._replace(acceptance=info.acceptance * second.acceptance)
            return (proposal, x), info.acceptance

        kinds = np.repeat(np.arange(3), counts)
        (state, x), acceptance = jax.lax.scan(move, (state, x), (keys[:moves], kinds))
        eta = state.position
        _, mean, L = solve(eta)
        if exact:
            c = draw(keys[-1], mean, L)
            source_acceptance = jnp.ones(())
        else:

            def redraw(carry, key):
                u, x = carry
                noise_key, accept_key = jax.random.split(key)
                xi = jax.random.normal(noise_key, u.shape, u.dtype)
                new_u = jnp.sqrt(1 - tuning.beta**2) * u + tuning.beta * xi
                new_c = mean + jax.scipy.linalg.solve_triangular(L, new_u, trans="T", lower=True)
                new_x = (rest + self._image(new_c[:r]), new_c[:r])
                (u, x), info = metropolis(accept_key, (new_u, new_x), (u, x), self._log_weight(new_x, x, rho))
                return (u, x), info.acceptance

            (u, _), accepted = jax.lax.scan(redraw, (u, x), keys[moves:-1])
            c = mean + jax.scipy.linalg.solve_triangular(L, u, trans="T", lower=True)
            source_acceptance = jnp.mean(accepted)
        log_evidence = state.logdensity + jnp.sum(eta**2) / 2
        chain = Chain(eta, rest + self._image(c[:r]), chain.nu, c[r:])
        by_kind = [jnp.mean(acceptance[kinds == k]) if n else jnp.zeros(()) for k, n in enumerate(counts)]
        return chain, (log_evidence, *by_kind, source_acceptance)

    def data_step(self, key: Array, chain: Chain, rho: Array) -> tuple[Chain, Array]:
        """z | x, l by perturb-and-optimise; returns the relative residual of the linear solve too."""
        problem, n = self.problem, self.prior.n
        forward = problem.whitened(chain.eta)
        adjoint = jax.linear_transpose(forward, jax.ShapeDtypeStruct((n, n), chain.x.dtype))
        prior_key, data_key = jax.random.split(key)
        start = chain.x + rho * jax.random.normal(prior_key, (n, n), chain.x.dtype)
        noise = jax.random.normal(data_key, problem.y.shape, chain.x.dtype) * (problem.weight > 0)
        right = rho**2 * adjoint(problem.residual(chain.eta, start, chain.a) + noise)[0]

        def normal(v):
            return v + rho**2 * adjoint(forward(v))[0]

        step, _ = jax.scipy.sparse.linalg.cg(normal, right, tol=self.stage.cg_tolerance, maxiter=self.stage.cg_steps)
        residual = jnp.linalg.norm(normal(step) - right) / jnp.linalg.norm(right)
        return chain._replace(nu=start + step - chain.x), residual

    def prior_step(self, key: Array, chain: Chain, rho: Array) -> Chain:
        """x | z by the prior alone, with z held."""
        z = chain.x + chain.nu
        if isinstance(self.prior, GaussianPrior):
            x = self.prior.posterior_sample(key, z, rho)
        else:
            x = reverse_sde(key, self.prior, z, rho, self.stage.diffusion_steps)
        return chain._replace(x=x, nu=z - x)

    def sweep(self, key: Array, chain: Chain, tuning: Tuning, rho: Array, local: Array) -> tuple[Chain, SweepInfo]:
        """Ridge moves, then the two steps between x and z."""
        ridge_key, data_key, prior_key = jax.random.split(key, 3)
        chain, (log_evidence, acceptance, jumped, translated, source) = self.ridge(ridge_key, chain, tuning, rho, local)
        if self.surrogate is not None:
            chain, residual = self.data_step(data_key, self.prior_step(prior_key, chain, rho), rho)
            chain = chain._replace(x=chain.x + chain.nu, nu=jnp.zeros_like(chain.nu))
        else:
            chain, residual = self.data_step(data_key, chain, rho)
        chi2 = self.problem.chi2(chain.eta, chain.x + chain.nu, chain.a)
        info = SweepInfo(log_evidence, chi2, acceptance, jumped, translated, source, residual)
        return chain if self.surrogate is not None else self.prior_step(prior_key, chain, rho), info

    @eqx.filter_jit
    def run(self, keys: Array, chains: Chain, tuning: Tuning, rhos: Array, adapt: Array):
        """`rhos.size` sweeps of every chain; keys (K,). Returns the chains, tuning, traces (K, sweeps, ...)."""

        def one(shared, item):
            sampler, rhos, adapt = shared
            key, chain, tuning = item

            def step(carry, inputs):
                chain, tuning = carry
                key, rho, i = inputs
                # counted from the end: then the kept draws of a thinned trace hold the acceptance too
                local = (rhos.size - 1 - i) % sampler.stage.local_every == 0
                chain, info = sampler.sweep(key, chain, tuning, rho, local)
                gain = jnp.where(adapt, 0.5 / jnp.sqrt(1.0 + i), 0.0)
                angle = tuning.angle * jnp.exp(jnp.where(local, gain * (info.acceptance - 0.65), 0.0))
                beta = tuning.beta * jnp.exp(gain * (info.source_acceptance - 0.4))
                tuning = tuning._replace(angle=jnp.clip(angle, 0.02, jnp.pi / 2), beta=jnp.clip(beta, 1e-3, 1.0))
                return (chain, tuning), (chain, info)

            inputs = (jax.random.split(key, rhos.size), rhos, jnp.arange(rhos.size))
            (chain, tuning), trace = jax.lax.scan(step, (chain, tuning), inputs)
            return chain, tuning, trace

        return spread(one, (self, rhos, adapt), (keys, chains, tuning))


@eqx.filter_jit
def gain_bound(problem: Problem, eta: Array, n: int, steps: int = 20) -> Array:
    """lambda_max(A~ A~^T) at eta by power iteration: rho^2 times it is the bias left at rho."""
    forward = problem.whitened(eta)
    adjoint = jax.linear_transpose(forward, jax.ShapeDtypeStruct((n, n), problem.y.dtype))

    def step(_, carry):
        v, _ = carry
        w = adjoint(forward(v / jnp.linalg.norm(v)))[0]
        return w, jnp.linalg.norm(w)

    start = jnp.ones((n, n), problem.y.dtype)
    return jax.lax.fori_loop(0, steps, step, (start, jnp.zeros((), problem.y.dtype)))[1]
