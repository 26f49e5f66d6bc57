"""BIRD (Chihaoui, Lemkhenter & Favaro, NeurIPS 2024, arXiv:2405.19572): the noise behind the source, by descent.

A short deterministic diffusion makes a source of noise; noise and operator are moved until the image fits. A point
estimate: runs from different noise differ, but not as draws of a posterior do.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ...config import BirdConfig
from ...prior import Denoiser
from ...sampler.schedule import Schedule
from ..problem import Problem


class Bird(eqx.Module):
    """min over z, eta of |y - A_l G(z)|^2 + |eta|^2, G the diffusion, z kept on the sphere where noise lies."""

    problem: Problem
    prior: Denoiser
    schedule: Schedule = eqx.field(static=True)
    stage: BirdConfig = eqx.field(static=True)

    def source(self, z: Array) -> Array:
        """G(z): steps x' = D + (sigma' / sigma)(x - D) of the probability flow (DDIM), one call each; z: (n, n)."""
        sigmas = self.schedule.ladder(self.stage.steps)

        @jax.checkpoint
        def step(x: Array, levels: tuple[Array, Array]):
            now, then = levels
            D = self.prior(x, now)
            return D + then / now * (x - D), None

        return jax.lax.scan(step, sigmas[0] * z, (sigmas[:-1], sigmas[1:]))[0]

    def __call__(self, key: Array, eta: Array, count: int) -> tuple[Array, Array]:
        """A lens (1, d) and a source (1, n, n); eta: where the lens begins, (d,). count: what other baselines need."""
        n = self.prior.n

        def cost(z: Array, eta: Array) -> Array:
            r = self.problem.residual(eta, self.source(z), jnp.zeros(0, eta.dtype))
            return (jnp.sum(r**2) + jnp.sum(eta**2)) / 2

        # two optimisers: noise and lens have their own units
        of_noise, of_lens = optax.adam(self.stage.rate), optax.adam(self.stage.rate_lens)

        def step(carry, _):
            z, eta, noise_state, lens_state = carry
            slopes = jax.grad(cost, (0, 1))(z, eta)
            dz, deta = (jnp.where(jnp.isfinite(g), g, 0.0) for g in slopes)
            dz, noise_state = of_noise.update(dz, noise_state)
            deta, lens_state = of_lens.update(deta, lens_state)
            z = z + dz
            return (n * z / jnp.linalg.norm(z), eta + deta, noise_state, lens_state), None

        z = jax.random.normal(key, (n, n), eta.dtype)
        begin = (z, eta, of_noise.init(z), of_lens.init(eta))
        (z, eta, *_), _ = jax.lax.scan(step, begin, length=self.stage.iterations)
        return eta[None], self.source(z)[None]
