"""Joint sampling with a prior that only has a denoiser: noise is added to the source, and taken away under the data.

One sweep, for noise levels s_0 > s_1 > ... > s_m:

    x_t = x + s_0 eps
    at each level s_i:   l, x_t | y  with x integrated out,  then  x_t from s_i to s_i+1  under p(x | x_t, l, y)

Given x_t, the prior on x is p(x | x_t), which the denoiser describes by its mean D and its covariance s^2 dD/dx_t: with
p(x | x_t) taken to be that Gaussian, y | l, x_t ~ N(A~_l D, A~_l C A~_l^T + I), the same kind of evidence as under a
Gaussian prior. On p(x_t) times it lens and noisy source fly together (`sampler.flight`), C held for the while. These
steps leave p(x_t, l | y) as it is with a Gaussian prior at any level, up to the steps of the diffusion; with another up
to what p(x | x_t) departs from its Gaussian, which goes to nothing with s_i.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..config import RenoiseConfig
from ..guidance import LocalGaussian, Measurement, local_gaussian, moment_matching
from ..prior import Denoiser
from ..sampler.diffusion import probability_flow
from ..sampler.flight import Forces, Place, White, flights
from .evidence import Evidence, climb
from .parallel import spread, taken
from .problem import Problem
from .shift import shifted
from .slopes import Slopes, posterior_slopes, quick_slopes


class Chain(NamedTuple):
    """eta (d,), source x (n, n), light amplitudes a (k,). At each level: lower factors of the lens's covariance given
    x_t, (levels, d, d); what `climb` tells of the determinant, (levels, d).
    """

    eta: Array
    x: Array
    a: Array
    factors: Array
    occam: Array


class Sweep(NamedTuple):
    """How a sweep goes. sigmas: the levels, falling, and the noise at which the diffusion ends, (levels + 1,); angles:
    of a flight's steps at each level, (levels,). adapt: `factors` and `occam` become those where the level begins
    (warm-up); settle: and the lens begins it at its mode.
    """

    sigmas: Array
    angles: Array
    settle: Array
    adapt: Array


class SweepInfo(NamedTuple):
    """chi2 per pixel; at each level, (levels,): acceptance of flights, of translations, chi2 per pixel of
    E[x | x_t, l, y].
    """

    chi2_per_pixel: Array
    acceptance: Array
    translation_acceptance: Array
    explained: Array


class Renoise(eqx.Module):
    """The sampler for one problem, or for several of one kind, stacked. probes: (n*n, k), orthonormal directions in
    which C is looked at.
    """

    problem: Problem
    prior: Denoiser
    probes: Array
    stage: RenoiseConfig = eqx.field(static=True)

    def slopes(self, local: LocalGaussian, L: Array, occam: Array, eta: Array, x_t: Array) -> Slopes:
        """Of log p(x_t) + log p(y | l, x_t) + log p(l), with the covariance of `local` and the mean at x_t."""
        D, pull = jax.vjp(lambda x_t: self.prior(x_t, local.sigma), x_t)
        basis = local.directions * local.sd(local.sigma)
        if self.problem.light is None:
            by_eta, by_D = quick_slopes(self.problem, basis, L, occam, eta, D)
        else:
            by_eta, by_D = posterior_slopes(self.problem, basis, eta, D)
        return Slopes(by_eta, pull(by_D)[0], (D - x_t) / local.sigma**2)

    def fly(
        self,
        key: Array,
        eta: Array,
        x_t: Array,
        local: LocalGaussian,
        held: tuple[Array, Array],
        angle: Array,
        how: Sweep,
    ) -> tuple[Array, Array, Array, tuple[Array, Array], Array]:
        """l, x_t | y, then a: eta, x_t, a, what to hold from then on, mean acceptance. held: factor and occam."""
        model = Evidence(self.problem, local.directions * local.sd(local.sigma), local.mean)

        def mode() -> tuple[Array, tuple[Array, Array]]:
            found, occam = climb(model, eta, jnp.where(how.settle, self.stage.climb, 0))
            return found.eta, (found.factor, occam)

        eta, held = jax.lax.cond(how.adapt, mode, lambda: (eta, held))
        factor, occam = held

        precision = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(eta), dtype=eta.dtype))
        white = White(jnp.linalg.cholesky(precision), jnp.zeros((x_t.size, 0), x_t.dtype), local.sigma)
        value, L = model.conditioned(eta)
        place = Place(white.of(eta, x_t), value - jnp.sum(eta**2) / 2)

        def f(w: Array) -> Array:
            eta, x_t = white.at(w)
            return Evidence(self.problem, model.basis, self.prior(x_t, local.sigma)).log_posterior(eta)

        def forces(w: Array) -> Forces:
            return self.slopes(local, L, occam, *white.at(w)).forces(white)

        light_key, *keys = jax.random.split(key, self.stage.moves + 1)
        w, acceptance = flights(jnp.stack(keys), place, f, forces, angle, self.stage.leaps)
        eta, x_t = white.at(w)
        a = jnp.zeros(0, x_t.dtype)
        if self.problem.light is not None:
            D = self.prior(x_t, local.sigma)
            _, a = Evidence(self.problem, model.basis, D).source(light_key, eta)
        return eta, x_t, a, held, acceptance

    def sweep(self, key: Array, chain: Chain, how: Sweep) -> tuple[Chain, SweepInfo]:
        """From x to x."""
        sigmas = how.sigmas
        noise_key, *keys = jax.random.split(key, len(sigmas))
        x_t = chain.x + sigmas[0] * jax.random.normal(noise_key, chain.x.shape, chain.x.dtype)

        def level(carry, inputs):
            eta, x_t, a, _ = carry
            key, now, then, held, angle = inputs
            shift_key, fly_key = jax.random.split(key)

            # p(y | l, x_t) is taken not to change, as if p(x | x_t) moved with x_t
            same = lambda eta, x_t: jnp.zeros((), x_t.dtype)  # noqa: E731
            shift_keys = jax.random.split(shift_key, self.stage.translations)
            eta, x_t, moved = shifted(shift_keys, eta, x_t, now, self.problem, self.prior, same)
            seen = self.measurement(eta, a)
            local = local_gaussian(self.prior, x_t, now, self.probes, seen, self.stage.krylov)
            eta, x_t, a, held, acceptance = self.fly(fly_key, eta, x_t, local, held, angle, how)
            guided = moment_matching(self.prior, local, self.measurement(eta, a))
            x_t, mean, x = probability_flow(guided, x_t, now, then, self.stage.steps)
            stats = (acceptance, moved, self.problem.chi2(eta, mean, a))
            return (eta, x_t, a, x), (held, stats)

        inputs = (jnp.stack(keys), sigmas[:-1], sigmas[1:], (chain.factors, chain.occam), how.angles)
        (eta, _, a, x), (held, stats) = jax.lax.scan(level, (chain.eta, x_t, chain.a, chain.x), inputs)
        return Chain(eta, x, a, *held), SweepInfo(self.problem.chi2(eta, x, a), *stats)

    def measurement(self, eta: Array, a: Array) -> Measurement:
        """y~ = A~_l x + noise, for one lens and its light."""
        zero = jnp.zeros((self.prior.n, self.prior.n), self.problem.y.dtype)

        def columns(images: Array) -> Array:
            return self.problem.system(eta, images, zero)[1][:, : images.shape[1]]

        return Measurement(
            self.problem.linear(self.problem.params(eta)).mv, columns, self.problem.residual(eta, zero, a)
        )

    @eqx.filter_jit
    def run(self, keys: Array, chains: Chain, which: Array, how: Sweep) -> tuple[Chain, SweepInfo]:
        """One sweep of every chain, of a stack of problems. keys (K,); which: the chain's problem, (K,); how: `sigmas`
        and `angles` by chain, (K, ...).
        """

        def one(shared, item):
            many, settle, adapt = shared
            key, chain, which, sigmas, angles = item
            problem, probes = taken((many.problem, many.probes), which)
            return Renoise(problem, many.prior, probes, many.stage).sweep(
                key, chain, Sweep(sigmas, angles, settle, adapt)
            )

        return spread(one, (self, how.settle, how.adapt), (keys, chains, which, how.sigmas, how.angles))
