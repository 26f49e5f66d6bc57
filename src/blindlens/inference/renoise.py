"""Joint sampling with a prior that only has a denoiser: noise is added to the source, and taken away under the data.

One sweep, for noise levels s_0 > s_1 > ... > s_m:

    x_t = x + s_0 eps
    at each level s_i:   l | x_t, y   with x integrated out,  then  x_t from s_i to s_i+1  under p(x | x_t, l, y)

Given x_t, the prior on x is p(x | x_t), which the denoiser describes by its mean D and its covariance s^2 dD/dx_t: with
p(x | x_t) taken to be that Gaussian, y | l, x_t ~ N(A~_l D, A~_l C A~_l^T + I), and the lens moves on the same kind of
evidence as under a Gaussian prior, the source following it within the galaxies that x_t allows. These steps leave
p(x_t, l | y) as it is with a Gaussian prior at any level, up to the steps of the diffusion; with another up to what
p(x | x_t) departs from its Gaussian, which goes to nothing with s_i.
"""

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
from ..sampler.kernels import init, metropolis, rotate
from .evidence import Evidence, climb, laplace
from .parallel import spread, taken
from .problem import Problem


class Chain(NamedTuple):
    """eta (d,), source x (n, n), light amplitudes a (k,)."""

    eta: Array
    x: Array
    a: Array


class SweepInfo(NamedTuple):
    """chi2 per pixel; at each level, (levels,): acceptance of the lens's Hamiltonian moves, of translations, chi2 per
    pixel of E[x | x_t, l, y].
    """

    chi2_per_pixel: Array
    acceptance: Array
    translation_acceptance: Array
    explained: Array


def log_shift_ratio(denoiser: Denoiser, x_t: Array, shift: Array, sigma: Array, nodes: int = 6) -> Array:
    """log p_sigma(T x_t) - log p_sigma(x_t) for T a periodic shift by (columns, rows), as a line integral along it.

    int_0^1 <score(T_s x_t), dT_s x_t/ds> ds = int_0^1 <D(T_s x_t), dT_s x_t/ds> ds / sigma^2, since shifts keep |x_t|.
    """
    n = x_t.shape[-1]
    k = jnp.fft.fftfreq(n, 1 / n)
    k = jnp.where(jnp.abs(k) == n / 2, 0.0, k)  # a sine at the Nyquist frequency cannot be seen
    phase = -2j * jnp.pi / n * (shift[0] * k[None] + shift[1] * k[:, None])
    s, w = np.polynomial.legendre.leggauss(nodes)
    waves = jnp.fft.fft2(x_t) * jnp.exp(jnp.asarray((s + 1) / 2, x_t.dtype)[:, None, None] * phase)
    path, slope = jnp.fft.ifft2(waves).real, jnp.fft.ifft2(phase * waves).real
    return jnp.sum(jnp.asarray(w / 2, x_t.dtype)[:, None, None] * denoiser(path, sigma) * slope) / sigma**2


