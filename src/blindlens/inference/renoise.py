"""Joint sampling with a prior that only has a denoiser: noise is added to the source, and taken away under the data.

One sweep, for noise levels s_0 > s_1 > ... > s_m:

    x_t = x + s eps, s small;   the source moves and grows with its field (`gauge`);   x_t gets noisier, to s_0
    at each level s_i:   l, x_t | y  with x integrated out,  then  x_t from s_i to s_i+1  under p(x | x_t, l, y)

Given x_t, the prior on x is p(x | x_t), which the denoiser describes by its mean D and its covariance s^2 dD/dx_t: with
p(x | x_t) taken to be that Gaussian, y | l, x_t ~ N(A~_l D, A~_l C A~_l^T + I), the same kind of evidence as under a
Gaussian prior. On p(x_t) times it lens and noisy source fly together (`sampler.flight`), C held for the while. These
steps leave p(x_t, l | y) as it is with a Gaussian prior at any level, up to the steps of the diffusion; with another up
to what p(x | x_t) departs from its Gaussian, which goes to nothing with s_i.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RenoiseConfig
from ..guidance import LocalGaussian, Measurement, local_gaussian, moment_matching
from ..prior import Denoiser
from ..sampler.diffusion import probability_flow
from ..sampler.flight import Forces, Kind, Place, White, flights
from ..sampler.kernels import Mixture, init, jump
from .evidence import Evidence, climb
from .gauge import regauged
from .parallel import spread, taken
from .problem import Problem
from .slopes import Slopes, posterior_slopes


class Chain(NamedTuple):
    """eta (d,), source x (n, n), light amplitudes a (k,)."""

    eta: Array
    x: Array
    a: Array


def data_precision(precision: Array, rates: Array) -> Array:
    """A precision of the lens in eta, (d, d), without the prior's, in the coordinates that `ParameterSpace.rates` is
    about, at a place with these rates, (d,): eta is another where chains lie far apart, as in the flux scale.
    """
    return (precision - jnp.eye(len(rates), dtype=precision.dtype)) / jnp.outer(rates, rates)


def precision_at(data: Array, rates: Array) -> Array:
    """The other way: in eta, the prior's with it, (d, d).

    No eigenvalue is below 1, which is the prior's alone: where chains lie near the ends of ranges, rates are small, and
    what single precision has lost of the smallest eigenvalues grows.
    """
    lam, v = jnp.linalg.eigh(data * jnp.outer(rates, rates) + jnp.eye(len(rates), dtype=rates.dtype))
    return (v * jnp.maximum(lam, 1.0)) @ v.T


class Sweep(NamedTuple):
    """How a sweep goes. sigmas: the levels, falling, and the noise at which the diffusion ends, (levels + 1,).
    gauge: the noise in which sources move with their fields. angles: of the steps of flights of lens and source, and of
    the lens alone, at each level, (levels, 2). metric: for flights, `data_precision` of the lens given x_t at each
    level, (levels, d, d), with the rates of `reference`, (d,), a lens that the chain was at in the warm-up, so that
    after it units do not depend on where a flight begins. adapt: the metric where a level begins is looked at
    (warm-up). settle: and flies, and the lens begins the level at its mode.
    """

    sigmas: Array
    gauge: Array
    angles: Array
    metric: Array
    reference: Array
    settle: Array
    adapt: Array


class SweepInfo(NamedTuple):
    """chi2 per pixel; acceptance of the source's translations and growth, (2,). At each level, (levels, ...): that of
    flights of lens and source, and of the lens alone, (2,); of jumps between modes, 0 where there are none; chi2 per
    pixel of E[x | x_t, l, y]; `data_precision` where the level begins, if it was looked at.
    """

    chi2_per_pixel: Array
    gauge_acceptance: Array
    acceptance: Array
    jump_acceptance: Array
    explained: Array
    metric: Array


class Renoise(eqx.Module):
    """The sampler for one problem, or for several of one kind, stacked. probes: (n*n, k), orthonormal directions in
    which C is looked at. modes: between which lenses jump, in the first of the coordinates eta.
    """

    problem: Problem
    prior: Denoiser
    probes: Array
    modes: Mixture
    stage: RenoiseConfig = eqx.field(static=True)

    def slopes(self, local: LocalGaussian, mean: Callable[[Array], Array], eta: Array, x_t: Array) -> Slopes:
        """Of log p(x_t) + log p(y | l, x_t) + log p(l), with the covariance of `local` and the mean at x_t, `mean`."""
        D, pull = jax.vjp(mean, x_t)
        by_eta, by_D = posterior_slopes(self.problem, local.directions * local.sd(local.sigma), eta, D)
        return Slopes(by_eta, pull(by_D)[0], (D - x_t) / local.sigma**2)

    def jumped(self, key: Array, eta: Array, local: LocalGaussian) -> tuple[Array, Array]:
        """l | x_t, y between modes, x_t held: eta, mean acceptance. What carries chains from mode to mode while x_t
        says little of the source.
        """
        d = self.modes.means.shape[1]
        model = Evidence(self.problem, local.directions * local.sd(local.sigma), local.mean)

        def density(part: Array) -> Array:
            return model.log_posterior(jnp.concatenate([part, eta[d:]]))

        def step(state, key):
            state, info = jump(key, state, density, self.modes)
            return state, info.acceptance

        state, acceptance = jax.lax.scan(step, init(eta[:d], density), jax.random.split(key, self.stage.jumps))
        return jnp.concatenate([state.position, eta[d:]]), jnp.mean(acceptance)

    def fly(
        self,
        key: Array,
        eta: Array,
        x_t: Array,
        local: LocalGaussian,
        metric: Array,
        angle: Array,
        how: Sweep,
    ) -> tuple[Array, Array, Array, Array, Array]:
        """l, x_t | y, then a: eta, x_t, a, the metric here, mean acceptances. metric, angle: of this level."""
        model = Evidence(self.problem, local.directions * local.sd(local.sigma), local.mean)
        rates = self.problem.space.rates

        def mode() -> tuple[Array, Array]:
            found = climb(model, eta, jnp.where(how.settle, self.stage.climb, 0))
            precision = jax.scipy.linalg.cho_solve((found.factor, True), jnp.eye(len(eta), dtype=eta.dtype))
            return found.eta, data_precision(precision, rates(found.eta))

        eta, here = jax.lax.cond(how.adapt, mode, lambda: (eta, jnp.zeros_like(metric)))
        held = jnp.where(how.settle, here, metric)
        precision = precision_at(held, rates(jnp.where(how.settle, eta, how.reference)))
        white = White(jnp.linalg.cholesky(precision), jnp.zeros((x_t.size, 0), x_t.dtype), local.sigma)
        place = Place(white.of(eta, x_t), model.log_posterior(eta))

        def f(w: Array) -> Array:
            eta, x_t = white.at(w)
            return Evidence(self.problem, model.basis, self.prior(x_t, local.sigma)).log_posterior(eta)

        def forces(w: Array, whole: Array) -> Forces:
            # the lens alone flies first, so that the mean is the one that it began with
            def mean(x_t: Array) -> Array:
                return jax.lax.cond(whole, lambda x_t: self.prior(x_t, local.sigma), lambda _: local.mean, x_t)

            return self.slopes(local, mean, *white.at(w)).forces(white)

        stage = self.stage
        alone = np.arange(stage.lens_moves + stage.moves) < stage.lens_moves
        # of the lens alone a quarter of a turn
        quarter = jnp.clip(jnp.round(jnp.pi / 2 / angle[1]), 1, stage.lens_leaps).astype(int)
        steps = jnp.where(alone, quarter, stage.leaps)
        kinds = Kind(jnp.where(alone, angle[1], angle[0]), steps, jnp.asarray(~alone))
        light_key, *keys = jax.random.split(key, len(alone) + 1)
        w, acceptance = flights(jnp.stack(keys), place, f, forces, kinds, len(eta))
        acceptance = jnp.stack([jnp.mean(acceptance[stage.lens_moves :]), jnp.mean(acceptance[: stage.lens_moves])])
        eta, x_t = white.at(w)
        a = jnp.zeros(0, x_t.dtype)
        if self.problem.light is not None:
            D = self.prior(x_t, local.sigma)
            _, a = Evidence(self.problem, model.basis, D).source(light_key, eta)
        return eta, x_t, a, here, acceptance

    def sweep(self, key: Array, chain: Chain, how: Sweep) -> tuple[Chain, SweepInfo]:
        """From x to x."""
        sigmas = how.sigmas
        few, gauge, more, *keys = jax.random.split(key, len(sigmas) + 2)

        def noisier(key: Array, x: Array, variance: Array) -> Array:
            return x + jnp.sqrt(variance) * jax.random.normal(key, x.shape, x.dtype)

        # p(y | l, x_t) is taken not to change, as if p(x | x_t) moved with x_t: nearly so in noise in which x_t says
        # nearly all of x. In much of it p(x | x_t) is little else than p(x), which stays where it is
        same = lambda eta, x_t: jnp.zeros((), x_t.dtype)  # noqa: E731
        gauges = jax.random.split(gauge, self.stage.translations)
        x_t = noisier(few, chain.x, how.gauge**2)
        begin, x_t, moved = regauged(gauges, chain.eta, x_t, how.gauge, self.problem, self.prior, same)
        x_t = noisier(more, x_t, jnp.maximum(sigmas[0] ** 2 - how.gauge**2, 0.0))
        several = jnp.sum(jnp.isfinite(self.modes.log_weights)) > 1

        def level(carry, inputs):
            eta, x_t, a, _ = carry
            key, first, now, then, metric, angle = inputs
            seen = self.measurement(eta, a)
            local = local_gaussian(self.prior, x_t, now, self.probes, seen, self.stage.krylov)
            eta, jumps = jax.lax.cond(
                first & several,
                lambda: self.jumped(jax.random.fold_in(key, 2), eta, local),
                lambda: (eta, jnp.zeros((), eta.dtype)),
            )
            eta, x_t, a, here, acceptance = self.fly(key, eta, x_t, local, metric, angle, how)
            guided = moment_matching(self.prior, local, self.measurement(eta, a))
            x_t, mean, x = probability_flow(guided, x_t, now, then, self.stage.steps)
            return (eta, x_t, a, x), (acceptance, jumps, self.problem.chi2(eta, mean, a), here)

        first = jnp.arange(len(keys)) == 0
        inputs = (jnp.stack(keys), first, sigmas[:-1], sigmas[1:], how.metric, how.angles)
        (eta, _, a, x), stats = jax.lax.scan(level, (begin, x_t, chain.a, chain.x), inputs)
        return Chain(eta, x, a), SweepInfo(self.problem.chi2(eta, x, a), moved, *stats)

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
        """One sweep of every chain, of a stack of problems. keys (K,); which: the chain's problem, (K,); how: `sigmas`,
        `gauge`, `angles` and `metric` by problem, (systems, ...), `reference` by chain, (K, d).
        """

        def one(shared, item):
            many, how = shared
            key, chain, which, reference = item
            problem, probes, modes, sigmas, gauge, angles, metric = taken(
                (many.problem, many.probes, many.modes, how.sigmas, how.gauge, how.angles, how.metric), which
            )
            return Renoise(problem, many.prior, probes, modes, many.stage).sweep(
                key, chain, Sweep(sigmas, gauge, angles, metric, reference, how.settle, how.adapt)
            )

        return spread(one, (self, how), (keys, chains, which, how.reference))