class Renoise(eqx.Module):
    """The sampler for one problem, or for several of one kind, stacked. probes: (n*n, k), orthonormal directions in
    which C is looked at.
    """

    problem: Problem
    prior: Denoiser
    probes: Array
    stage: RenoiseConfig = eqx.field(static=True)

    def lens_step(self, key: Array, eta: Array, local: LocalGaussian, settle: Array) -> tuple[Array, Array, Array]:
        """(l, a) | x_t, y: eta, a, mean acceptance."""
        keys = jax.random.split(key, self.stage.moves + 1)
        model = Evidence(self.problem, local.directions * local.sd(local.sigma), local.mean)
        mode = laplace(model, climb(model, eta, self.stage.climb))
        eta = jnp.where(settle, mode.eta, eta)
        angle = jnp.asarray(jnp.pi / 2 / self.stage.leaps)

        def move(state, key):
            state, info = rotate(key, state, model.log_posterior, mode.eta, mode.factor, angle, self.stage.leaps)
            return state, info.acceptance

        state, acceptance = jax.lax.scan(move, init(eta, model.log_posterior), keys[1:])
        _, a = model.source(keys[0], state.position)
        return state.position, a, jnp.mean(acceptance)

    def translate(self, key: Array, eta: Array, x_t: Array, sigma: Array) -> tuple[Array, Array, Array]:
        """Source and its field move by one pixel a side in opposite senses, which the image cannot tell; accepted?

        p(y | l, x_t) is taken not to change, as if p(x | x_t) moved with x_t.
        """
        step_key, accept_key = jax.random.split(key)
        steps = jax.random.randint(step_key, (2,), -1, 2)
        moved, inside = self.problem.translated(eta, steps[0], steps[1])
        log_ratio = log_shift_ratio(self.prior, x_t, -steps, sigma)
        new = (moved, jnp.roll(x_t, (-steps[1], -steps[0]), (0, 1)))
        (eta, x_t), info = metropolis(accept_key, new, (eta, x_t), jnp.where(inside, log_ratio, -jnp.inf))
        return eta, x_t, info.accepted & jnp.any(steps != 0)

    def sweep(self, key: Array, chain: Chain, sigmas: Array, settle: Array) -> tuple[Chain, SweepInfo]:
        """From x to x. sigmas: the levels, falling, and the noise at which the diffusion ends. settle: the lens begins
        each level at its mode (warm-up).
        """
        noise_key, *keys = jax.random.split(key, len(sigmas))
        x_t = chain.x + sigmas[0] * jax.random.normal(noise_key, chain.x.shape, chain.x.dtype)

        def level(carry, inputs):
            chain, x_t = carry
            key, now, then = inputs
            shift_key, lens_key = jax.random.split(key)

            def shift(carry, key):
                eta, x_t, accepted = self.translate(key, *carry, now)
                return (eta, x_t), accepted

            (eta, x_t), shifted = jax.lax.scan(
                shift, (chain.eta, x_t), jax.random.split(shift_key, self.stage.translations)
            )
            seen = self.measurement(eta, chain.a)
            local = local_gaussian(self.prior, x_t, now, self.probes, seen, self.stage.krylov)
            eta, a, acceptance = self.lens_step(lens_key, eta, local, settle)
            guided = moment_matching(self.prior, local, self.measurement(eta, a))
            explained = self.problem.chi2(eta, guided(x_t, now), a)
            x_t = probability_flow(guided, x_t, now, then, self.stage.steps)
            stats = (acceptance, jnp.sum(shifted) / max(1, shifted.size), explained)
            return (Chain(eta, guided(x_t, then), a), x_t), stats

        (chain, _), stats = jax.lax.scan(level, (chain, x_t), (jnp.stack(keys), sigmas[:-1], sigmas[1:]))
        return chain, SweepInfo(self.problem.chi2(*chain), *stats)

    def measurement(self, eta: Array, a: Array) -> Measurement:
        """y~ = A~_l x + noise, for one lens and its light."""
        zero = jnp.zeros((self.prior.n, self.prior.n), self.problem.y.dtype)

        def columns(images: Array) -> Array:
            return self.problem.system(eta, images, zero)[1][:, : images.shape[1]]

        return Measurement(
            self.problem.linear(self.problem.params(eta)).mv, columns, self.problem.residual(eta, zero, a)
        )

    @eqx.filter_jit
    def run(self, keys: Array, chains: Chain, which: Array, sigmas: Array, settle: Array) -> tuple[Chain, SweepInfo]:
        """One sweep of every chain, of a stack of problems. keys (K,); which: the chain's problem, (K,); sigmas: (K,
        levels + 1).
        """

        def one(shared, item):
            many, settle = shared
            key, chain, which, sigmas = item
            problem, probes = taken((many.problem, many.probes), which)
            return Renoise(problem, many.prior, probes, many.stage).sweep(key, chain, sigmas, settle)

        return spread(one, (self, settle), (keys, chains, which, sigmas))
